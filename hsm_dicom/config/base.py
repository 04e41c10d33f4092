"""What all tables of the configuration have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, ValidationInfo


def below(path: Path, info: ValidationInfo) -> Path:
    """A path as the file means it: relative to the folder that the file is in."""
    folder: Path = (info.context or {}).get("folder", Path())
    return folder / path.expanduser()


FilePath = Annotated[Path, AfterValidator(below)]
Text = Annotated[str, StringConstraints(min_length=1)]


class Section(BaseModel):
    """Unknown keys are refused, nothing changes after reading, and no message repeats a value."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, arbitrary_types_allowed=True)
