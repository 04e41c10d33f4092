from tests.hsm_dicom.network.conftest import hospital, remote

__all__ = ["hospital", "remote"]
