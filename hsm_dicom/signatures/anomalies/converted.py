"""Objects that were signed in explicit VR and converted to implicit VR since, which does not keep the VRs.

VRs are in the MAC, so such a signature holds only if the object is read with the VRs that it had. Where PS3.6 leaves
them open, a whole object is read in four ways at most: as a signer of an implicit VR object reads it, with OB for
OB or OW, with SS for US or SS, and with both.
"""

from __future__ import annotations

from collections.abc import Iterator

from hsm_dicom.dataset.vr import Reading
from hsm_dicom.signatures.anomalies.record import Anomaly, AnomalyCode, Weight

CONVERTED = (Reading(bytes_for_words=True), Reading(signed=True), Reading(bytes_for_words=True, signed=True))
"""The readings that are tried where a signature does not hold in the plain one."""


def describe_reading(reading: Reading) -> Iterator[Anomaly]:
    """Yield the remark on a signature that holds in this reading, where it is not the plain one."""
    ways = ["as OB what may be OB or OW"] if reading.bytes_for_words else []
    ways += ["as SS what may be US or SS"] if reading.signed else []
    if ways:
        yield Anomaly(
            AnomalyCode.CONVERTED,
            Weight.REMARK,
            f"read {' and '.join(ways)}",
            "It was signed in explicit VR, and the object was converted to implicit VR since, which does not keep VRs. "
            "The values are what was signed.",
        )
