"""The limits of the units: each is in force, and the lines of the guide's table take it back."""

from __future__ import annotations

import re

import pytest
from machine import Machine
from page import Guide

HEADING = "If a module does not work in the unit"
DROP_IN = "/run/systemd/system/hsm-dicom-.service.d/60-lifted.conf"
MANUAL = "systemd-run --quiet --pipe --wait --collect --unit=hsm-dicom-manual"

WITHIN = {
    "a device file": "open('/dev/hsm0', 'rb', buffering=0)",
    "writes files": "open('/var/lib/vendor/state', 'w')",
    "memory that is writable and executable": "import mmap; mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC)",
    "a socket of another kind": "import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "a home folder": "open('/home/vendor/module.conf')",
    "meets its daemon in `/tmp`": "open('/tmp/vendor.lock')",
    "reads `/proc/cpuinfo`": "open('/proc/cpuinfo')",
    "looks at other processes": "open('/proc/1/comm')",
    "binds threads to processors": "import os; os.sched_setaffinity(0, {0})",
}
"""What a module does, by the words of the table."""


@pytest.fixture(scope="module")
def vendor(machine: Machine) -> Machine:
    """The machine with the files of a vendor, and with /dev/hsm0, a device whose number is that of /dev/net/tun."""
    machine.run("mknod -m 666 /dev/hsm0 c 10 200")
    files = "/home/vendor/module.conf /tmp/vendor.lock /var/lib/vendor/state"
    machine.run(f"mkdir -p /home/vendor /var/lib/vendor; touch {files}; chmod 666 {files}")
    return machine


@pytest.mark.parametrize("words", WITHIN)
def test_a_limit_is_in_force_and_the_table_takes_it_back(vendor: Machine, guide: Guide, words: str) -> None:
    [row] = [line for line in guide.read_section(HEADING).splitlines() if line.startswith("|") and words in line]
    lines = re.findall(r"`([A-Za-z]+=[^`]*)`", row)
    assert lines
    code = f"""{MANUAL} /opt/hsm-dicom/bin/python -c "{WITHIN[words]}" """
    vendor.run(f"rm -f {DROP_IN}; systemctl daemon-reload")
    vendor.run(code, status=1)
    vendor.write(DROP_IN, "\n".join(["[Service]", *lines, ""]))
    vendor.run("systemctl daemon-reload")
    vendor.run(code)
    vendor.run(f"rm {DROP_IN}; systemctl daemon-reload")


def test_the_unit_reads_whether_the_clock_is_synchronised(machine: Machine) -> None:
    code = "from hsm_dicom.node.clock import is_clock_synchronised; print(is_clock_synchronised())"
    assert machine.run(f'{MANUAL} /opt/hsm-dicom/bin/python -c "{code}"').strip() in ("True", "False")
