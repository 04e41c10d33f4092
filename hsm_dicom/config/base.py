"""Base of all tables of the configuration."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, LiteralString, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, ValidationInfo, field_validator
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

    @field_validator("*", mode="before")
    @classmethod
    def _has_toml_type(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse "22762" for a number and "yes" for true, which pydantic would convert."""
        types = _list_types(cls.model_fields[info.field_name or ""].annotation)
        if types and types <= _MISTAKES.keys() and isinstance(value, str | bool | int):
            is_boolean = isinstance(value, bool)
            if isinstance(value, str) or is_boolean is not (bool in types):
                raise PydanticCustomError(next(mistake for one, mistake in _MISTAKES.items() if one in types), "")
        return value


_MISTAKES: dict[Any, LiteralString] = {bool: "bool_type", int: "int_type", float: "float_type"}
"""The types of TOML that are no text, each with the type of its mistake."""


def _list_types(annotation: Any) -> set[Any]:
    """Return the types that a value of a field may have, without None."""
    if get_origin(annotation) is Annotated:
        return _list_types(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return {one for part in get_args(annotation) for one in _list_types(part)}
    return set() if annotation is NoneType else {annotation}


def list_fields(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    """Yield the keys of a table as the file has them, with their fields: `from` is no name for a field in Python."""
    for name, field in model.model_fields.items():
        yield field.alias or name, field
