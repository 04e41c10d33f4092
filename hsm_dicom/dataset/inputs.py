"""The four forms of an object that a caller may pass: a path, encoded bytes, a binary file, a pydicom Dataset.

    with open_input(source) as path:
        with DicomFile.open(path) as file: ...

* A path is opened when it is read. A large file is never held in memory as a whole.
* Bytes (``bytes``, ``bytearray``, ``memoryview``) are the content of a DICOM file.
* A binary file is read from its current position to its end, and stays open. A plain file that is at its start is read
  in spans, like a path; anything else (a pipe, a decompressor) is copied, beyond 32 MiB into a temporary file that has
  no name.
* A pydicom ``Dataset`` is encoded by pydicom, in the Transfer Syntax of its ``file_meta``.

pydicom does not always encode what it read. It omits group lengths, completes File Meta Information, may change lengths
of sequences and Items from defined to undefined or back, and encodes a value that was assigned again, with the padding
of PS3.5. A value that was only read keeps its bytes. Signatures stay valid after reading and encoding if the values do
not change: the bytes of a MAC do not depend on how lengths are encoded (PS3.3 C.12.1.1.3.1.2).
"""

from __future__ import annotations

import io
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO, TypeAlias, TypeGuard, Union, cast

from hsm_dicom.arguments import kind_of, path_text
from hsm_dicom.dataset.errors import DicomFileError, NotDicomError
from hsm_dicom.dataset.octets.source import CHUNK, Content, ObjectSource

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileDataset

ObjectInput: TypeAlias = Union[str, os.PathLike[str], bytes, bytearray, memoryview, BinaryIO, "Dataset", Content]
"""What an object may be read from."""

BYTES_NAME, FILE_NAME, DATASET_NAME = "<bytes>", "<file>", "<Dataset>"
"""The names in messages of objects that have no path."""

WANTED = "a path, bytes, a binary file or a pydicom Dataset"

_IN_MEMORY = 1 << 25


@contextmanager
def open_input(source: ObjectInput) -> Iterator[ObjectSource]:
    """Yield the path or the content of ``source``.

    Raises TypeError for what is none of the four forms, and DicomFileError for a Dataset that cannot be encoded.
    """
    if isinstance(source, str | os.PathLike | Content):
        yield source if isinstance(source, Content) else path_text("The object", source)
    elif isinstance(source, bytes | bytearray | memoryview):
        yield Content(BYTES_NAME, bytes(source))
    elif is_dataset(source):
        yield Content(DATASET_NAME, encode_dataset(source))
    elif callable(getattr(source, "read", None)):
        with _open_file(cast(BinaryIO, source)) as content:
            yield content
    else:
        raise TypeError(f"The object must be {WANTED}, not {kind_of(source)}.")


def is_dataset(source: object) -> TypeGuard[Dataset]:
    """Return whether this is a pydicom Dataset."""
    from pydicom.dataset import Dataset  # costs a fifth of a second, so not at import

    return isinstance(source, Dataset)


def encode_dataset(dataset: Dataset) -> bytes:
    """Encode a Dataset as a DICOM file, in the Transfer Syntax of its ``file_meta``.

    Raises NotDicomError where there is no Transfer Syntax, and DicomFileError where pydicom cannot encode the Dataset.
    """
    from pydicom import dcmwrite

    meta = getattr(dataset, "file_meta", None)
    if not getattr(meta, "TransferSyntaxUID", None):
        raise NotDicomError(
            DATASET_NAME,
            "has no Transfer Syntax UID (0002,0010), so how it is to be encoded is unknown. Set "
            "dataset.file_meta.TransferSyntaxUID; in a C-STORE handler, dataset.file_meta = event.file_meta.",
        )
    buffer = io.BytesIO()
    try:
        dcmwrite(buffer, dataset, enforce_file_format=True)
    except Exception as error:  # pydicom raises many kinds for values that it cannot encode
        raise DicomFileError(
            DATASET_NAME, f"cannot be encoded by pydicom ({type(error).__name__}: {error})."
        ) from error
    return buffer.getvalue()


def decode_dataset(data: bytes) -> FileDataset:
    """Return the pydicom FileDataset of a DICOM file."""
    from pydicom import dcmread

    return dcmread(io.BytesIO(data))


@contextmanager
def _open_file(file: BinaryIO) -> Iterator[Content]:
    given = getattr(file, "name", None)
    name = given if isinstance(given, str) else FILE_NAME
    readable = getattr(file, "readable", None)
    if callable(readable) and not readable():  # raises ValueError itself where the file is closed
        raise ValueError(f"{name} is open for writing only; open it for reading.")
    fd = _plain_descriptor(file)
    if fd is not None:
        file.seek(0, os.SEEK_END)
        yield Content(name, fd=fd)
        return
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as copy:
        size = 0
        while (part := file.read(CHUNK)) != b"":
            if part is None:  # not the end: what comes later would be missing from the object
                raise BlockingIOError(f"{name} cannot be read without waiting; give a blocking file.")
            if not isinstance(part, bytes | bytearray | memoryview):
                raise TypeError(f"{name} is open for text; open it in binary mode.")
            size += copy.write(part)
        if size <= _IN_MEMORY:
            copy.seek(0)
            yield Content(name, copy.read())
        else:
            copy.flush()
            yield Content(name, fd=copy.fileno())


def _plain_descriptor(file: BinaryIO) -> int | None:
    """The descriptor of a regular file that is read from its start; None where the bytes may be others than its own."""
    raw = file.raw if isinstance(file, io.BufferedReader | io.BufferedRandom) else file
    if not isinstance(raw, io.FileIO):  # a decompressor has the descriptor of what it decompresses
        return None
    with suppress(OSError, ValueError):
        if file.writable():
            file.flush()
        if stat.S_ISREG(os.fstat(raw.fileno()).st_mode) and file.tell() == 0:
            return raw.fileno()
    return None
