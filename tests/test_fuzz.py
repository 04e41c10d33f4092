"""The fuzz targets hold for a short while; `make fuzz` runs them for long."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("target", "runs"), [("signatures", 800), ("messages", 500)])
def test_a_fuzz_target_finds_nothing_in_a_short_run(target: str, runs: int) -> None:
    command = [sys.executable, "-m", f"fuzz.{target}", f"-runs={runs}", "-seed=1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"Done {runs} runs" in done.stderr
