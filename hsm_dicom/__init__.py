"""DICOM security with keys that never leave their device."""
