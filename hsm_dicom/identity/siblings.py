"""Siblings: an identity with a key and a certificate of its own on each of several tokens, for one subject.

The certificate is a part of what is signed, and in a handshake it is sent before the signature. So one sibling is
chosen for a whole handshake, which fails if its token is lost in between; the next one uses another sibling. Peers that
pin a key must have the pins of all.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from contextlib import ExitStack
from dataclasses import replace

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from hsm_dicom.config.groups import GroupAccess
from hsm_dicom.identity.assembly import assemble_identity, read_stored_certificates
from hsm_dicom.identity.errors import IdentityError
from hsm_dicom.identity.record import Identity
from tokens.errors import MemberUnfitError, TokenError
from tokens.group import KeyGroup, Member, MemberPool
from tokens.group.key_group import make_group_error
from tokens.keys import PrivateKey, private_key
from tokens.policy import Weakness


def open_siblings(
    access: GroupAccess,
    certificates: Sequence[x509.Certificate],
    chain: Sequence[x509.Certificate],
    weaknesses: Set[Weakness],
) -> Identity:
    """Open the key and the certificate on each token, and return the first identity with all of them as siblings.

    `certificates` are those of a file, for all siblings, or none if each token stores its own. It opens if at least one
    sibling does; another is opened when its token can be used. Raises the errors of `tokens.errors`.
    """
    siblings = Siblings(access, certificates, chain, weaknesses)
    siblings.pool.open()
    opened = siblings.identities
    if not opened:
        error = make_group_error(access.identity, [], siblings.pool.members)
        siblings.close()
        raise error
    return replace(opened[0], siblings=siblings, resources=ExitStack())


class Siblings:
    """The identities on the tokens of one group. Satisfies `hsm_dicom.identity.record.Alternatives`."""

    def __init__(
        self,
        access: GroupAccess,
        certificates: Sequence[x509.Certificate],
        chain: Sequence[x509.Certificate],
        weaknesses: Set[Weakness],
    ) -> None:
        self._name = access.identity
        self._certificates = tuple(certificates)
        self._chain = tuple(chain)
        self._identities: dict[str, Identity] = {}
        self.pool: MemberPool = access.make_pool(weaknesses, check=self._check)

    @property
    def identities(self) -> tuple[Identity, ...]:
        """The siblings that were opened, in the order of the tokens."""
        return tuple(self._identities[one.name] for one in self.pool.members if one.name in self._identities)

    def select(self) -> Identity:
        """Return the sibling to use now: one that works or, if none does, one that may work again."""
        for member in self.pool.in_order(self.pool.members):
            generation = member.breaker.generation
            try:
                self.pool.open_member(member)
            except TokenError as error:
                self.pool.record_fault(member, error, generation)
            else:
                return self._identities[member.name]
        raise make_group_error(self._name, [], self.pool.members)

    def check_answers(self) -> None:
        """Raise `TokenLostError` while no sibling works, as `tokens.keys.MayHang` says."""
        KeyGroup(self.pool, self.pool.members, self.identities[0].key.public_key(), owns_pool=False).check_answers()

    def close(self) -> None:
        """Release every token."""
        self.pool.close()

    def _check(self, member: Member, key: PrivateKey) -> None:
        """Make the identity of a member, whose key was opened. Raises `MemberUnfitError`."""
        try:
            stored = self._certificates or read_stored_certificates(key)
            sibling = assemble_identity(
                self._name,
                private_key(KeyGroup(self.pool, [member], key.device.public_key, owns_pool=False)),
                stored,
                self._chain,
            )
        except IdentityError as error:
            raise MemberUnfitError(error.message, remedy=error.remedy) from error
        first = next(iter(self._identities.values()), None)
        if first is not None and sibling.certificate.subject != first.certificate.subject:
            raise MemberUnfitError(
                f"The certificate of {key.device.description} is for '{sibling.subject}', and that of the other token "
                f"for '{first.subject}'.",
                remedy="Have certificates issued for one subject.",
            )
        if first is not None and _kind(sibling) != _kind(first):
            raise MemberUnfitError(
                f"{key.device.description} is {_kind(sibling)}, and the key on the other token is {_kind(first)}.",
                remedy="Generate keys of one kind.",
            )
        self._identities[member.name] = replace(sibling, findings=key.device.findings)


def _kind(identity: Identity) -> str:
    match identity.certificate.public_key():
        case rsa.RSAPublicKey():
            return "RSA"
        case ec.EllipticCurvePublicKey() as key:
            return f"EC on {key.curve.name}"
    return "of another kind"
