"""Base of all tables of the configuration."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, ValidationInfo
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError


def resolve_path(path: Path, info: ValidationInfo) -> Path:
    """Return a path of the file, resolved against the folder of the file."""
    if "\0" in str(path):
        raise PydanticCustomError("null_character", "")
    folder: Path = (info.context or {}).get("folder", Path())
    return folder / path.expanduser()


FilePath = Annotated[Path, AfterValidator(resolve_path)]
Text = Annotated[str, StringConstraints(min_length=1, pattern=r"^[^\x00]*$")]


class Section(BaseModel):
    """Base of a table: unknown keys are refused, tables are frozen, and no message repeats a value."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, arbitrary_types_allowed=True)


def list_fields(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    """Yield the keys of a table as the file has them, with their fields: `from` is no name for a field in Python."""
    for name, field in model.model_fields.items():
        yield field.alias or name, field
