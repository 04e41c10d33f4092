"""The fuzz targets hold for a short while; `make fuzz` runs them for long."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("target", ["signatures"])
def test_a_fuzz_target_finds_nothing_in_a_short_run(target: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"fuzz.{target}", "-runs=3000", "-seed=1"], capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Done 3000 runs" in done.stderr
