"""A node over a year: its officer's files and commands, its CA, and a peer that calls it all the while.

The validation time is moved by the mark of `hsm_dicom.trust.clock`, the product's own means against a clock that was
set back: certificates begin and end within that year, and the test does not wait for the dates.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from pynetdicom import build_context
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from hsm_dicom import events
from hsm_dicom.events import Event, as_json
from hsm_dicom.identity import Identity
from hsm_dicom.network.assembly import make_peer_transport
from hsm_dicom.network.echo import echo
from hsm_dicom.network.requestor import associate
from hsm_dicom.network.settings import CertificateMatch, Peer
from hsm_dicom.node import Service, open_listener, read_plan
from hsm_dicom.trust import CertificateValidator, TrustStore
from hsm_dicom.trust.clock import set_mark
from tests.hsm_dicom.cli.conftest import Result, Run, run_program
from tests.hsm_dicom.network.nodes import TIMEOUTS, eventually
from tests.hsm_dicom.tls.fixtures import BOTH_SIDES, names
from tests.pki import DAY, NOW, Authority
from tests.ports import free_port

LIFE = 140 * DAY
"""Validity of the node's certificates: long enough that 60 days before the end are announced."""

LOOK_SECONDS = 0.1
"""How often the node looks at the dates of its certificates, in a year that takes seconds."""

PAUSE_SECONDS = 0.1
"""Time between two calls of the peer while the officer works."""

TLS: dict[str, Any] = {"extended": BOTH_SIDES, "usages": ("digital_signature",), "extensions": [names()]}


class Caller:
    """A peer with a key in memory, which calls the node again and again: one association and one C-ECHO each time.

    It knows the node's certificate by its name, and by pins if it has some.
    """

    def __init__(self, port: int, ca: Authority) -> None:
        self._port = port
        self._stopping, self._hurry = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="caller", daemon=True)
        self._begun = self._succeeded = 0
        self._failure: Exception | None = None
        self.keys_seen: list[str] = []
        self._pins: frozenset[str] = frozenset()
        self._authorities = [ca]
        self.be_certified_by(ca)

    def be_certified_by(self, ca: Authority) -> None:
        """Have another key, with a certificate of this CA, from the next call on."""
        self.issued = ca.issue("CT 1", **TLS)
        self._prepare()

    def trust(self, *authorities: Authority) -> None:
        """Trust these CAs from the next call on."""
        self._authorities = list(authorities)
        self._prepare()

    def pin(self, *pins: str) -> None:
        """Accept these keys of the node only, from the next call on."""
        self._pins = frozenset(pins)
        self._prepare()

    def call(self) -> str:
        """Call the node once. Return the SHA-256 of its key."""
        peer, transport = self._way
        done = echo(peer, transport, "CT1", TIMEOUTS)
        assert done.done
        assert done.facts.certificate is not None
        return done.facts.certificate.spki_sha256

    @contextmanager
    def associate(self) -> Iterator[Association]:
        """Open an association that stays open until the block ends."""
        with associate(*self._way, "CT1", [build_context(Verification)], TIMEOUTS) as opened:
            yield opened.association

    def call_again(self) -> None:
        """Wait until a call that begins from now on has succeeded. Raise the error of any call that has failed."""
        wanted = self._begun + 1
        self._hurry.set()
        assert eventually(lambda: self._failure or self._succeeded >= wanted, 10)
        if self._failure is not None:
            raise self._failure

    def __enter__(self) -> Caller:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _prepare(self) -> None:
        match = CertificateMatch(names=("127.0.0.1",), pins=self._pins)
        peer = Peer(name="node", ae_titles=("NODE",), host="127.0.0.1", port=self._port, certificate=match)
        validator = CertificateValidator(TrustStore([one.certificate for one in self._authorities]))
        identity = Identity("CT 1", self.issued.key, self.issued.certificate)
        self._way = peer, make_peer_transport(peer, identity, validator)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._hurry.wait(PAUSE_SECONDS)
            self._hurry.clear()
            self._begun += 1
            try:
                key = self.call()
            except Exception as error:  # whatever it is, the test fails with it
                self._failure = error
                return
            if key not in self.keys_seen:
                self.keys_seen.append(key)
            self._succeeded = self._begun


class Year:
    """The node's folder, its configuration, and what the events tell: the diary."""

    def __init__(self, folder: Path, run: Run) -> None:
        self.folder, self._run = folder, run
        self.config, self.port = folder / "hsm-dicom.toml", free_port()
        self.day = 0
        self.diary: list[tuple[int, str]] = []
        self._events = folder / "events.jsonl"

    @property
    def now(self) -> datetime:
        """The validation time of this day."""
        return NOW + self.day * DAY

    def command(self, *arguments: object, status: int = 0) -> Result:
        """Run a command of the officer in this process, which has moved its validation time."""
        done = self._run(*arguments, "--config", self.config)
        assert done.status == status, done.said
        return done

    def program(self, *arguments: object, status: int = 0) -> Result:
        """Run a command as a process of its own, as for a login that this process has already; note its events."""
        self._events.unlink(missing_ok=True)
        done = run_program(*arguments, "--config", self.config)
        assert done.status == status, done.said
        for line in self._events.read_text().splitlines():
            self._note(json.loads(line))
        return done

    def write(self, name: str, content: bytes | str) -> Path:
        """Write a file that nobody else may read."""
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path.chmod(0o600)
        return path

    def edit(self, old: str, new: str) -> None:
        """Replace the one place in the configuration."""
        text = self.config.read_text()
        assert text.count(old) == 1, text
        self.config.write_text(text.replace(old, new))

    def append(self, tables: str) -> None:
        """Add tables to the configuration."""
        self.config.write_text(self.config.read_text() + tables)

    def certify(self, key: str, ca: Authority, *options: object) -> x509.Certificate:
        """Request a certificate for a key, let the CA issue it from today on, and store it with the key."""
        name = key.replace("/", "-")
        request = self.folder / f"{name}-{self.day}.csr"
        self.command("key", "csr", key, *options, "--out", request)
        csr = x509.load_pem_x509_csr(request.read_bytes())
        assert csr.is_signature_valid
        begins = self.now
        issued = ca.issue(name, key=csr, subject=csr.subject, begins=begins, ends=begins + LIFE, **TLS)
        self.command("key", "import-cert", key, self.write(f"{name}-{self.day}.pem", issued.pem))
        return issued.certificate

    def go_to(self, day: int, caller: Caller) -> None:
        """Let weeks pass until a day, with calls in each."""
        while self.day < day:
            self.day = min(self.day + 7, day)
            set_mark(self.now)
            caller.call_again()

    def has_told(self, text: str) -> bool:
        """Return whether the events tell something today, or soon."""
        return eventually(lambda: (self.day, text) in self.diary)

    def serve(self) -> Service:
        """Return the listener, to be entered."""
        return Service(lambda: open_listener(read_plan(self.config), "main"), look_seconds=LOOK_SECONDS)

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Note what the events of this process tell."""
        try:
            with events.subscribe(self._note_event):
                yield
        finally:
            set_mark(None)

    def _note_event(self, event: Event) -> None:
        self._note(json.loads(as_json(event, self.now)))

    def _note(self, event: dict[str, Any]) -> None:
        told = tell(event)
        if told is not None:
            self.diary.append((self.day, told))


def tell(event: dict[str, Any]) -> str | None:
    """Return what an event means for the officer, in a few words; None for one of daily work."""
    match event:
        case {"event": "ceremony-step", "step": "initialise", "object": label, "outcome": "succeeded"}:
            return f"initialise {label}"
        case {"event": "ceremony-step", "step": step, "object": what, "token_label": token, "outcome": "succeeded"}:
            return f"{step} {re.sub('certificate [0-9a-f]+ of', 'a certificate of', what)} on {token}"
        case {"event": "certificates-reloaded", "succeeded": succeeded}:
            return "reloaded" if succeeded else "not reloaded"
        case {"event": "end-approaching", "kind": kind, "item": item, "days": days}:
            return f"{kind} {Path(item).name} ends in {days} days"
        case {"event": "login", "outcome": "refused", "presented": presented}:
            return "PIN refused" if presented else "PIN not presented"
        case {"event": "handshake-failed", "name": "main", "certificate_reason": reason}:
            return f"peer refused: {reason}"
        case _:
            return None
