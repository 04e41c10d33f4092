"""What a signature leaves open, as grounds for "valid, but …" and as demands of a policy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

from hsm_dicom.dataset.tags import format_path, format_tag, is_private, tag_name
from hsm_dicom.signatures.coverage import IDENTITY, PIXEL_TAGS, Coverage, Share
from hsm_dicom.signatures.policy import Part
from hsm_dicom.signatures.profiles import SOP_INSTANCE_UID
from hsm_dicom.signatures.verdict_words import Cause, Ground
from hsm_dicom.signatures.verify import VerifiedSignature

NAMED = 3
"""Elements that a clause names before it says how many more there are."""

_IDENTITY_TAGS = frozenset(chain.from_iterable(IDENTITY.values()))
_ADDED_OR_LEFT_OUT = "They were left out when it was made, or added since; anybody may have written them."


def open_grounds(signature: VerifiedSignature) -> Iterator[Ground]:
    """Yield what anybody may have changed without this signature noticing, the gravest first."""
    covers = signature.coverage
    if covers is None:
        return
    if signature.place:
        yield Ground(
            Cause.ITEM_ONLY,
            f"it covers the Item {format_path(signature.place)} only, not the object",
            "Who reads the whole object needs a signature over its main Data Set.",
        )
    if covers.pixel_data is Share.NOT_COVERED:
        yield Ground(
            Cause.PIXEL_DATA_OPEN,
            "the pixel data is not covered",
            "The picture may be another one than the signer had.",
        )
    uncovered = [name for name, share in covers.identity if share is Share.NOT_COVERED]
    if uncovered:
        yield Ground(
            Cause.IDENTITY_OPEN,
            f"the identity of the {_listed(uncovered)} is not covered",
            "It may be somebody else's.",
        )
    if covers.character_set_open:
        yield Ground(
            Cause.CHARACTER_SET_OPEN,
            "Specific Character Set is not covered while text is",
            "The same bytes can be made to read as other letters.",
        )
    yield from _open_elements(covers)


def _open_elements(covers: Coverage) -> Iterator[Ground]:
    private = covers.private_open
    if private:
        yield Ground(
            Cause.PRIVATE_OPEN,
            _not_covered(private, "private element", "private elements"),
            _ADDED_OR_LEFT_OUT,
        )
    unsignable = [tag for tag in covers.unsignable if not is_private(tag)]
    if unsignable:
        yield Ground(
            Cause.UNKNOWN_VR_OPEN,
            _not_covered(unsignable, "element of unknown VR", "elements of unknown VR"),
            "No signature can cover what is UN, or has UN inside (PS3.3 C.12.1.1.3.1.1).",
        )
    said = _IDENTITY_TAGS | PIXEL_TAGS
    others = [tag for tag in covers.open if tag not in said and not is_private(tag)]
    if others:
        yield Ground(
            Cause.ELEMENTS_OPEN,
            _not_covered(others, "element", "elements"),
            _ADDED_OR_LEFT_OUT,
        )


def covers_part(covers: Coverage, part: Part) -> bool:
    """Whether a policy's demand is met. An absent part deceives nobody, but an object must say which one it is."""
    if part is Part.PIXEL_DATA:
        return covers.pixel_data is not Share.NOT_COVERED
    return SOP_INSTANCE_UID in covers.signed and all(share is not Share.NOT_COVERED for _, share in covers.identity)


def names(tags: Sequence[int], limit: int = NAMED) -> str:
    """The first tags by keyword, where PS3.6 has one, and the number of the others."""
    shown = [format_tag(tag) if is_private(tag) else tag_name(tag) or format_tag(tag) for tag in tags[:limit]]
    more = len(tags) - limit
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def _not_covered(tags: Sequence[int], one: str, many: str) -> str:
    counted = f"1 {one} is" if len(tags) == 1 else f"{len(tags)} {many} are"
    return f"{counted} not covered: {names(tags)}"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
