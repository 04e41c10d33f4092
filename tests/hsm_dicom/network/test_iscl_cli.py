"""`hsm-dicom listen` over ISCL as a process; `echo`, `store` and `iscl trace` against it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tests.hsm_dicom.cli.conftest import Run
from tests.hsm_dicom.network.images import ct_image, data_set_bytes
from tests.hsm_dicom.network.iscl_site import ISCLSite
from tests.hsm_dicom.network.listening import listening
from tests.tokens.secrets.devices import KEYS
from tokens import open_token
from tokens.pkcs11.secret_keys.ceremony import delete_secret, import_secret
from tokens.secrets import Use

GOLDEN = Path(__file__).parent.parent / "iscl" / "golden"


@pytest.mark.parametrize("over", ["", 'over = "tls"'], ids=["bare", "inside TLS"])
def test_echo_store_and_listen_over_iscl(iscl_site: ISCLSite, over: str, run: Run, tmp_path: Path) -> None:
    iscl_site.write(iscl=f"unique_keys = true\n{over}")
    image = ct_image(tmp_path, "ct.dcm")
    with listening(iscl_site.config) as running:
        assert running.says("ISCL in bcp195-rfc9325, mutual authentication" if over else "ISCL (retired)")
        echoed = run("echo", "archive", "--config", iscl_site.config)
        assert echoed.status == 0, echoed.said
        assert "calls itself ARCHIVE" in echoed.said
        assert "DES-CBC, MD5, unique keys" in echoed.said
        assert ("CN=node rsa" in echoed.said) == bool(over)
        stored = run("store", "archive", image, "--config", iscl_site.config, "--json")
        assert stored.status == 0, stored.said
        connection = stored.lines[-1]["connection"]
        assert connection["entity"] == "ARCHIVE"
        assert connection["transport"] == ("ISCL in TLS" if over else "ISCL")
        assert running.says("stored as")
        assert running.says("reason: The archive speaks nothing else. Beware: single DES and MD5 are broken")
    (received,) = (tmp_path / "received").iterdir()
    assert data_set_bytes(received) == data_set_bytes(image)
    assert "Traceback" not in "".join(running.printed)


def test_an_echo_is_recorded_and_explained(iscl_site: ISCLSite, run: Run, tmp_path: Path) -> None:
    iscl_site.write(iscl='wire = { byte_order = "little" }')
    file = tmp_path / "exchange.txt"
    with listening(iscl_site.config):
        assert run("echo", "archive", "--record", file, "--config", iscl_site.config).status == 0
        again = run("echo", "archive", "--record", file, "--config", iscl_site.config)
        assert again.status == 1
        assert f"{file} exists already; give --record a new file." in again.said
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    explained = run("iscl", "trace", file, "--peer", "archive", "--config", iscl_site.config)
    assert explained.status == 0, explained.said
    assert "client pass 2 -> client answered" in explained.said
    assert "authentication data: 'ARCHIVE'" in explained.said
    assert "nothing wrong." in explained.said
    otherwise = run("iscl", "trace", file)
    assert otherwise.status == 1
    assert "The server sent a message of the unknown id 0x01001100." in otherwise.said


def test_what_cannot_be_recorded_or_explained_is_one_sentence(iscl_site: ISCLSite, run: Run, tmp_path: Path) -> None:
    iscl_site.write(more='[peers.tls]\nae_titles = ["TLS"]\nhost = "127.0.0.1"\n')
    over_tls = run("echo", "tls", "--record", tmp_path / "x.txt", "--config", iscl_site.config)
    assert "Only ISCL can be recorded, but peer 'tls' uses TLS; omit --record." in over_tls.said
    nowhere = run("echo", "archive", "--record", tmp_path / "no" / "x.txt", "--config", iscl_site.config)
    assert "cannot be written (No such file or directory)." in nowhere.said
    for content in (b"\xff\xfe", b"nobody 00"):
        (tmp_path / "odd.txt").write_bytes(content)
        result = run("iscl", "trace", tmp_path / "odd.txt")
        assert result.status == 1
        assert "part of a recording" in result.said or "characters that are not ASCII" in result.said
    assert "cannot be read (No such file or directory)." in run("iscl", "trace", tmp_path / "nothing.txt").said
    no_iscl = run("iscl", "trace", GOLDEN / "md5-none-fixed.txt", "--peer", "tls", "--config", iscl_site.config)
    assert "Peer 'tls' does not speak ISCL" in no_iscl.said


def test_a_recording_is_a_new_file_and_nothing_that_a_link_leads_to(
    iscl_site: ISCLSite, run: Run, tmp_path: Path
) -> None:
    iscl_site.write()
    link, target = tmp_path / "link.txt", tmp_path / "target.txt"
    link.symlink_to(target)
    result = run("echo", "archive", "--record", link, "--config", iscl_site.config)
    assert f"{link} exists already; give --record a new file." in result.said
    assert not target.exists()


def test_a_recording_ends_with_the_disconnection(iscl_site: ISCLSite, run: Run, tmp_path: Path) -> None:
    iscl_site.write()
    with listening(iscl_site.config):
        for number in range(5):
            file = tmp_path / f"{number}.txt"
            assert run("echo", "archive", "--record", file, "--config", iscl_site.config).status == 0
            assert "disconnection response -> closed" in run("iscl", "trace", file).said


def test_a_trace_for_programs(run: Run) -> None:
    document = run("iscl", "trace", GOLDEN / "md5-descbc-unique.txt", "--json").json
    assert document["schema"] == "hsm-dicom/iscl-trace/1"
    assert document["remarks"] == 0
    first = document["messages"][0]
    assert (first["number"], first["sender"], first["name"]) == (1, "server", "line check request")
    assert first["remark"] is None
    assert "version: 'MEDIS-ISCL V1.00'" in first["facts"]


def test_ends_that_are_set_otherwise_are_reported_in_words_at_both_ends(iscl_site: ISCLSite, run: Run) -> None:
    iscl_site.write(peer="unique_keys = true")
    with listening(iscl_site.config) as running:
        echoed = run("echo", "archive", "--config", iscl_site.config)
        assert echoed.status == 1
        assert "a refusal of our encryption, key or MAC; set both ends alike" in echoed.said
        assert running.says(
            "wants to send with encryption DES-CBC (0x1212), MAC MD5 (0x1441) and unique keys under encryption key 1; "
            "the settings say encryption DES-CBC (0x1212), MAC MD5 (0x1441) and encryption key 1. Set both ends alike."
        ), running.printed


def test_a_key_that_differs_is_reported_at_both_ends(iscl_site: ISCLSite, run: Run) -> None:
    """Under one index on the wire there are two keys: the second is made the first under another prefix."""
    with open_token(iscl_site.secrets.uri()) as connection:
        for use, index in ((Use.AUTHENTICATION, 2), (Use.ENCRYPTION, 2)):
            key = bytearray.fromhex(KEYS[use, index])
            import_secret(connection, use, 1, key, prefix="theirs")
    try:
        iscl_site.write(peer='prefix = "theirs"')
        with listening(iscl_site.config) as running:
            echoed = run("echo", "archive", "--config", iscl_site.config)
            assert "compare the check values of the authentication keys" in echoed.said
            assert running.says("Compare the check values and key indexes of both sides.")
    finally:
        with open_token(iscl_site.secrets.uri()) as connection:
            for use in Use:
                delete_secret(connection, use, 1, prefix="theirs")
