"""Everything that keeps an object from meeting a policy: the policy's demands, and what makes signatures not valid."""

from __future__ import annotations

from collections.abc import Iterator

from hsm_dicom.validation.remedies import UNREADABLE, UNSIGNED, find_remedy
from hsm_dicom.validation.result import Indication, Outcome, SignatureVerdict, UnmetDemand, Verdict


def find_all_unmet(verdict: Verdict) -> tuple[UnmetDemand, ...]:
    """Return every demand that an object does not meet, each once: first the defects of signatures, then the policy's.

    Empty exactly if the outcome is good or exempt.
    """
    if verdict.outcome in (Outcome.GOOD, Outcome.EXEMPT):
        return ()
    return tuple(dict.fromkeys((*_find_defects(verdict), *verdict.unmet)))


def _find_defects(verdict: Verdict) -> Iterator[UnmetDemand]:
    if verdict.problem:
        yield UnmetDemand(UNREADABLE, f"It could not be read: {verdict.problem}", find_remedy(UNREADABLE))
        return
    counting = [one for one in verdict.signatures if one.indication is not Indication.HISTORIC]
    if not counting:
        yield UnmetDemand(UNSIGNED, "It is not signed.", find_remedy(UNSIGNED))
    for one in counting:
        if not one.indication.good:
            yield from _explain(one, numbered=len(counting) > 1)


def _explain(one: SignatureVerdict, *, numbered: bool) -> Iterator[UnmetDemand]:
    which = f"Signature {one.signature.uid or one.signature.number + 1}" if numbered else "The signature"
    for ground in one.grounds:
        yield UnmetDemand(
            ground.code, f"{which} is {_WORDS[one.indication]}: {ground.clause}.", find_remedy(ground.code)
        )
    for ground in one.lesser_grounds:
        yield UnmetDemand(
            ground.code, f"{which} is not valid for another reason: {ground.clause}.", find_remedy(ground.code)
        )


_WORDS = {
    Indication.INVALID: "invalid",
    Indication.INDETERMINATE: "indeterminate",
    Indication.QUESTIONABLE: "questionable",
}
