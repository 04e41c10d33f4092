"""A node as a whole: its configuration compiled to a plan, checked, opened and served.

    plan = read_plan(find_configuration())           # every name resolved, every problem listed, nothing opened
    with Service(lambda: open_listener(plan, "main")) as service: ...
    with open_peer(plan, "pacs") as (peer, transport, calling_ae_title): ...

| module        | one idea                                                                     |
|---------------|------------------------------------------------------------------------------|
| `plan`        | the frozen plan: tokens, identities, trust, peers, listeners, routes, problems |
| `compiler`    | from the configuration file to the plan: the one reader of the network tables |
| `tables`      | how the compiler reads each kind of table, and which cannot work together    |
| `problems`    | collection of problems, each with file, line, key and remedy                 |
| `trust`       | `[trust]` in the plan, and opening what it names                              |
| `policies`    | policies, and opening one with the trust of the configuration                 |
| `opening`     | from the plan to open devices, trust and transports, with an owner           |
| `check_report` | what the check of a configuration reports                                    |
| `check`       | the plan checked against the files, tokens and certificates that it names    |
| `identities`  | what identities are used for, their successors, and their tokens             |
| `inventory`   | every key, certificate and CRL, what for, and until when                     |
| `presets`     | what of a plan meets a document on cryptography                              |
| `acceptance`  | what a tested device can be used for in DICOM                                |
| `service`     | a listener that runs, and is reloaded                                        |
| `replaced`    | devices that a reload has replaced, released when nothing uses them          |
| `reloading`   | why a reload failed, whatever was raised                                     |
| `gateway`     | the gateway that runs: routes, listeners, targets, reloading, draining       |
| `systemd`     | the service manager: notifications, watchdog, sockets that it passes         |
| `validity`    | dates of certificates and CRLs, watched while it runs                        |
| `clock`       | the system clock, watched while a gateway runs                               |
| `readiness`   | whether its tokens answer, watched while it runs                             |
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hsm_dicom.node.check import check_configuration
    from hsm_dicom.node.check_report import ConfigurationReport
    from hsm_dicom.node.compiler import compile_plan, read_plan
    from hsm_dicom.node.opening import OpenedListener, OpenedPeer, Resources, open_listener, open_peer
    from hsm_dicom.node.plan import GatewayPlan, ListenerPlan, NodePlan, PeerPlan, RoutePlan, SecretKeysPlan
    from hsm_dicom.node.policies import open_policy
    from hsm_dicom.node.service import Service
    from hsm_dicom.node.trust import TrustPlan

__all__ = [
    "ConfigurationReport",
    "GatewayPlan",
    "ListenerPlan",
    "NodePlan",
    "OpenedListener",
    "OpenedPeer",
    "PeerPlan",
    "Resources",
    "RoutePlan",
    "SecretKeysPlan",
    "Service",
    "TrustPlan",
    "check_configuration",
    "compile_plan",
    "open_listener",
    "open_peer",
    "open_policy",
    "read_plan",
]

_MODULES = {
    "check": ("check_configuration",),
    "check_report": ("ConfigurationReport",),
    "compiler": ("compile_plan", "read_plan"),
    "opening": ("OpenedListener", "OpenedPeer", "Resources", "open_listener", "open_peer"),
    "plan": ("GatewayPlan", "ListenerPlan", "NodePlan", "PeerPlan", "RoutePlan", "SecretKeysPlan"),
    "trust": ("TrustPlan",),
    "policies": ("open_policy",),
    "service": ("Service",),
}


def __getattr__(name: str) -> object:
    """Import a module when one of its names is first used: commands that only test a device need no network."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
