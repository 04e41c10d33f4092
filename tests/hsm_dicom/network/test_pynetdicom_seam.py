"""Canaries for pynetdicom's internals, which hsm_dicom/network/_pynetdicom.py uses and no other module."""

from __future__ import annotations

import inspect
import re
import socket
import threading
from pathlib import Path

import pytest
from pynetdicom import AE, _config, build_context, evt
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dul import DULServiceProvider
from pynetdicom.fsm import TRANSITION_TABLE
from pynetdicom.sop_class import CTImageStorage, Verification  # type: ignore[attr-defined]
from pynetdicom.timer import Timer

from hsm_dicom.network import _pynetdicom as seam
from hsm_dicom.network.upper_layer.association import propose_association
from hsm_dicom.transport.port import ConnectionFacts, Secured
from tests.seams import explain, require_attributes, require_method

ROOT = Path(__file__).parents[3]
INTERNALS = re.compile(
    r"from pynetdicom\.(_config|_globals|dimse|dimse_messages|dul|fsm|service_class|timer|transport) import"
    r"|from pynetdicom(\.\w+)? import [^\n]*\b_[A-Za-z]"
    r"|\._(accepted_cx|sent_abort|reactor_checkpoint|dul_ready|idle_timer|kill_thread|is_paused|recv_pdu)\b"
)


@pytest.mark.parametrize(
    ("owner", "name"), list(seam.METHODS), ids=lambda value: value if isinstance(value, str) else value.__name__
)
def test_methods_that_are_called_or_overridden_are_as_expected(owner: type, name: str) -> None:
    require_method("pynetdicom", seam, owner, name, seam.METHODS[owner, name])


def test_attributes_that_are_read_or_set_exist() -> None:
    association = Association(AE(), seam.MODE_REQUESTOR)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        instances = [
            association,
            seam.AssociationSocket(association, client_socket=ours),
            seam.new_message(0x0001),
            C_STORE(),
            DIMSEServiceProvider(association),
            DULServiceProvider(association),
            Timer(1.0),
        ]
        checked = set()
        for instance in instances:
            kind = next(kind for kind in seam.ATTRIBUTES if isinstance(instance, kind))
            checked.add(kind)
            require_attributes("pynetdicom", seam, instance, seam.ATTRIBUTES[kind])
        assert checked == set(seam.ATTRIBUTES)


def test_the_state_machine_has_the_states_and_events() -> None:
    for pair in seam.TRANSITIONS:
        assert pair in TRANSITION_TABLE, explain("pynetdicom", seam, f"has no transition {pair}")
    states = {state for _, state in TRANSITION_TABLE}
    assert {seam.IDLE, seam.AWAITING_CLOSE} <= states, explain("pynetdicom", seam, f"has the states {sorted(states)}")
    assert DULServiceProvider(Association(AE(), seam.MODE_REQUESTOR)).state_machine.current_state == seam.IDLE


def test_a_connected_socket_announces_evt5_to_the_state_machine() -> None:
    association = Association(AE(), seam.MODE_ACCEPTOR)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        seam.AssociationSocket(association, client_socket=ours)
        assert list(association.dul.event_queue.queue) == ["Evt5"], explain(
            "pynetdicom", seam, "does not announce a connected socket by Evt5"
        )


def test_messages_are_made_by_command_field() -> None:
    message = seam.new_message(0x0001)
    assert type(message).__name__ == "C_STORE_RQ", explain("pynetdicom", seam, "makes other messages for 0001H")
    assert seam.new_message(0x7777) is None


def test_the_switch_for_unchanged_bytes_is_read_and_restored() -> None:
    before = _config.STORE_SEND_CHUNKED_DATASET
    with seam.keep_stored_bytes(), seam.keep_stored_bytes():
        assert _config.STORE_SEND_CHUNKED_DATASET is True
    assert _config.STORE_SEND_CHUNKED_DATASET is before
    assert "_config.STORE_SEND_CHUNKED_DATASET" in inspect.getsource(Association.send_c_store), explain(
        "pynetdicom", seam, "does not read STORE_SEND_CHUNKED_DATASET in send_c_store"
    )


def test_storage_sop_classes_are_listed_by_keyword() -> None:
    assert seam.storage_classes()["CTImageStorage"] == CTImageStorage


def test_a_request_carries_its_presentation_context() -> None:
    request = C_STORE()
    seam.set_context_id(request, 5)
    assert getattr(request, "_context_id", None) == 5


def test_an_association_over_a_connected_socket_is_answered_by_a_stock_server() -> None:
    """The whole seam at work: connect, negotiate, C-ECHO, release, and no thread left behind."""
    running = set(threading.enumerate())
    ae = AE("STOCK")
    ae.add_supported_context(Verification)
    echoed = threading.Event()
    server = ae.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_ECHO, lambda event: echoed.set() or 0x0000)]
    )
    assert server is not None
    try:
        connection = socket.create_connection(server.server_address[:2], timeout=5)
        facts = ConnectionFacts(transport="none", profile="none", version="none", suite="none")
        association = propose_association(
            AE("NODE"), Secured(connection, facts), "STOCK", [build_context(Verification)], seconds=5
        )
        association.negotiate()
        assert association.is_established, explain("pynetdicom", seam, "does not negotiate over our Upper Layer")
        assert association.send_c_echo().Status == 0x0000
        assert echoed.is_set()
        association.release()
        association.join(5)
        assert not association.is_alive()
        connection.close()  # pynetdicom leaves a plain socket open whose peer was faster
    finally:
        ae.shutdown()
    for thread in set(threading.enumerate()) - running:
        thread.join(5)
        assert not thread.is_alive(), thread


def test_our_names_hide_none_of_pynetdicoms() -> None:
    for ours, theirs in ((seam.BaseAssociation, Association), (seam.BaseUpperLayer, DULServiceProvider)):
        hidden = {name for name in vars(ours) if not name.startswith("_") and hasattr(theirs, name)}
        assert not hidden, explain("pynetdicom", seam, f"has {theirs.__name__}.{', '.join(sorted(hidden))} of its own")


def test_no_other_module_uses_internals_of_pynetdicom() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for folder in ("hsm_dicom", "tokens")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if path.name != "_pynetdicom.py"
        for match in INTERNALS.finditer(path.read_text())
    ]
    assert found == []
