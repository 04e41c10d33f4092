"""DICOM security with keys that never leave their device."""

from hsm_dicom import product

product.introduce()
