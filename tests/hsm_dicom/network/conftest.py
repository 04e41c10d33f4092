from tests.hsm_dicom.tls.fixtures import hospital

__all__ = ["hospital"]
