"""The gateway's relay beside stunnel and nginx of Debian, in both directions, in one run.

Our key is on SoftHSM. Those of stunnel and nginx are in files where octets are measured, and stunnel's is on SoftHSM,
through libp11's engine, where connections are. Senders and targets are the same for all, in processes of their own;
processor time is that of the relay alone. Objects go from DCMTK's storescu to its storescp.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.hospital import new_hospital
from benchmarks.relays import (
    LOOPBACK,
    Relay,
    Sink,
    Site,
    open_association,
    release,
    require_programs,
    run_nginx,
    run_ours,
    run_stunnel,
    send_stream,
    together,
)
from benchmarks.rows import Row, in_turns
from tests.hsm_dicom.network.images import ct_image
from tests.hsm_dicom.network.pdus import p_data
from tests.hsm_dicom.tls.fixtures import Hospital
from tests.interop.tls.programs import serving
from tests.ports import free_port

OCTETS = 256 << 20
ROUNDS = 5
INSPECTION_ROUNDS = 15  # fewer do not show a difference of a tenth
CONNECTIONS = 100
ASSOCIATIONS = 64
CTS = 200
GIB, MIB = 1 << 30, 1 << 20
MODULE = "/usr/lib/softhsm/libsofthsm2.so"


def run() -> Iterator[Row]:
    """Octets, connections, objects, and memory."""
    require_programs()
    with new_hospital() as (folder, hospital, uri, pin):
        site = Site.make(hospital, uri)
        sink = Sink(site)
        with sink as (plain, secured):
            client = site.make_context(ssl.Purpose.SERVER_AUTH)
            for is_secured_in, target, context in ((True, plain, client), (False, secured, None)):
                yield from _octets(site, is_secured_in, target, context)
            yield from _connections(site, sink, plain, client, pin)
            yield _latency(site, plain, secured)
            yield from _memory(site, secured)
        images = folder / "cts"
        images.mkdir()
        for number in range(CTS):
            ct_image(images, f"{number}.dcm", pixels=512 * 512 * 2, value=number)
        yield from _objects(site, hospital, images)
        yield from _inspection(site, hospital, images)


def _octets(site: Site, is_secured_in: bool, target: int, context: ssl.SSLContext | None) -> Iterator[Row]:
    direction = "TLS to plain" if is_secured_in else "plain to TLS"
    with contextlib.ExitStack() as stack:
        relays = [
            stack.enter_context(run_ours(site, is_secured_in=is_secured_in, target=target)),
            stack.enter_context(run_stunnel(site, is_secured_in=is_secured_in, target=target)),
            stack.enter_context(run_nginx(site, is_secured_in=is_secured_in, target=target)),
        ]
        inspecting = stack.enter_context(run_ours(site, is_secured_in=is_secured_in, target=target, inspects=True))
        relays.append(Relay("inspecting", inspecting.port, inspecting.process))
        for streams in (1, 4):
            cpu, rate = _measure(relays, context, streams)
            what = f"{direction}, {streams} stream{'s' if streams > 1 else ''}"
            for peer, wanted_cpu, wanted_rate in (
                ("stunnel", "<= 1.15", ">= 0.8" if streams == 1 else ">= 0.4"),
                ("nginx", "", ""),
            ):
                yield Row(
                    f"{what}: CPU for a GiB",
                    f"{cpu['ours']:.2f} s",
                    f"{cpu[peer]:.2f} s {peer}",
                    cpu["ours"] / cpu[peer],
                    wanted_cpu,
                )
                yield Row(
                    f"{what}: rate",
                    f"{rate['ours']:.0f} MiB/s",
                    f"{rate[peer]:.0f} MiB/s {peer}",
                    rate["ours"] / rate[peer],
                    wanted_rate,
                )
            yield Row(
                f"{what}: CPU for a GiB, inspected",
                f"{cpu['inspecting']:.2f} s",
                f"{cpu['ours']:.2f} s passed",
                cpu["inspecting"] / cpu["ours"],
                "<= 1.2",
            )


def _measure(
    relays: list[Relay], context: ssl.SSLContext | None, streams: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Processor seconds for a GiB, and MiB in a second, of each relay: medians of rounds in turns."""
    cpu: dict[str, list[float]] = {relay.name: [] for relay in relays}
    rate: dict[str, list[float]] = {relay.name: [] for relay in relays}
    octets = OCTETS // streams
    for _ in range(ROUNDS):
        for relay in relays:
            before = relay.cpu_seconds
            seconds = together(lambda relay=relay: send_stream(relay.port, context, octets), streams)  # type: ignore[misc]
            cpu[relay.name].append((relay.cpu_seconds - before) * GIB / (octets * streams))
            rate[relay.name].append(octets * streams / MIB / seconds)
    return _take_medians(cpu), _take_medians(rate)


def _take_medians(measured: dict[str, list[float]]) -> dict[str, float]:
    return {name: statistics.median(values) for name, values in measured.items()}


def _connections(site: Site, sink: Sink, plain: int, client: ssl.SSLContext, pin: str) -> Iterator[Row]:
    """Associations by four callers at once. Callers and target share the processors with the relay."""
    with (
        run_ours(site, is_secured_in=True, target=plain) as ours,
        run_stunnel(site, is_secured_in=True, target=plain, pin=pin, module=MODULE) as stunnel,
    ):

        def connect(relay: Relay) -> None:
            for _ in range(CONNECTIONS // 4):
                release(open_association(relay.port, client))

        rate: dict[str, list[float]] = {"ours": [], "stunnel": []}
        cpu: dict[str, list[float]] = {"ours": [], "stunnel": []}
        sides: dict[str, list[float]] = {"ours": [], "stunnel": []}
        for _ in range(ROUNDS):
            for relay in (ours, stunnel):
                before, others = relay.cpu_seconds, time.process_time() + sink.cpu_seconds
                seconds = together(lambda relay=relay: connect(relay), 4)  # type: ignore[misc]
                rate[relay.name].append(CONNECTIONS / seconds)
                cpu[relay.name].append((relay.cpu_seconds - before) / CONNECTIONS * 1000)
                sides[relay.name].append((time.process_time() + sink.cpu_seconds - others) / CONNECTIONS * 1000)
        speed, cost, beside = _take_medians(rate), _take_medians(cpu), _take_medians(sides)
    what = "associations, key on SoftHSM"
    yield Row(
        f"{what}, in a second",
        f"{speed['ours']:.0f}",
        f"{speed['stunnel']:.0f} stunnel",
        speed["ours"] / speed["stunnel"],
        ">= 0.9",
    )
    yield Row(
        f"{what}: CPU for one",
        f"{cost['ours']:.2f} ms",
        f"{cost['stunnel']:.2f} ms stunnel",
        cost["ours"] / cost["stunnel"],
        "<= 1.6",
    )
    processors = len(os.sched_getaffinity(0))
    most = {name: processors * 1000 / (cost[name] + beside[name]) for name in speed}
    for name in speed:
        yield Row(
            f"{what}, in a second: {name} beside the most that {processors} processors allow, which callers and target "
            f"use too ({beside[name]:.2f} ms for one)",
            f"{speed[name]:.0f}",
            f"{most[name]:.0f}",
            speed[name] / most[name],
        )


def _latency(site: Site, plain: int, secured: int) -> Row:
    with run_ours(site, is_secured_in=False, target=secured) as ours:
        times: dict[int, list[float]] = {plain: [], ours.port: []}
        for _ in range(50):
            for port, values in times.items():
                started = time.perf_counter()
                connection = open_association(port, None)
                values.append((time.perf_counter() - started) * 1000)
                release(connection)
    direct, relayed = (statistics.median(values) for values in times.values())
    return Row(
        "an association, plain to TLS, until it is accepted",
        f"{relayed:.1f} ms",
        f"{direct:.1f} ms direct and plain; 25 ms may be added",
        (relayed - direct) / 25,
        "<= 1",
    )


def _memory(site: Site, secured: int) -> Iterator[Row]:
    with run_ours(site, is_secured_in=False, target=secured) as ours:
        release(open_association(ours.port, None))
        idle = ours.memory_mib
        with contextlib.ExitStack() as stack:
            opened = [stack.enter_context(open_association(ours.port, None)) for _ in range(ASSOCIATIONS)]
            for connection in opened:
                connection.sendall(p_data(1, bytes(100_000), last=False) * 4)
            time.sleep(1)
            grown = (ours.memory_mib - idle) / len(opened)
    yield Row("memory, idle", f"{idle:.0f} MiB", "120 MiB", idle / 120, "<= 1")
    yield Row(f"memory for each of {ASSOCIATIONS} associations", f"{grown:.2f} MiB", "0.5 MiB", grown / 0.5, "<= 1")


def _objects(site: Site, hospital: Hospital, images: Path) -> Iterator[Row]:
    certificate, key = hospital.files(hospital.peer("PACS"))
    secured, plain, quick = free_port(), free_port(), free_port()
    tls = ["+tls", key, certificate, "+cf", hospital.ca_file]
    with TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        received = Path(name)
        for port, options in ((secured, tls), (plain, [])):
            command = ["storescp", *options, "--ignore", "-aet", "PACS", port]
            stack.enter_context(serving(port, command, received))
        no_delay = ["env", "TCP_NODELAY=1", "storescp", "--ignore", "-aet", "PACS", quick]
        stack.enter_context(serving(quick, no_delay, received))
        ours = stack.enter_context(run_ours(site, is_secured_in=False, target=secured))
        jobs: dict[str, Callable[[], object]] = {
            "ours": lambda: send_objects(ours.port, images),
            "direct": lambda: send_objects(plain, images),
            "no delay": lambda: send_objects(quick, images, TCP_NODELAY="1"),
        }
        seconds = in_turns(jobs, 3)
    what = f"{CTS} CTs of 512 KiB, DCMTK at both ends"
    for peer, wanted in (("direct", "<= 0.15"), ("no delay", "<= 4")):
        yield Row(
            what,
            f"{seconds['ours']:.2f} s",
            f"{seconds[peer]:.2f} s {'direct' if peer == 'direct' else 'direct with TCP_NODELAY=1'}",
            seconds["ours"] / seconds[peer],
            wanted,
        )


def _inspection(site: Site, hospital: Hospital, images: Path) -> Iterator[Row]:
    """What it costs to follow each message: two command sets, the head of the Data Set, and an event for each CT."""
    certificate, key = hospital.files(hospital.peer("PACS"))
    for longest in (1 << 17, 1 << 14):
        port = free_port()
        command = ["storescp", "+tls", key, certificate, "+cf", hospital.ca_file, "--ignore", "-pdu", longest, port]
        with TemporaryDirectory() as name, contextlib.ExitStack() as stack:
            stack.enter_context(serving(port, command, Path(name)))
            passing, inspecting = (
                stack.enter_context(run_ours(site, is_secured_in=False, target=port, inspects=inspects))
                for inspects in (False, True)
            )
            cpu: dict[int, list[float]] = {passing.port: [], inspecting.port: []}
            for _ in range(INSPECTION_ROUNDS):
                for relay in (passing, inspecting):
                    before = relay.cpu_seconds
                    send_objects(relay.port, images)
                    cpu[relay.port].append((relay.cpu_seconds - before) / CTS * 1000)
        passed, inspected = (statistics.median(values) for values in cpu.values())
        yield Row(
            f"inspect beside pass: CPU for a CT of 512 KiB, PDUs of {longest >> 10} KiB",
            f"{inspected:.2f} ms",
            f"{passed:.2f} ms passed",
            inspected / passed,
            "<= 1.2",
        )


def send_objects(port: int, images: Path, **environment: str) -> None:
    """Send the files of a folder with storescu, with variables of its environment."""
    command = ["storescu", "-aet", "CT1", "-aec", "PACS", "+sd", LOOPBACK, str(port), str(images)]
    subprocess.run(command, check=True, capture_output=True, env=os.environ | environment)
