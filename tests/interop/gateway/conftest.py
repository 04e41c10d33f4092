from tests.hsm_dicom.tls.fixtures import hospital, remote

__all__ = ["hospital", "remote"]
