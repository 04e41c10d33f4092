from tests.hsm_dicom.signatures.conftest import authority, base, desk, ec_signer, native, signer

__all__ = ["authority", "base", "desk", "ec_signer", "native", "signer"]
