"""No data of a patient is on the disk or in the log of a gateway that passes or inspects: all it wrote is searched."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom import Dataset

from hsm_dicom.events import EventFile
from hsm_dicom.gateway.alarms import Alarms
from hsm_dicom.gateway.conditions import find_conditions
from hsm_dicom.gateway.events import InstanceRelayed, RelayEnded
from hsm_dicom.gateway.inspect import Inspector
from hsm_dicom.gateway.pages import status_document
from hsm_dicom.gateway.settings import AlarmKind, AlarmSettings, Objects
from hsm_dicom.gateway.status import GatewayStatus
from hsm_dicom.gateway.targets import PeerTarget
from tests.hsm_dicom.gateway.routes import LOOPBACK, Gateway, gateway
from tests.hsm_dicom.gateway.states import make_status
from tests.hsm_dicom.gateway.test_with_dcmtk import storescp
from tests.hsm_dicom.network.images import ct_image
from tests.hsm_dicom.network.nodes import eventually, transport_to
from tests.hsm_dicom.tls.fixtures import Hospital
from tests.interop.tls.programs import run

pytestmark = pytest.mark.interop

CANARY = "QWXCANARYZV"
"""Part of every value that belongs to the patient."""

LARGEST_INSTANCE, LARGEST_ASSOCIATION = 700, 4000
"""Bounds of what an instance and an association write, in bytes; docs/howto/operate-a-gateway.md has the figures."""


def make_image(folder: Path) -> Path:
    path = ct_image(folder)
    dataset = pydicom.dcmread(path)
    dataset.PatientName, dataset.PatientID = f"{CANARY}^Name", f"{CANARY}-4711"
    dataset.PatientBirthDate, dataset.AccessionNumber = "19610207", f"{CANARY}-1"
    dataset.PatientComments = dataset.StudyDescription = f"{CANARY} comment"
    item = Dataset()
    item.PatientID = f"{CANARY}-2"
    dataset.OtherPatientIDsSequence = [item]
    dataset.PixelData = (CANARY.encode() * 2000)[: len(dataset.PixelData)].ljust(len(dataset.PixelData), b"\0")
    dataset.save_as(path)
    return path


@contextmanager
def recorded(folder: Path, running: Gateway) -> Iterator[list[GatewayStatus]]:
    """Events, alarms and the log in files, as a node has them; yields the statuses that were made."""
    hook = folder / "hook"
    hook.write_text(f"#!/bin/sh\nexec cat >> {folder / 'alarm'}\n")
    hook.chmod(0o700)
    statuses: list[GatewayStatus] = []

    def conditions() -> Any:
        statuses.append(make_status(routes=(running.route.status(),), events_lost=1))
        return find_conditions(statuses[-1])

    handler = logging.FileHandler(folder / "log")
    root = logging.getLogger()
    level, ours = root.level, logging.getLogger("hsm_dicom").level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    logging.getLogger("hsm_dicom").setLevel(logging.DEBUG)
    alarm = AlarmSettings(name="page", kind=AlarmKind.COMMAND, command=(str(hook),))
    try:
        with (
            EventFile(folder / "events.jsonl").record(),
            Alarms([alarm], conditions, folder / "alarms.json", look_seconds=0.05),
        ):
            yield statuses
            assert eventually((folder / "alarm").exists, 10)
    finally:
        root.removeHandler(handler)
        handler.close()
        root.setLevel(level)
        logging.getLogger("hsm_dicom").setLevel(ours)


@pytest.mark.parametrize("objects", [Objects.PASS, Objects.INSPECT])
def test_nothing_of_a_patient_is_written_anywhere(hospital: Hospital, tmp_path: Path, objects: Objects) -> None:
    received, state = tmp_path / "received", tmp_path / "state"
    received.mkdir()
    state.mkdir()
    image = make_image(tmp_path)
    calls = ["-aet", "CT1", "-aec", "PACS"]
    with storescp(hospital, received) as peer:
        target = PeerTarget(peer, transport_to(peer, hospital, hospital.rsa))
        make_tap = None if objects is Objects.PASS else (lambda address, count: Inspector("to-pacs", address, count))
        with (
            gateway(peer, target=target, make_tap=make_tap, objects=objects) as running,
            recorded(state, running) as statuses,
        ):
            status, printed = run("storescu", *calls, LOOPBACK, running.port, image)
            assert status == 0, printed
            # Refused, and broken off: errors must not quote what was sent either.
            run("storescu", "-aet", "OTHER", "-aec", "PACS", LOOPBACK, running.port, image)
            run("findscu", *calls, "-P", "-k", f"PatientName={CANARY}*", LOOPBACK, running.port)
            assert eventually(lambda: running.of(RelayEnded))
            statuses.append(make_status(routes=(running.route.status(),)))
    assert len(list(received.iterdir())) == 1  # a patient's data was relayed
    assert CANARY.encode() in next(received.iterdir()).read_bytes()
    written = b"".join(file.read_bytes() for file in state.rglob("*") if file.is_file())
    shown = "".join(json.dumps(status_document(one), default=str) for one in statuses)
    assert b"relay-opened" in written
    assert (b"instance-relayed" in written) is (objects is Objects.INSPECT)
    assert CANARY.encode() not in written
    assert b"19610207" not in written
    assert CANARY not in shown
    assert_volume(state, running)


def assert_volume(state: Path, running: Gateway) -> None:
    """Check the figures of the page on log volume."""
    lines = (state / "events.jsonl").read_text().splitlines(keepends=True)
    kinds = [json.loads(line)["event"] for line in lines]
    first = lines[: kinds.index("relay-ended") + 1]
    instances = [line for line, kind in zip(first, kinds, strict=False) if kind == "instance-relayed"]
    assert len(instances) == len(running.of(InstanceRelayed))
    assert all(len(line) < LARGEST_INSTANCE for line in instances)
    assert sum(map(len, first)) - sum(map(len, instances)) < LARGEST_ASSOCIATION
