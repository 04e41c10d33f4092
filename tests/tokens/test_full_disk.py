"""The state folder on a disk that is full: a login is still recorded, and nothing that was recorded is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.small_disks import MAY_MOUNT, leave_free, on_a_small_disk
from tokens.errors import PinSourceError
from tokens.process.state_folder import RESERVE, RESERVE_BYTES, StateFolder

NAME = "refused-1.json"


@MAY_MOUNT
def test_a_record_has_its_reserve_on_a_full_disk(tmp_path: Path) -> None:
    small = tmp_path / "small"

    def scene() -> None:
        small.chmod(0o700)
        state = StateFolder(small)
        state.write(NAME, "first")
        leave_free(small, 0)
        for number in range(3):
            state.write(NAME, f"again {number}")
            assert state.read(NAME) == f"again {number}"
        assert (small / RESERVE).stat().st_size == RESERVE_BYTES

    on_a_small_disk(small, 256 << 10, scene)


@MAY_MOUNT
def test_without_a_reserve_the_old_record_stays(tmp_path: Path) -> None:
    small = tmp_path / "small"

    def scene() -> None:
        small.chmod(0o700)
        state = StateFolder(small)
        state.write(NAME, "first")
        (small / RESERVE).unlink()
        filler = leave_free(small, 0)
        with pytest.raises(PinSourceError, match="No space left on device"):
            state.write(NAME, "second")
        assert state.read(NAME) == "first"
        assert sorted(one.name for one in small.iterdir()) == ["filler", NAME]
        filler.unlink()
        state.write(NAME, "second")
        assert (small / RESERVE).exists()

    on_a_small_disk(small, 256 << 10, scene)
