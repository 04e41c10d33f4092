from pathlib import Path

import pytest

from tests.hsm_dicom.cli.conftest import run
from tests.hsm_dicom.network.iscl_site import ISCLSite, with_secrets
from tests.hsm_dicom.tls.fixtures import Hospital, hospital, remote
from tests.softhsm import TestToken, new_token

__all__ = ["hospital", "remote", "run"]


@pytest.fixture(scope="session")
def iscl_token(softhsm: Path) -> TestToken:
    """A token with the secrets of ISCL."""
    return with_secrets(new_token())


@pytest.fixture
def iscl_site(tmp_path: Path, iscl_token: TestToken, node: TestToken, hospital: Hospital) -> ISCLSite:
    """A folder for a configuration with ISCL."""
    return ISCLSite(tmp_path, iscl_token, node, hospital)
