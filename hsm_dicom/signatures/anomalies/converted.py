"""Objects that were signed in explicit VR and later converted to implicit VR, which does not store VRs.

The MAC includes VRs, so such a signature is intact only if the object is read with its original VRs. If PS3.6 allows
several VRs, the whole object is read in at most four ways: as a signer of an implicit VR object reads it, with OB for
OB or OW, with SS for US or SS, and with both.
"""

from __future__ import annotations

from collections.abc import Iterator

from hsm_dicom.dataset.vr import Reading
from hsm_dicom.signatures.anomalies.record import Anomaly, AnomalyCode, Weight

CONVERTED = (Reading(bytes_for_words=True), Reading(signed=True), Reading(bytes_for_words=True, signed=True))
"""The readings to try in order if a signature is not intact in the plain one."""


def describe_reading(reading: Reading) -> Iterator[Anomaly]:
    """Yield the remark on a signature that is intact in this reading, unless it is the plain one."""
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
