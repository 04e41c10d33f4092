"""Two sessions without a line between them: what no transport shows."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from hsm_dicom.iscl import ErrorCode, ISCLSettings, Role, State, WireProfile
from hsm_dicom.iscl.errors import IntegrityError
from hsm_dicom.iscl.protocol.session import Session
from hsm_dicom.iscl.suite.algorithms import Protection
from hsm_dicom.iscl.wire.messages import TransmissionRequest
from tests.hsm_dicom.iscl.lines import Ends, settings
from tokens.errors import TokenLostError


class Pair:
    """A server and a client; octets wait in between until they are exchanged."""

    def __init__(self, ends: Ends, options: ISCLSettings) -> None:
        self.sessions = {
            Role.SERVER: Session(Role.SERVER, options, ends.ours),
            Role.CLIENT: Session(Role.CLIENT, options, ends.theirs),
        }
        self.waiting: dict[Role, list[bytes]] = {role: [] for role in Role}
        self.says(Role.SERVER, self.server.start())
        self.exchange()
        assert self.server.is_ready
        assert self.client.is_ready

    @property
    def server(self) -> Session:
        return self.sessions[Role.SERVER]

    @property
    def client(self) -> Session:
        return self.sessions[Role.CLIENT]

    def says(self, who: Role, octets: Iterable[bytes]) -> None:
        self.waiting[who.peer] += octets

    def writes(self, who: Role, data: bytes) -> None:
        self.sessions[who].write(data)
        self.says(who, self.sessions[who].proceed())

    def exchange(self) -> None:
        """Deliver everything, until nothing more is said."""
        while any(self.waiting.values()):
            for role in Role:
                octets, self.waiting[role] = b"".join(self.waiting[role]), []
                if octets:
                    self.says(role, self.sessions[role].receive(octets))


def sealing(session: Session) -> Protection:
    """What seals the message that the session has asked to send."""
    begun = session._outbox._sealing
    assert begun is not None
    return begun.protection


def test_no_more_than_one_message_waits_to_be_read(ends: Ends) -> None:
    pair = Pair(ends, settings(max_message=1000))
    pair.writes(Role.CLIENT, bytes(5000))
    pair.exchange()
    assert pair.server.readable == 1000
    assert pair.server.connection.state is State.REQUESTED
    assert pair.server.step_timeout is None  # it is we who let the peer wait
    assert len(pair.server.read(1)) == 1
    pair.says(Role.SERVER, pair.server.proceed())
    pair.exchange()
    assert pair.server.readable == 1999
    assert pair.client.sent == 2


@pytest.mark.parametrize(
    ("place", "code"),
    [(32, ErrorCode.WRONG_MAC), (32 + 103, ErrorCode.DECRYPTION_FAILED), (32 + 104 + 32, ErrorCode.WRONG_MAC)],
    ids=["the message", "its padding", "its MAC"],
)
@pytest.mark.parametrize("profile", [WireProfile(), WireProfile(error_number_sent=True)], ids=["quiet", "talkative"])
@pytest.mark.parametrize("unread", [0, 100], ids=["room for more", "no room"])
def test_a_changed_message_is_met_with_silence_whatever_came_with_it(
    ends: Ends, unread: int, profile: WireProfile, place: int, code: ErrorCode
) -> None:
    """The sender's next request, which could be answered, came in the same octets. It is not looked at any more."""
    pair = Pair(ends, settings(max_message=101, profile=profile))
    if unread:
        pair.writes(Role.CLIENT, bytes(unread))
        pair.exchange()
    pair.writes(Role.CLIENT, bytes(101))
    pair.says(Role.SERVER, pair.server.receive(b"".join(pair.waiting.pop(Role.SERVER))))
    pair.client.write(b"the next message")
    changed = bytearray(b"".join(pair.client.receive(b"".join(pair.waiting[Role.CLIENT]))))
    assert changed[-48 + 4 : -48 + 8] == TransmissionRequest.id.to_bytes(4, "big")
    changed[place] ^= 1
    said: list[bytes] = []
    with pytest.raises(IntegrityError) as caught:
        said.extend(pair.server.receive(bytes(changed)))
    assert said == []
    assert caught.value.code is code
    assert str(pair.server.connection.error) == str(caught.value)
    assert pair.server.readable == unread


@pytest.mark.parametrize("unique", [False, True], ids=["fixed keys", "unique keys"])
def test_what_gives_way_is_sealed_again(ends: Ends, unique: bool) -> None:
    """Both ask at once: the client's first piece was sealed for another place in the chain, or with another key."""
    pair = Pair(ends, settings(unique_keys=unique))
    pair.writes(Role.CLIENT, b"from the client")
    pair.writes(Role.SERVER, b"from the server")
    given_up = sealing(pair.client)
    pair.exchange()
    assert pair.client.read(100) == b"from the server"
    assert pair.server.read(100) == b"from the client"
    if unique:
        with pytest.raises(TokenLostError, match="closed"):
            list(given_up.seal(b"its session key is destroyed"))


def test_a_session_that_is_closed_leaves_nothing_on_the_device(ends: Ends) -> None:
    pair = Pair(ends, settings(unique_keys=True))
    pair.writes(Role.CLIENT, b"begun")
    begun = sealing(pair.client)
    pair.client.close()
    pair.client.close()
    with pytest.raises(TokenLostError, match="closed"):
        list(begun.seal(b"its session key is destroyed"))
