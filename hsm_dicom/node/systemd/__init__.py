"""The service manager of the machine, systemd: notifications to it, and the sockets that it passes.

| module    | one idea                                                                                  |
|-----------|-------------------------------------------------------------------------------------------|
| `manager` | notifications: ready, reloading, stopping, one line of status, the watchdog (sd_notify(3)) |
| `sockets` | listening sockets that systemd opened, by their names (sd_listen_fds_with_names(3))       |
"""

from hsm_dicom.node.systemd.manager import ServiceManager
from hsm_dicom.node.systemd.sockets import PassedSockets

__all__ = ["PassedSockets", "ServiceManager"]
