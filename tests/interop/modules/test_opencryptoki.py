"""What a user of opencryptoki meets before its first token."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import pytest

from tests.interop.modules import behaviours
from tests.interop.modules.devices.worker import Worker
from tests.interop.modules.steps import class_of


@pytest.mark.parametrize("worker", ["opencryptoki"], indirect=True, scope="module")
def test_a_user_whom_the_group_does_not_list_is_told_so(worker: Worker, tmp_path: Path) -> None:
    as_another = (*worker.device.enter, "unshare", "--user", "--map-user=2", "--map-group=2")
    with contextlib.closing(Worker(replace(worker.device, enter=as_another), tmp_path)) as another:
        refused = another.run(behaviours.open_and_close, "rsa")
    assert class_of(refused) == "ModuleError"
    assert "this user is not a member of the group 'pkcs11' in /etc/group" in refused
