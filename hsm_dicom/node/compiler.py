"""From the configuration file to the plan of the node: the one place that reads the tables of the network.

Named `compile_plan`, since `compile` is a builtin of Python.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import MappingProxyType

from hsm_dicom.config.devices import TokenAccess, find_token_access
from hsm_dicom.config.lines import KeyPath
from hsm_dicom.config.loading import LOCAL, Reading, read_configuration
from hsm_dicom.config.sections import Configuration
from hsm_dicom.identity import IdentityAccess, Succession, find_identity, find_successions
from hsm_dicom.identity.succession import check_successors
from hsm_dicom.node.plan import NodePlan, join_names
from hsm_dicom.node.policies import compile_policies
from hsm_dicom.node.problems import ProblemCollector
from hsm_dicom.node.tables.clashes import (
    find_peers_alike,
    find_peers_written_twice,
    find_shared_ports,
    list_entrances,
)
from hsm_dicom.node.tables.listeners import ListenerCompiler
from hsm_dicom.node.tables.peers import PeerCompiler
from hsm_dicom.node.tables.route_clashes import find_route_problems
from hsm_dicom.node.tables.routes import RouteCompiler, compile_gateway
from hsm_dicom.node.trust import compile_trust


def read_plan(file: Path | None) -> NodePlan:
    """Read a configuration file and compile its plan, an empty one for None. Raises nothing for what is in it."""
    return compile_plan(Reading(LOCAL) if file is None else read_configuration(file))


def compile_plan(reading: Reading) -> NodePlan:
    """Compile the plan of a configuration: every name resolved, every problem collected, nothing raised.

    No device is opened, no PIN is read, and no certificate: of the files that are named, only owner, mode and kind
    are looked at. What the certificates and devices themselves hold is for `hsm_dicom.node.opening`.
    """
    configuration = reading.configuration
    problems = ProblemCollector(reading, reading.problems)
    tokens = _compile_tokens(configuration, problems)
    identities = _compile_identities(configuration, problems)
    policies = compile_policies(reading, problems)
    peers = PeerCompiler(reading, identities, problems).compile_all()
    listeners = ListenerCompiler(reading, identities, peers, problems).compile_all()
    settings = [listener.settings for listener in listeners.values()]
    find_peers_alike(settings, problems)
    find_peers_written_twice((plan.peer for plan in peers.values()), settings, problems)
    routing = RouteCompiler(reading, identities, problems.keep_resolved("peers", peers), listeners, problems)
    devices = routing.compile_devices()
    routes = routing.compile_all()
    gateway = compile_gateway(reading, problems)
    find_route_problems(routes, problems)
    relayed = [route.settings for route in routes.values()]
    find_shared_ports(list_entrances(settings, relayed, gateway.status), problems)
    _check_folders(configuration, problems)
    _check_stores(configuration, problems)
    return NodePlan(
        file=reading.file,
        pin_sources=MappingProxyType({name: section.pin for name, section in configuration.tokens.items()}),
        tokens=MappingProxyType(tokens),
        identities=MappingProxyType(identities),
        successions=MappingProxyType(_compile_successions(configuration, problems)),
        trust=compile_trust(configuration),
        policies=problems.keep_resolved("policies", policies),
        peers=problems.keep_resolved("peers", peers),
        listeners=problems.keep_resolved("listeners", listeners),
        plain=problems.keep_resolved("plain", devices),
        routes=problems.keep_resolved("routes", routes),
        gateway=gateway,
        problems=problems.problems,
        form_problems=reading.problems,
        unresolved=problems.unresolved,
        unsafe=reading.unsafe,
    )


def _compile_tokens(configuration: Configuration, problems: ProblemCollector) -> dict[str, TokenAccess]:
    tokens = {}
    for name, section in configuration.tokens.items():
        place = ("tokens", name)
        if section.pin is None:
            remedy = "Write pin = …; else each command needs --pin."
            problems.warn((*place, "pin"), "No source of the PIN is named.", remedy)
        with problems.report_errors((*place, "module")):
            section.module.stat()
            tokens[name] = find_token_access(configuration, name)
    return tokens


def _compile_identities(configuration: Configuration, problems: ProblemCollector) -> dict[str, IdentityAccess]:
    identities = {}
    for name, section in configuration.identities.items():
        named = (section.token,) if section.token is not None else section.tokens or ()
        if any(problems.is_unresolved("tokens", one) for one in named):
            problems.mark_unresolved(("identities", name))
            continue
        place = "key" if section.key is not None else "tokens" if section.tokens is not None else None
        with problems.report_errors(("identities", name) if place is None else ("identities", name, place)):
            identities[name] = find_identity(name, configuration)
    return identities


def _compile_successions(configuration: Configuration, problems: ProblemCollector) -> dict[str, Succession]:
    """Return the successions that can take place; report the others."""
    successions, sound = find_successions(configuration), {}
    for name, one in successions.items():
        place = ("identities", name, "next")
        if one.successor not in configuration.identities:
            remedy = f"Write the table, or name one that is there: {join_names(configuration.identities)}."
            problems.add(place, f"There is no [identities.{one.successor}] in this file.", remedy)
            continue
        with problems.report_errors(place):
            check_successors(successions, name)
            sound[name] = one
    return sound


def _check_folders(configuration: Configuration, problems: ProblemCollector) -> None:
    """Report what cannot be written. The state folder is made when it is needed; the folder of the events is not."""
    state, events = configuration.state.folder, configuration.events.file
    if state is not None:
        with problems.report_errors(("state", "folder")):
            _check_writable(("state", "folder"), next(one for one in (state, *state.parents) if one.exists()), problems)
    if events is None:
        return
    with problems.report_errors(("events", "file")):
        _check_event_file(events, problems)


def _check_stores(configuration: Configuration, problems: ProblemCollector) -> None:
    """Report folders for received instances that are no folders, or that cannot be written or made."""
    for name, section in configuration.listeners.items():
        for key, folder in (("store", section.store), ("quarantine", section.quarantine)):
            place = ("listeners", name, key)
            if folder is None:
                continue
            with problems.report_errors(place):
                existing = next(one for one in (folder, *folder.parents) if one.exists())
                if not existing.is_dir():
                    remedy = "Name a folder, which is created if it does not exist, or move the file."
                    problems.add(place, f"{existing} is a file, not a folder.", remedy)
                elif not os.statvfs(existing).f_flag & os.ST_RDONLY:
                    # systemd shows most units a read-only file system. The listener itself checks when it starts.
                    _check_writable(place, existing, problems)


def _check_event_file(events: Path, problems: ProblemCollector) -> None:
    if not events.parent.is_dir():
        remedy = f"Run: mkdir -m 700 {events.parent}"
        problems.add(("events", "file"), f"The folder {events.parent} does not exist.", remedy)
    else:
        _check_writable(("events", "file"), events if events.exists() else events.parent, problems)


def _check_writable(place: KeyPath, path: Path, problems: ProblemCollector) -> None:
    if not os.access(path, os.W_OK):
        problems.add(place, f"{path} cannot be written by this user.", "Change its owner, or name another.")
