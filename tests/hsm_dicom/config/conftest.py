"""A configuration file with a text, and the problems that reading it finds."""

from __future__ import annotations

from pathlib import Path

import pytest

from hsm_dicom.config import (
    Problem,
    read_configuration,
)


@pytest.fixture
def write(tmp_path: Path):
    def written(text: str) -> Path:
        file = tmp_path / "hsm-dicom.toml"
        file.write_text(text)
        file.chmod(0o600)
        return file

    return written


def problems(file: Path) -> dict[str, Problem]:
    return {problem.key: problem for problem in read_configuration(file).problems}
