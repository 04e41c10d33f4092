"""One served PKI for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.pki.served import ServedPki, served_pki


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedPki]:
    with served_pki(tmp_path_factory.mktemp("pki")) as pki:
        yield pki
