"""PIN sources: where a PIN may come from, and that it shows itself nowhere."""

import contextlib
import copy
import os
import pickle
import pty
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tokens.errors import PinSourceError
from tokens.pins.sources import (
    FromCredential,
    FromDescriptor,
    FromEnvironment,
    FromFile,
    Pin,
    PinPad,
    Prompt,
    parse_pin_source,
)


def read(source: str) -> str:
    pin = parse_pin_source(source).read("user PIN")
    assert pin is not None
    return pin.octets().decode()


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("prompt", Prompt()),
        ("pinpad", PinPad()),
        ("env:NODE_PIN", FromEnvironment("NODE_PIN")),
        ("file:/run/pin", FromFile(Path("/run/pin"))),
        ("file:///run/a%20pin", FromFile(Path("/run/a pin"))),
        ("credential:ct-room.pin", FromCredential("ct-room.pin")),
        ("fd:7", FromDescriptor(7)),
    ],
)
def test_every_source_is_named_and_names_itself(text: str, source: object) -> None:
    assert parse_pin_source(text) == source
    assert parse_pin_source(str(source)) == source


@pytest.mark.parametrize(
    "text",
    [
        "271828",
        "pin:271828",
        "env:",
        "fd:x",
        "file:",
        "prompt:271828",
        "credential:",
        "credential:../pin",
        "credential:..",
        "",
    ],
)
def test_anything_else_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(PinSourceError, match="prompt, env:NAME, file:PATH, credential:NAME, fd:N, pinpad") as caught:
        parse_pin_source(text)
    assert "271828" not in str(caught.value)


def test_a_file_gives_its_first_line(tmp_path: Path) -> None:
    path = tmp_path / "pin"
    path.write_bytes(b"12 34\r\nnot this\n")
    path.chmod(0o400)
    assert read(f"file:{path}") == "12 34"


def test_a_credential_is_a_file_of_the_units_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "pin").write_bytes(b"271828\n")
    (tmp_path / "pin").chmod(0o400)
    assert read("credential:pin") == "271828"
    with pytest.raises(PinSourceError, match="No such file"):
        read("credential:other")
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    with pytest.raises(PinSourceError, match="add LoadCredentialEncrypted=pin:PATH to it"):
        read("credential:pin")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "pin"
    path.write_text("271828")
    path.chmod(mode)
    with pytest.raises(PinSourceError, match=f"chmod 600 {path}") as caught:
        read(f"file:{path}")
    assert "271828" not in str(caught.value)


def add_reader(path: Path, number: int, tag: int = 0x02, permissions: int = 4) -> None:
    """Let one more user, or group, read a file, by an access control list as systemd writes it."""
    entries = [(0x01, 4, 0xFFFFFFFF), (tag, permissions, number), (0x04, 0, 0xFFFFFFFF)]  # linux/posix_acl.h
    entries += [(0x10, 4, 0xFFFFFFFF), (0x20, 0, 0xFFFFFFFF)]
    packed = b"".join(struct.pack("<HHI", *entry) for entry in sorted(entries))
    os.setxattr(path, "system.posix_acl_access", struct.pack("<I", 2) + packed)
    assert path.stat().st_mode & 0o777 == 0o440


def test_a_file_of_root_with_a_list_of_this_user_alone_is_a_credential(tmp_path: Path) -> None:
    path = tmp_path / "pin"
    path.write_text("271828")
    path.chmod(0o400)
    add_reader(path, os.geteuid())
    assert read(f"file:{path}") == "271828"
    add_reader(path, 12345)
    with pytest.raises(PinSourceError, match="may be read by others"):
        read(f"file:{path}")


@contextlib.contextmanager
def as_user(user: int, group: int, groups: list[int]) -> Iterator[None]:
    """Be another user in the block, with a primary group and supplementary ones."""
    before = os.getegid(), os.getgroups()
    os.setgroups(groups)
    os.setegid(group)
    os.seteuid(user)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(before[0])
        os.setgroups(before[1])


@pytest.fixture
def mounted() -> Iterator[Path]:
    """A secret as Kubernetes mounts it with fsGroup 2000: the path of a link to a link's file, of root, mode 0440."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away, and become another user")
    with tempfile.TemporaryDirectory() as name:  # which other users may enter, unlike tmp_path
        folder = Path(name)
        folder.chmod(0o3777)
        version = folder / "..2026_11_27"
        version.mkdir(0o755)
        (version / "pin").write_text("271828")
        (version / "pin").chmod(0o440)
        os.chown(version / "pin", 0, 2000)
        (folder / "..data").symlink_to(version.name)
        (folder / "pin").symlink_to("..data/pin")
        yield folder / "pin"


def read_as_group(path: Path) -> str:
    pin = FromFile(path, group_readable=True).read("user PIN")
    assert pin is not None
    return pin.octets().decode()


@pytest.mark.parametrize(("group", "groups"), [(10001, [2000]), (2000, []), (10001, [3000, 2000])])
def test_a_group_of_this_process_may_read_the_file_if_that_is_allowed(
    mounted: Path, group: int, groups: list[int]
) -> None:
    with as_user(10001, group, groups):
        assert read_as_group(mounted) == "271828"
        with pytest.raises(PinSourceError, match=r"may be read by others \(mode 0440\).*write group_readable = true"):
            read(f"file:{mounted}")


def test_a_credential_may_be_readable_by_a_group_too(mounted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(mounted.parent))
    with as_user(10001, 10001, [2000]):
        pin = FromCredential("pin", group_readable=True).read("user PIN")
        with pytest.raises(PinSourceError, match="group_readable"):
            read("credential:pin")
    assert pin is not None


@pytest.mark.parametrize("mode", [0o444, 0o441, 0o442, 0o460, 0o450, 0o470, 0o420, 0o666])
def test_a_group_may_read_and_others_may_nothing(mounted: Path, mode: int) -> None:
    mounted.chmod(mode)
    os.chown(mounted, 10001, 2000)  # so that it can be opened with each mode
    with as_user(10001, 10001, [2000]), pytest.raises(PinSourceError) as caught:
        read_as_group(mounted)
    assert f"(mode {mode:04o}, group 2000). Run: chmod 440 {mounted}; group_readable permits no more." in str(
        caught.value
    )
    assert "271828" not in str(caught.value)


def test_a_group_that_is_none_of_this_process_is_refused(mounted: Path) -> None:
    os.chown(mounted, 10001, 2000)
    with as_user(10001, 10001, [3000]), pytest.raises(PinSourceError) as caught:
        read_as_group(mounted)
    assert f"Run: chgrp 10001 {mounted} && chmod 440 {mounted}; group_readable" in str(caught.value)


def test_a_file_of_another_user_is_refused_though_the_group_may_read_it(mounted: Path) -> None:
    os.chown(mounted, 12345, 2000)
    with as_user(10001, 10001, [2000]), pytest.raises(PinSourceError, match=r"another user \(uid 12345\)"):
        read_as_group(mounted)


@pytest.mark.parametrize(
    ("entry", "is_read"),
    [((0x08, 4, 2000), True), ((0x08, 4, 4000), False), ((0x08, 6, 2000), False), ((0x02, 4, 12345), False)],
)
def test_an_access_control_list_permits_groups_of_this_process_alone(
    mounted: Path, entry: tuple[int, int, int], is_read: bool
) -> None:
    tag, permissions, number = entry
    add_reader(mounted, number, tag, permissions)
    with as_user(10001, 10001, [2000]):
        if is_read:
            assert read_as_group(mounted) == "271828"
            return
        os.seteuid(0)  # so that it can be opened with each list
        with pytest.raises(PinSourceError, match=r"Run: setfacl -b .* && chmod 440 .*; group_readable"):
            read_as_group(mounted)


def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pin"
    path.write_text("271828")
    path.chmod(0o600)
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(path, 12345, -1)
    with pytest.raises(PinSourceError, match="another user"):
        read(f"file:{path}")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PinSourceError, match="No such file"):
        read(f"file:{tmp_path / 'nothing'}")
    with pytest.raises(PinSourceError, match="not a regular file"):
        read(f"file:{tmp_path}")
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(PinSourceError, match="not a regular file"):
        read(f"file:{tmp_path / 'pipe'}")


def test_an_empty_or_endless_file_holds_no_pin(tmp_path: Path) -> None:
    path = tmp_path / "pin"
    path.write_text("\n")
    path.chmod(0o600)
    with pytest.raises(PinSourceError, match="There is no user PIN in .*: it is empty"):
        read(f"file:{path}")
    path.write_text("9" * 5000)
    with pytest.raises(PinSourceError, match="too long"):
        read(f"file:{path}")


def test_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODE_PIN", "prüfung")
    assert read("env:NODE_PIN") == "prüfung"
    monkeypatch.delenv("NODE_PIN")
    with pytest.raises(PinSourceError, match="NODE_PIN, which is not set"):
        read("env:NODE_PIN")


def test_a_descriptor_is_read_once_and_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokens.pins.sources._read_descriptors", set())  # other tests may have read one of this number
    reading, writing = os.pipe()
    os.write(writing, b"1234\n")
    os.close(writing)
    assert read(f"fd:{reading}") == "1234"
    other, _ = os.pipe()
    assert other == reading  # the number is somebody else's by now
    with pytest.raises(PinSourceError, match="was read from file descriptor .* already"):
        read(f"fd:{reading}")


def test_a_descriptor_that_is_not_open_is_refused() -> None:
    with pytest.raises(PinSourceError, match="Bad file descriptor"):
        read("fd:987")


@pytest.mark.parametrize(("prompt", "option"), [("Prompt()", "--pin"), ("Prompt('--new-pin')", "--new-pin")])
def test_a_prompt_needs_a_terminal(prompt: str, option: str) -> None:
    code = f"import hsm_dicom; from tokens.pins.sources import Prompt; {prompt}.read('user PIN')"
    done = subprocess.run([sys.executable, "-c", code], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert f"there is no terminal. Use another source, such as {option} file:PATH" in done.stderr


def typed(answer: bytes) -> bytes:
    """What a terminal shows when somebody answers a prompt for a PIN in a process of its own."""
    code = "from tokens.pins.sources import Prompt; p = Prompt().read('user PIN of token x'); print(len(p.octets()))"
    child, terminal = pty.fork()
    if child == 0:
        os.execve(sys.executable, [sys.executable, "-c", code], {**os.environ, "LC_ALL": "C.UTF-8"})
    shown = b""
    while b"user PIN of token x: " not in shown:
        shown += os.read(terminal, 1000)
    os.write(terminal, answer + b"\n")
    try:
        while chunk := os.read(terminal, 1000):
            shown += chunk
    except OSError:  # a closed pseudo-terminal ends so on Linux
        pass
    os.waitpid(child, 0)
    os.close(terminal)
    return shown


def test_a_prompt_reads_without_echo() -> None:
    shown = typed(b"271828")
    assert b"271828" not in shown
    assert shown.rstrip().endswith(b"6")


def test_what_is_typed_in_another_encoding_is_refused_and_not_shown() -> None:
    shown = typed(b"p\xe4ss271828")
    assert b"is not text in this terminal's encoding" in shown
    assert b"271828" not in shown


def test_a_pin_shows_itself_nowhere() -> None:
    pin = Pin(b"271828")
    assert "271828" not in f"{pin} {pin!r} {[pin]}"
    with pytest.raises(TypeError):
        pickle.dumps(pin)
    with pytest.raises(TypeError):
        copy.copy(pin)


def test_a_wiped_pin_is_gone() -> None:
    pin = Pin(b"271828")
    buffer = pin.octets()
    pin.wipe()
    assert bytes(buffer) == b""


def test_a_pin_pad_gives_no_pin() -> None:
    assert PinPad().read("user PIN") is None
