"""The key of a group: one private key on several tokens, with the interface of a driver (`tokens.keys.DeviceKey`).

An operation that a member fails is repeated on another one. That is safe: signing and decryption change nothing on a
token, and the key object verifies each signature on the host before it returns it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol, TypeVar, runtime_checkable

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pkcs11 import Mechanism

from tokens.errors import (
    Facts,
    KeyPolicyError,
    MechanismNotOfferedError,
    OperationFailedError,
    PinError,
    Reason,
    TokenError,
    TokenLostError,
)
from tokens.group.breaker import BreakerState, Fault
from tokens.group.member import Member, is_fault
from tokens.group.pool import MemberPool
from tokens.group.reporting import hold_failed_attempts
from tokens.keys import CiphertextRejectedError, DeviceKey, MayHang
from tokens.mechanisms import Candidate
from tokens.policy import Finding, KeyAttributes
from tokens.process.reconnecting import without_reconnecting

T = TypeVar("T")
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


@runtime_checkable
class StoresCertificates(Protocol):
    """A driver's key whose device stores certificates."""

    def certificates(self) -> tuple[x509.Certificate, ...]:
        """Return the certificates on the device that contain the key's public half."""


@dataclass(frozen=True)
class MemberReport:
    """The state of one member. `fault` is its last fault, also if it works again; None if it had none."""

    name: str
    state: BreakerState
    fault: Fault | None
    outstanding: int

    @property
    def since(self) -> datetime | None:
        """When the last fault happened, in UTC."""
        return None if self.fault is None else self.fault.when


class KeyGroup:
    """One private key on several tokens, for any number of threads. Satisfies `tokens.keys.DeviceKey`.

    `members` are those of the pool that hold the key: all of them for copies, one for each of several keys that replace
    each other. The group is the owner of the pool if `owns_pool` says so, and closes it.
    """

    def __init__(
        self, pool: MemberPool, members: Sequence[Member], public_key: PublicKey, *, owns_pool: bool = True
    ) -> None:
        self._pool = pool
        self._members = tuple(members)
        self._owns_pool = owns_pool
        self._used = threading.local()
        self.public_key = public_key
        self.certificate_serial = ""
        self.offered: Set[Mechanism] = _OfferedByAll(pool, self._members)

    @property
    def members(self) -> tuple[MemberReport, ...]:
        """The state of each member, in the order of the group."""
        return _report(self._members)

    @property
    def all_members(self) -> tuple[MemberReport, ...]:
        """The state of every member of the pool, also of those that hold another key."""
        return _report(self._pool.members)

    @property
    def is_working(self) -> bool:
        """Whether at least one member works."""
        return any(member.is_working for member in self._members)

    @property
    def description(self) -> str:
        """The key and its tokens, for messages."""
        names = [member.name for member in self._members]
        return f"{self._pool.name} on {' and '.join(filter(None, (', '.join(names[:-1]), names[-1])))}"

    @property
    def attributes(self) -> KeyAttributes:
        """The attributes that the open members report: what one of them may do counts as allowed."""
        reported = [device.attributes for device in self._devices()]
        signs = {one.sign for one in reported}
        return replace(
            reported[0],
            sign=next(iter(signs)) if len(signs) == 1 else None,
            decrypt=any(one.decrypt for one in reported),
            always_authenticate=any(one.always_authenticate for one in reported),
        )

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The policy's findings on the key of each open member, each once."""
        return tuple(dict.fromkeys(finding for device in self._devices() for finding in device.findings))

    def check_answers(self) -> None:
        """Raise `TokenLostError` while no member works, or a call has not returned from each that does."""
        hanging: TokenLostError | None = None
        for member in self._members:
            if not member.is_working or member.device is None:
                continue
            try:
                if isinstance(member.device, MayHang):
                    member.device.check_answers()
                return
            except TokenLostError as error:
                hanging = error
        raise hanging or TokenLostError(f"None of the tokens of {self._pool.name} works.")

    def sign(self, candidate: Candidate, data: bytes) -> bytes:
        """Sign with the first member that can."""
        return self._use(lambda device: device.sign(candidate, data))

    def decrypt(self, candidate: Candidate, ciphertext: bytes) -> bytes:
        """Decrypt with the first member that can. Raises `CiphertextRejectedError` as a single token does."""
        return self._use(lambda device: device.decrypt(candidate, ciphertext))

    def certificates(self) -> tuple[x509.Certificate, ...]:
        """Return the key's certificates from the first member that stores any."""
        found: tuple[x509.Certificate, ...] = ()

        def read(device: DeviceKey) -> None:
            nonlocal found
            found = device.certificates() if isinstance(device, StoresCertificates) else ()
            if not found:
                raise MechanismNotOfferedError(f"There is no certificate with {device.description}.")

        try:
            self._use(read)
        except MechanismNotOfferedError:
            return ()
        return found

    def invalidate(self) -> None:
        """Cease to use the member that this thread used last, whose signature was wrong."""
        member: Member | None = getattr(self._used, "member", None)
        if member is None or member.device is None:
            return
        member.device.invalidate()
        error = OperationFailedError(
            f"A signature by {member.device.description} did not verify with its public key.",
            remedy="Test the device.",
            facts=Facts(reason=Reason.DEVICE_UNTRUSTWORTHY),
        )
        self._pool.record_fault(member, error, member.breaker.generation)

    def close(self) -> None:
        """Release the tokens, if the group owns them."""
        if self._owns_pool:
            self._pool.close()

    def _devices(self) -> Iterator[DeviceKey]:
        return (member.device for member in self._members if member.device is not None)

    def _use(self, operation: Callable[[DeviceKey], T]) -> T:
        """Carry out an operation with the first member that succeeds. It reconnects only if no other member works.

        An error that may be about the request counts against a member only if another member carries the request out.
        """
        failures: list[tuple[Member, int, TokenError]] = []
        with self._pool.report_faults() as record_fault:
            for member in self._pool.in_order(self._members):
                generation = self._pool.begin(member)
                try:
                    with hold_failed_attempts(_is_logged):
                        key = self._pool.open_member(member)
                        self._used.member = member
                        key.device.certificate_serial = self.certificate_serial
                        with without_reconnecting(self._has_another(member, failures)):
                            result = operation(key.device)
                except (CiphertextRejectedError, KeyPolicyError):
                    raise
                except TokenError as error:
                    failures.append((member, generation, error))
                    if is_fault(error):
                        record_fault(member, error, generation)
                else:
                    self._pool.record_success(member, generation)
                    for other, began, failure in failures:
                        if not is_fault(failure) and not isinstance(failure, MechanismNotOfferedError):
                            record_fault(other, failure, began)
                    return result
                finally:
                    self._pool.end(member)
        raise self.make_error([(member, error) for member, _, error in failures])

    def _has_another(self, member: Member, failures: Sequence[tuple[Member, int, TokenError]]) -> bool:
        """Return whether another member works that was not tried yet."""
        tried = [one for one, _, _ in failures]
        return any(one.is_working and one is not member and one not in tried for one in self._members)

    def make_error(self, failures: Sequence[tuple[Member, TokenError]]) -> TokenError:
        """Return the error for an operation that no member carried out."""
        return make_group_error(self._pool.name, failures, self._members)


def _is_logged(failure: BaseException | None) -> bool:
    """Return whether the attempts of a member are logged: not if the group reports a fault of the member instead."""
    return not isinstance(failure, TokenError) or not is_fault(failure)


def _report(members: Sequence[Member]) -> tuple[MemberReport, ...]:
    return tuple(MemberReport(one.name, one.state, one.breaker.fault, one.outstanding) for one in members)


def make_group_error(name: str, failures: Sequence[tuple[Member, TokenError]], members: Sequence[Member]) -> TokenError:
    """Return the error for an operation that no member carried out.

    It is that of a member that works, if the error is about the request; or else one with the sentences of all members,
    which is about a PIN only if every failure is.
    """
    of_the_request = [error for _, error in failures if not is_fault(error)]
    if of_the_request:
        return of_the_request[-1]
    tried = {member.name for member, _ in failures}
    texts = [f"{member.name}: {error.message}" for member, error in failures]
    kinds: list[type[Exception]] = [type(error) for _, error in failures]
    for member in members:
        if member.name not in tried and member.breaker.fault is not None:
            texts.append(f"{member.name}: {member.breaker.fault.text}")
            kinds.append(member.breaker.fault.kind)
    remedies = dict.fromkeys(error.remedy for _, error in failures if error.remedy)
    kind = _choose_kind(kinds)
    facts = next((error.facts for _, error in failures if type(error) is kind), None)
    none_works = f"None of the tokens of {name} works. " if len(members) > 1 else ""  # siblings have a group each
    return kind(
        f"{none_works}{' '.join(texts)}",
        remedy=" ".join(remedies) or None,
        facts=facts if len(failures) == 1 else None,
    )


def _choose_kind(kinds: Sequence[type[Exception]]) -> type[TokenError]:
    """Return the class of a group's error: that of all, a PIN's if all are about PINs, else that of a lost token."""
    if kinds and all(issubclass(kind, PinError) for kind in kinds):
        return _as_token_error(kinds[0])
    return _as_token_error(kinds[0]) if len(set(kinds)) == 1 else TokenLostError


def _as_token_error(kind: type[Exception]) -> type[TokenError]:
    return kind if issubclass(kind, TokenError) else TokenLostError


class _OfferedByAll(Set[Mechanism]):
    """The mechanisms that every open member lists for the key, each queried when it is looked up.

    A member that does not work is not asked. If it turns out to lack a mechanism, another member is used for it.
    """

    def __init__(self, pool: MemberPool, members: Sequence[Member]) -> None:
        self._pool = pool
        self._members = members
        self._known: dict[object, bool] = {}
        """What every member has answered."""

    @classmethod
    def _from_iterable(cls, mechanisms: Iterable[Mechanism]) -> frozenset[Mechanism]:  # type: ignore[override]
        return frozenset(mechanisms)

    def __contains__(self, mechanism: object) -> bool:
        known = self._known.get(mechanism)
        if known is None:
            known = isinstance(mechanism, Mechanism) and all(self._offers(one, mechanism) for one in self._members)
            if all(mechanism in one.known_mechanisms for one in self._members):
                self._known[mechanism] = known
        return known

    def __iter__(self) -> Iterator[Mechanism]:
        return (mechanism for mechanism in Mechanism if mechanism in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _offers(self, member: Member, mechanism: Mechanism) -> bool:
        generation = member.breaker.generation
        try:
            return member.offers(mechanism) is not False
        except TokenError as error:
            self._pool.record_fault(member, error, generation)
            return True
