"""ISCL with the secrets on SoftHSM: throughput beside the token's own, handshakes, C-STORE beside plain, and a soak.

The peer is a process of its own with a login of its own. A line needs both ends: while one encrypts, the other one
decrypts. Beside the throughput stands what the token does of the same octets with the same key, in both processes at
the same time, with no line between them: one DES3-CBC pass for MD5 with DES-CBC, two for DES-MAC with DES-CBC.

Short messages stand beside the shortest exchange that the protocol allows, too: see `benchmarks.exchange`.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import multiprocessing
import os
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pynetdicom import AE, AllStoragePresentationContexts, build_context, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from benchmarks.exchange import BareKey, answer, begin, exchange
from benchmarks.rows import Row, in_turns
from hsm_dicom.iscl import ISCLContext, ISCLSettings, ISCLSocket, Mac, Weakness
from hsm_dicom.network.acceptor import Acceptor
from hsm_dicom.network.listener import Listener
from hsm_dicom.network.receive import Receiver
from hsm_dicom.network.requestor import Timeouts, associate
from hsm_dicom.network.settings import ISCLExemption, Limits, Peer, StorageSettings
from hsm_dicom.network.store import store
from hsm_dicom.transport.iscl import ISCLTransport
from tests import softhsm
from tests.hsm_dicom.network.images import ct_image
from tests.tokens.secrets.devices import KEYS
from tokens import open_secrets, open_token
from tokens.pkcs11.secret_keys.ceremony import import_secret
from tokens.secrets import Secrets
from tokens.uri import Pkcs11Uri

ALL = frozenset(Weakness)
OPENING = ISCLExemption(settings=ISCLSettings())
"""What a peer is known to speak; how is the transports' matter."""
MEBIBYTE = 1 << 20
THROUGHPUT_BYTES = int(os.environ.get("ISCL_THROUGHPUT_MIB", "32")) * MEBIBYTE
"""A transfer as long as a large series: the filling of the line counts for as little as it does there."""
PDU = 16 * 1024
HANDSHAKES = 50
CTS = 20
ROUNDS = 5
SOAK_ASSOCIATIONS = 100
SECONDS = 120.0
"""What an association may take in the soak; each step of ISCL has the time that it has by default."""
SOAK_SECONDS = float(os.environ.get("ISCL_SOAK_SECONDS", "60"))


def run() -> Iterator[Row]:
    """Throughput, handshakes, transfers, soak."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        softhsm.provision(folder / "softhsm")
        os.environ["HSM_DICOM_STATE"] = str(folder / "state")
        uri = softhsm.new_token("iscl").uri()
        with open_token(uri) as connection:
            for (use, index), value in KEYS.items():
                import_secret(connection, use, index, bytearray.fromhex(value))
        with open_secrets(uri) as secrets, open_token(uri) as connection:
            yield from _throughput(uri, secrets, BareKey(connection))
            yield from _handshakes(uri, secrets)
            yield from _transfers(folder, uri, secrets)
            yield from _soak(uri, secrets)


# -- throughput -----------------------------------------------------------------------------------------------


def _throughput(uri: Pkcs11Uri, secrets: Secrets, bare: BareKey) -> Iterator[Row]:
    data = os.urandom(THROUGHPUT_BYTES)
    for mac, passes in ((Mac.MD5, 1), (Mac.DES_MAC, 2)):
        settings = ISCLSettings(mac=mac, allow=ALL)
        with (
            _process(_take_everything, uri, settings) as (port, peer),
            _line(port, settings, secrets) as line,
            secrets.data_key(1) as key,
            _process(answer, uri, PDU, passes) as (bare_port, _),
            begin(bare_port) as bare_line,
        ):

            def both_tokens(passes: int = passes, peer: Any = peer, key: Any = key) -> None:
                peer.send(passes)
                for _ in range(passes):
                    key.encrypt(data, bytes(8))
                peer.recv()

            def shortest(passes: int = passes, bare_line: socket.socket = bare_line) -> None:
                exchange(bare_line, bare, data, PDU, passes)

            seconds = in_turns(
                {
                    "token": both_tokens,
                    "messages": lambda line=line: _send(line, data, MEBIBYTE),
                    "pdus": lambda line=line: _send(line, data, PDU),
                    "exchange": shortest,
                },
                ROUNDS,
            )
        name = f"{mac.name.replace('_', '-')} with DES-CBC"
        rate = {job: f"{THROUGHPUT_BYTES / value / 1e6:.1f} MB/s" for job, value in seconds.items()}
        token = f"{rate['token']}, {passes} pass{'es' if passes > 1 else ''}"
        for job, what, wanted in (("messages", "1 MiB", ">= 0.9"), ("pdus", "16 KiB", "")):
            yield Row(f"{name}, messages of {what}", rate[job], token, seconds["token"] / seconds[job], wanted)
        ratio = seconds["token"] / seconds["exchange"]
        yield Row(f"{name}, the shortest exchange of 16 KiB that the protocol allows", rate["exchange"], token, ratio)
        ratio = seconds["exchange"] / seconds["pdus"]
        yield Row(f"{name}, messages of 16 KiB, beside that exchange", rate["pdus"], rate["exchange"], ratio, ">= 0.6")
        yield _costs(f"{name}, microseconds for a message of 16 KiB", seconds)


def _costs(what: str, seconds: dict[str, float]) -> Row:
    """Where the time of one message goes: the token, what the order of the steps adds, and what this program adds."""
    count = THROUGHPUT_BYTES // PDU
    token, shortest, ours = (seconds[job] / count * 1e6 for job in ("token", "exchange", "pdus"))
    return Row(
        what,
        f"{ours:.0f}",
        f"token {token:.0f}, then wire and waiting {shortest - token:+.0f}, then this program {ours - shortest:+.0f}",
    )


def _send(line: ISCLSocket, data: bytes, size: int) -> None:
    """Send all of it, and wait until the other end has verified the last octet."""
    for start in range(0, len(data), size):
        line.sendall(data[start : start + size])
    assert line.recv(1) == b"."


@contextlib.contextmanager
def _line(port: int, settings: ISCLSettings, secrets: Secrets) -> Iterator[ISCLSocket]:
    context = ISCLContext(settings, secrets)
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        context.wrap_socket(plain, server_hostname="the peer") as line,
    ):
        yield line


def _take_everything(parent: Connection, uri: Pkcs11Uri, settings: ISCLSettings) -> None:
    """Takes everything; says a full stop for each THROUGHPUT_BYTES. Decrypts as often as the parent says."""
    with open_secrets(uri) as secrets, socket.create_server(("127.0.0.1", 0)) as listener:
        context = ISCLContext(settings, secrets)
        parent.send(listener.getsockname()[1])
        threading.Thread(target=_decrypt, args=(parent, secrets), daemon=True).start()
        while True:
            with contextlib.suppress(OSError), context.wrap_socket(listener.accept()[0], server_side=True) as line:
                received = 0
                while more := line.recv(MEBIBYTE):
                    received += len(more)
                    if received == THROUGHPUT_BYTES:
                        received = 0
                        line.sendall(b".")


def _decrypt(parent: Connection, secrets: Secrets) -> None:
    data = os.urandom(THROUGHPUT_BYTES)
    with secrets.data_key(1) as key:
        while True:
            for _ in range(parent.recv()):
                key.decrypt(data, bytes(8))
            parent.send("done")


# -- handshakes -----------------------------------------------------------------------------------------------


def _handshakes(uri: Pkcs11Uri, secrets: Secrets) -> Iterator[Row]:
    settings = ISCLSettings()

    def blocks() -> None:
        for _ in range(HANDSHAKES):
            with secrets.authentication(1) as conversation:
                conversation.internal_authenticate(bytes(8))
                conversation.external_authenticate(_answer(secrets, conversation.challenge))

    with _process(_take_everything, uri, settings) as (port, _):

        def handshakes() -> None:
            for _ in range(HANDSHAKES):
                with _line(port, settings, secrets):
                    pass

        seconds = in_turns({"handshakes": handshakes, "blocks": blocks})
    yield Row(
        "handshakes with disconnection, one after the other",
        f"{HANDSHAKES / seconds['handshakes']:.0f} a second",
        f"{HANDSHAKES / seconds['blocks']:.0f} a second of what one end asks of the token for one",
        seconds["blocks"] / seconds["handshakes"],
    )


def _answer(secrets: Secrets, challenge: bytes) -> bytes:
    """What the peer would say; made without the check against reflection, which this would be."""
    with secrets.device.conversation(1, 1, 1.0, time.monotonic() + 10) as conversation:
        return conversation.internal_authenticate(challenge)


# -- transfers ------------------------------------------------------------------------------------------------


def _transfers(folder: Path, uri: Pkcs11Uri, secrets: Secrets) -> Iterator[Row]:
    files = [ct_image(folder, f"{number}.dcm", pixels=512 * 512 * 2) for number in range(CTS)]
    settings = ISCLSettings(authentication_data=b"CT1")
    transport = ISCLTransport(ISCLContext(settings, secrets))
    with (
        _process(_serve_dicom, uri, folder / "secured") as (secured_port, _),
        _process(_serve_plain, folder / "plain") as (plain_port, _),
    ):
        (folder / "plain").mkdir()

        def over_iscl() -> None:
            peer = Peer(name="NODE", ae_titles=("NODE",), host="127.0.0.1", port=secured_port, iscl=OPENING)
            assert store(peer, transport, "CT1", files, timeouts=Timeouts()).done

        def plainly() -> None:
            ae = AE("CT1")
            association = ae.associate("127.0.0.1", plain_port, AllStoragePresentationContexts[:120])
            for file in files:
                assert association.send_c_store(file).Status == 0
            association.release()

        seconds = in_turns({"iscl": over_iscl, "plain": plainly}, 3)
    octets = sum(file.stat().st_size for file in files)
    yield Row(
        f"C-STORE of {CTS} CTs of 512 KiB",
        f"{seconds['iscl']:.2f} s over ISCL ({octets / seconds['iscl'] / 1e6:.1f} MB/s)",
        f"{seconds['plain']:.2f} s pynetdicom without security",
        seconds["plain"] / seconds["iscl"],
    )


def _serve_dicom(parent: Connection, uri: Pkcs11Uri, folder: Path) -> None:
    with open_secrets(uri) as secrets:
        receiver = Receiver("main", StorageSettings(folder=folder))
        with _listening(secrets, receiver) as listener:
            parent.send(listener.address[1])
            threading.Event().wait()


@contextlib.contextmanager
def _listening(secrets: Secrets, receiver: Receiver | None = None) -> Iterator[Listener]:
    ae = AE("NODE")
    ae.add_supported_context(Verification)
    for context in AllStoragePresentationContexts[:120]:
        ae.add_supported_context(str(context.abstract_syntax))
    # All callers of a measurement have one address, which a listener would not let in together. Each comes again at
    # once when its association is over, and may be there before the place of the last one is free.
    limits = Limits(
        associations=2 * SOAK_ASSOCIATIONS,
        unidentified=SOAK_ASSOCIATIONS,
        unidentified_per_address=SOAK_ASSOCIATIONS,
        waiting_per_address=SOAK_ASSOCIATIONS,
        handshake_seconds=SECONDS,
        request_seconds=SECONDS,
        idle_seconds=SECONDS,
    )
    peers = (Peer(name="CT1", ae_titles=("CT1",), host="127.0.0.1", iscl=OPENING),)
    handlers = receiver.handlers if receiver else ()
    acceptor = Acceptor("main", ae, lambda: peers, handlers, limits, receiver.start_storing if receiver else None)
    transport = ISCLTransport(ISCLContext(ISCLSettings(authentication_data=b"NODE"), secrets))
    with Listener("main", ("127.0.0.1", 0), transport, acceptor.begin, limits) as listener:
        try:
            yield listener
        finally:
            acceptor.stop()


def _serve_plain(parent: Connection, folder: Path) -> None:
    def stored(event: Any) -> int:
        (folder / f"{event.request.AffectedSOPInstanceUID}.dcm").write_bytes(event.encoded_dataset())
        return 0

    ae = AE("NODE")
    ae.supported_contexts = AllStoragePresentationContexts[:120]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, stored)])
    parent.send(server.server_address[1])
    threading.Event().wait()


# -- soak -----------------------------------------------------------------------------------------------------


def _soak(uri: Pkcs11Uri, secrets: Secrets) -> Iterator[Row]:
    """So many associations at once, each with a C-ECHO every other second, made anew now and then.

    Most of the work is pynetdicom's, whose threads look for something to do a thousand times a second for each
    association; what an association may take is long, so that errors mean something else.

    A leak is memory that stays in use for each message. The resident memory grows without one: each of the 400 threads
    has an arena of malloc, which keeps what was freed in it. So what is in use is counted: blocks of Python, and octets
    of malloc.
    """
    memory: list[tuple[float, float, float]] = []
    with _process(_associate_much, uri) as (_, peer), _listening(secrets) as listener:
        peer.send(listener.address[1])
        ends = time.monotonic() + SOAK_SECONDS
        while time.monotonic() < ends:
            time.sleep(min(1.0, SOAK_SECONDS / 20))
            gc.collect()
            memory.append((sys.getallocatedblocks(), _allocated_mebibytes(), _resident_mebibytes()))
        peer.send("stop")
        echoes, errors = peer.recv()
    third = len(memory) // 3
    earlier, later = memory[third : 2 * third], memory[-third:]
    blocks, octets, resident = (
        statistics.median(after) - statistics.median(before)
        for before, after in zip(zip(*earlier, strict=True), zip(*later, strict=True), strict=True)
    )
    what = f"{SOAK_ASSOCIATIONS} associations at once for {SOAK_SECONDS:g} s, last third over the one before"
    leaked = blocks / (echoes / 3)
    yield Row(
        f"{what}: Python's blocks in use for each C-ECHO",
        f"{leaked:.3f} ({blocks:+.0f} blocks, {echoes / SOAK_SECONDS:.0f} C-ECHO a second)",
        f"{len(errors)} errors {errors[:1] or ''}",
        leaked if not errors else float("inf"),
        "<= 0.5",
    )
    yield Row(
        f"{what}: memory in use",
        f"{octets:.2f} MiB",
        f"{resident:.2f} MiB resident, with what malloc keeps for its threads",
        octets,
        "<= 2.0",
    )


def _associate_much(parent: Connection, uri: Pkcs11Uri) -> None:
    with open_secrets(uri) as secrets:
        parent.send(0)
        peer = Peer(name="NODE", ae_titles=("NODE",), host="127.0.0.1", port=parent.recv(), iscl=OPENING)
        settings = ISCLSettings(authentication_data=b"CT1")
        transport = ISCLTransport(ISCLContext(settings, secrets))
        timeouts = Timeouts(connect=SECONDS, handshake=SECONDS, answer=SECONDS, idle=SECONDS)
        stop, errors, echoes = threading.Event(), [], [0] * SOAK_ASSOCIATIONS

        def associate_again_and_again(number: int) -> None:
            while not stop.is_set():
                with associate(peer, transport, "CT1", [build_context(Verification)], timeouts) as opened:
                    for _ in range(10):
                        if opened.association.send_c_echo().Status != 0:
                            raise RuntimeError("no success")
                        echoes[number] += 1
                        if stop.wait(2):
                            return

        def work(number: int) -> None:
            try:
                associate_again_and_again(number)
            except Exception as error:
                errors.append(repr(error))

        workers = [threading.Thread(target=work, args=(number,)) for number in range(SOAK_ASSOCIATIONS)]
        for worker in workers:
            worker.start()
        parent.recv()
        stop.set()
        for worker in workers:
            worker.join()
        parent.send((sum(echoes), errors))


class _MallocInfo(ctypes.Structure):
    """The mallinfo2 of glibc."""

    _fields_ = (
        *((name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd")),
        *((name, ctypes.c_size_t) for name in ("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")),
    )


def _allocated_mebibytes() -> float:
    """Return what malloc has handed out and not got back, in all threads."""
    library = ctypes.CDLL(None)
    library.mallinfo2.restype = _MallocInfo
    info = library.mallinfo2()
    return float(info.uordblks + info.hblkhd) / MEBIBYTE


def _resident_mebibytes() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MEBIBYTE


@contextlib.contextmanager
def _process(work: Callable[..., None], *arguments: Any) -> Iterator[tuple[int, Connection]]:
    """Another process that does `work`: the port that it tells first, and the way to it."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=work, args=(theirs, *arguments), daemon=True)
    process.start()
    try:
        if not ours.poll(30):
            raise RuntimeError("the other process did not begin")
        yield ours.recv(), ours
    finally:
        process.kill()
        process.join()
