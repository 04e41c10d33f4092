"""Setting one key of a configuration file: every other line, the mode and a link stay as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from hsm_dicom.config.editing import EditError, move_table, replace_configuration, set_key

NODE = ("identities", "node")


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("[identities.node] # ours\nobject = 1\n", "[identities.node] # ours\na = true\nobject = 1\n"),
        ("[identities.node]", "[identities.node]\na = true\n"),
        (
            '[x]\n[identities."node"]\nb = 1\na = false # no\nc = 2\n',
            '[x]\n[identities."node"]\nb = 1\na = true\nc = 2\n',
        ),
    ],
)
def test_a_key_is_set_in_its_line_or_under_the_heading(text: str, changed: str) -> None:
    assert set_key(text, NODE, "a", "true") == changed


@pytest.mark.parametrize("text", ["", 'identities = { node = { key = "x" } }\n', "[identities]\nnode.object = 1\n"])
def test_a_table_without_a_heading_is_left_to_the_officer(text: str) -> None:
    with pytest.raises(EditError, match="Write a = true in the table identities.node"):
        set_key(text, NODE, "a", "true")


def test_a_table_takes_the_place_of_another() -> None:
    before, after = "# the node\n", "\n# the next\n[identities.NAME] # new\nkey = 2\n\n[trust]\na = 1\n"
    text = f"{before}[identities.node]\nold = [\n  1,\n]\n{after.replace('NAME', 'next')}"
    assert move_table(text, ("identities", "next"), NODE) == before + after.replace("NAME", "node")


@pytest.mark.parametrize("text", ["[identities]\nnode = {}\nnext = {}\n", "[identities.node]\na = 1\n"])
def test_tables_that_cannot_be_moved_are_left_to_the_officer(text: str) -> None:
    with pytest.raises(EditError, match="Move them with an editor"):
        move_table(text, ("identities", "next"), NODE)


def test_a_file_is_replaced_with_its_mode_through_a_link_and_only_if_the_check_passes(tmp_path: Path) -> None:
    file, link = tmp_path / "real.toml", tmp_path / "link.toml"
    file.write_text("old")
    file.chmod(0o640)
    link.symlink_to(file)
    replace_configuration(link, "new", lambda beside: None)
    assert (file.read_text(), file.stat().st_mode & 0o777, link.is_symlink()) == ("new", 0o640, True)

    def refuse(beside: Path) -> None:
        assert beside.read_text() == "newer"
        raise EditError("no")

    with pytest.raises(EditError):
        replace_configuration(link, "newer", refuse)
    assert file.read_text() == "new"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["link.toml", "real.toml"]
