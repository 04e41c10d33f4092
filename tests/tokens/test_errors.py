"""One tree of errors: every exception that a user can meet is an `Error`, with a message and a remedy."""

from __future__ import annotations

import importlib
import inspect
import pickle
import pkgutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

import hsm_dicom
import tokens
from hsm_dicom.dataset.errors import MalformedDataSetError
from hsm_dicom.errors import DicomError, Error
from hsm_dicom.iscl.errors import ErrorCode, ISCLError
from hsm_dicom.tls.errors import FailureReason, HandshakeError
from hsm_dicom.trust.errors import FetchError
from hsm_dicom.trust.online import _bytes_of
from tokens.errors import Facts, NoSuchKeyError, Reason, TokenError, fresh_copy
from tokens.pkcs11.objects import FoundKey, KeyName
from tokens.policy import KeyAttributes


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


def test_packages_export_few_of_them() -> None:
    """What a package's `__init__` exports is public; every other class is caught as one of these."""
    packages = [tokens, hsm_dicom] + [
        importlib.import_module(module.name)
        for package in (tokens, hsm_dicom)
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
        if module.ispkg
    ]
    exported = {
        member
        for package in packages
        for name in getattr(package, "__all__", ())
        if inspect.isclass(member := getattr(package, name)) and issubclass(member, Exception)
    }
    assert 25 <= len(exported) <= 36, sorted(kind.__name__ for kind in exported)
    assert all(issubclass(kind, Error) for kind in exported)
    assert {TokenError, Error} <= exported
    for kind in _exception_classes():
        if issubclass(kind, TokenError):
            assert any(issubclass(kind, public) for public in exported - {Error})


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


KEPT = [
    TokenError("It failed.", remedy="Try again.", facts=Facts(reason=Reason.PIN_LOCKED, uri="pkcs11:token=x")),
    ISCLError(ErrorCode.TIMED_OUT, "The peer did not answer."),
    MalformedDataSetError("ct.dcm", 132, 0x00080018, "it ends early"),
    FetchError("http://127.0.0.1/", "no answer"),
    HandshakeError(FailureReason.NO_CERTIFICATE, "192.0.2.1", "No certificate."),
    FileNotFoundError(2, "No such file or directory", "/nowhere"),
    ValueError("one", 2),
]


@pytest.mark.parametrize("kept", KEPT, ids=lambda error: type(error).__name__)
def test_a_fresh_copy_has_everything_but_the_traceback(kept: Exception) -> None:
    copy = fresh_copy(kept)
    assert type(copy) is type(kept)
    assert copy is not kept
    assert (str(copy), copy.args, vars(copy)) == (str(kept), kept.args, vars(kept))
    assert copy.__cause__ is kept
    assert copy.__traceback__ is None
    if isinstance(kept, OSError):
        assert isinstance(copy, OSError)
        assert (copy.errno, copy.strerror, copy.filename) == (kept.errno, kept.strerror, kept.filename)


def test_every_error_crosses_processes_unchanged() -> None:
    """A worker's error that cannot be unpickled would take the whole pool with it, whatever its constructor wants."""
    kinds = {kind for kind in _exception_classes() if issubclass(kind, Error)}
    for kind in kinds:
        error = kind.__new__(kind, "It failed.")
        error.args = ("It failed.",)
        error.__dict__.update({"_remedy": "Try again.", "own": 7})
        copy = pickle.loads(pickle.dumps(error))
        assert (type(copy), copy.args, vars(copy)) == (kind, error.args, vars(error))


@pytest.mark.parametrize("kept", KEPT[:5], ids=lambda error: type(error).__name__)
def test_an_unpickled_error_has_its_text_and_its_facts(kept: Error) -> None:
    copy = pickle.loads(pickle.dumps(kept))
    assert (type(copy), str(copy), copy.remedy, vars(copy)) == (type(kept), str(kept), kept.remedy, vars(kept))
    if isinstance(kept, OSError):
        assert copy.errno == kept.errno


def test_a_kept_error_that_many_threads_raise_does_not_grow() -> None:
    kept = _raised(NoSuchKeyError("There is no public half."))
    found = FoundKey(1, KeyName("x", b"1"), KeyAttributes(key_type="EC", size_bits=256), None, False, kept)
    before = _depth(kept)

    def ask(_: int) -> NoSuchKeyError:
        with pytest.raises(NoSuchKeyError) as caught:
            found.require_public_key()
        return caught.value

    with ThreadPoolExecutor(8) as threads:
        raised = list(threads.map(ask, range(200)))
    assert len({id(error) for error in raised}) == 200
    assert {_depth(error) for error in raised} == {_depth(raised[0])}
    assert _depth(kept) == before
    assert all(error.__cause__ is kept for error in raised)


def test_an_answer_that_was_not_fetched_is_raised_anew_each_time() -> None:
    kept = FetchError("http://127.0.0.1/", "no answer")
    for _ in range(3):
        with pytest.raises(FetchError) as caught:
            _bytes_of(kept)
        assert caught.value is not kept
    assert _depth(kept) == 0


def _raised(error: NoSuchKeyError) -> NoSuchKeyError:
    try:
        raise error
    except NoSuchKeyError as caught:
        return caught


def _depth(error: BaseException) -> int:
    depth, trace = 0, error.__traceback__
    while trace is not None:
        depth, trace = depth + 1, trace.tb_next
    return depth
