"""One tree of errors: every exception that a user can meet is an `Error`, with a message and a remedy."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator

import pytest

import hsm_dicom
import tokens
from hsm_dicom.errors import DicomError, Error
from hsm_dicom.iscl.errors import ErrorCode, ISCLError
from tokens.errors import TokenError


def _exception_classes() -> Iterator[type[BaseException]]:
    """Every exception class that a module of the two packages defines which is not private."""
    for package in (tokens, hsm_dicom):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if any(part.startswith("_") for part in module.name.split(".")):
                continue
            for _, member in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
                if issubclass(member, Exception) and member.__module__ == module.name:
                    yield member


def test_every_public_exception_is_in_the_tree_and_ends_in_error() -> None:
    public = {kind for kind in _exception_classes() if not kind.__name__.startswith("_")} - {Error}
    assert len(public) > 60
    assert {kind.__name__ for kind in public if not issubclass(kind, Error)} == set()
    assert {kind.__name__ for kind in public if not kind.__name__.endswith("Error")} == set()


def test_the_root_is_one_class_for_both_packages() -> None:
    import tokens.errors

    assert tokens.Error is tokens.errors.Error is Error
    assert issubclass(TokenError, Error)
    assert issubclass(DicomError, Error)
    assert not issubclass(TokenError, DicomError)
    assert not issubclass(DicomError, TokenError)


def test_the_text_is_the_message_and_the_remedy() -> None:
    class _WithRemedyError(TokenError):
        default_remedy = "Try again."

    assert str(TokenError("It failed.")) == "It failed."
    assert TokenError("It failed.").remedy is None
    assert str(_WithRemedyError("It failed.")) == "It failed. Try again."
    error = _WithRemedyError("It failed.", remedy="Ask the security officer.")
    assert (error.message, error.remedy) == ("It failed.", "Ask the security officer.")
    assert str(error) == "It failed. Ask the security officer."


def test_an_error_that_is_also_an_oserror_keeps_its_text() -> None:
    error = ISCLError(ErrorCode.TIMED_OUT, "The peer did not answer.")
    assert str(error) == "The peer did not answer. [ISCL 204]"
    assert isinstance(error, OSError)


@pytest.mark.parametrize("words", ["", "One sentence."])
def test_an_error_without_remedy_has_no_space_at_its_end(words: str) -> None:
    assert str(Error(words)) == words
