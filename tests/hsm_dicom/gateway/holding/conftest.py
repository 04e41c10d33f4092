"""A route whose objects go to a holder of the test, for tests that ask for `route` and have no other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hsm_dicom.gateway.holding.conversation import Holding
from tests.hsm_dicom.gateway.holding.scripted import ScriptedHolder, scripted_route


@pytest.fixture
def holder(tmp_path: Path) -> ScriptedHolder:
    return ScriptedHolder(tmp_path)


@pytest.fixture
def route(holder: ScriptedHolder) -> Iterator[Holding]:
    with scripted_route(holder) as found:
        yield found
