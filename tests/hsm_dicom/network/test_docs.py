"""The page on TLS does what it says: its commands and examples are run, in order, in one empty folder."""

from __future__ import annotations

from pathlib import Path

from tests.interop.tls.programs import free_port
from tests.test_docs import blocks, run_python, run_shell


def test_the_page_on_tls(tmp_path: Path) -> None:
    port = str(free_port())
    said = run_shell(tmp_path, [block.replace("12762", port) for block in blocks("tls.md", "sh")])
    assert "self answered in" in said
    assert "We would connect under bcp195-rfc9325." in said
    # The rehearsal ends with a revoked key, which the examples go on with as if nothing had been.
    config = tmp_path / "hsm-dicom.toml"
    config.write_text(config.read_text().replace('crls = ["ca.crl"]\n', ""))
    said = run_python(tmp_path, blocks("tls.md", "python"))
    assert "established: True" in said
    assert "0 'CN=CT 1,OU=Radiology', TLSv1.3" in said
