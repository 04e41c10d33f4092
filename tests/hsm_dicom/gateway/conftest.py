from tests.hsm_dicom.network.conftest import iscl_token
from tests.hsm_dicom.tls.fixtures import hospital, remote

__all__ = ["hospital", "iscl_token", "remote"]
