"""A token that misbehaves inside the process of the tests: SoftHSM behind a proxy module."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tokens.proxy import Proxy, build


@pytest.fixture
def proxy_here(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, state_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Proxy:
    """A proxy module for this process and those that it starts; calls are counted.

    It is built for each test: a module that hangs in one test must not be the module of another.
    """
    made = Proxy(build(tmp_path_factory.mktemp("proxy")), tmp_path)
    for name, value in made.environment(counted=True).items():
        monkeypatch.setenv(name, value)
    return made
