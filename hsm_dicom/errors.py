"""The root of every error that hsm_dicom reports to a person: one sentence, naming what is wrong and the remedy."""

from __future__ import annotations


class DicomError(Exception):
    """Something that a user, a file or a device can cause. Its text is meant to be shown as it is."""
