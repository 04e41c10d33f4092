"""pydicom still keeps its table of UIDs where `hsm_dicom/dataset/_pydicom.py` reads it."""

from __future__ import annotations

from importlib.metadata import version

from pydicom.uid import UID

from hsm_dicom.dataset._pydicom import load_registered_uids

CHANGED = f"pydicom {version('pydicom')} keeps its table of UIDs in another form: adapt hsm_dicom/dataset/_pydicom.py"
CT, RETIRED, RLE = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.5", "1.2.840.10008.1.2.5"


def test_each_field_is_what_pydicom_publishes_of_a_uid() -> None:
    table = load_registered_uids()
    assert len(table) > 400, CHANGED
    for uid in (CT, RETIRED, RLE):
        published, read = UID(uid), table[uid]
        expected = (published.name, published.type, published.is_retired, published.keyword)
        assert (read.name, read.type, read.retired, read.keyword) == expected, CHANGED
    assert (table[CT].retired, table[RETIRED].retired) == (False, True), CHANGED
