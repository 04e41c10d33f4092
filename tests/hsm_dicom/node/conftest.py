from tests.hsm_dicom.network.conftest import hospital, iscl_site, iscl_token, remote, run

__all__ = ["hospital", "iscl_site", "iscl_token", "remote", "run"]
