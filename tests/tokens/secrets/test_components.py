"""Components of a DES key by the library alone: drawn, written, read, combined, and overwritten afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.softhsm import TestToken
from tokens import open_token
from tokens.algorithms.des_keys import check_value
from tokens.errors import CeremonyError
from tokens.pins.sources import FromFile
from tokens.pkcs11.secret_keys.ceremony import import_secret, list_secrets
from tokens.pkcs11.secret_keys.components import combine_key, draw_components, read_components, write_components
from tokens.secrets import Use


def test_components_are_drawn_written_read_and_combined_to_the_same_key(token: TestToken, tmp_path: Path) -> None:
    files = [tmp_path / "first", tmp_path / "second"]
    with open_token(token.uri()) as connection:
        with (
            draw_components(connection, 2) as drawn,
            combine_key(drawn) as key,
            write_components(files, drawn),
        ):
            expected = check_value(key)
            import_secret(connection, Use.ENCRYPTION, 1, key)
        (entry,) = list_secrets(connection)
    assert not any(any(octets) for octets in (*drawn, key))
    assert entry.check_value == expected
    compared: list[tuple[str, bytes]] = []
    with read_components(
        [FromFile(file) for file in files], lambda name, one: compared.append((name, check_value(one)))
    ) as read:
        with combine_key(read) as again:
            assert check_value(again) == expected
        assert not any(again)
    assert not any(any(octets) for octets in read)
    assert [name for name, _ in compared] == ["Component 1 of 2", "Component 2 of 2"]


@pytest.mark.parametrize("text", ["0123", "0123 4567 89AB CDEX", "0101 0101 0101 0101"])
def test_a_wrong_component_is_refused_without_its_digits(tmp_path: Path, text: str) -> None:
    file = tmp_path / "component"
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(CeremonyError, match="Component 1 of 1") as refused, read_components([FromFile(file)]):
        pass
    assert text[:4] not in str(refused.value)


def test_files_of_components_are_removed_if_the_ceremony_fails(token: TestToken, tmp_path: Path) -> None:
    with (
        open_token(token.uri()) as connection,
        draw_components(connection, 2) as drawn,
        pytest.raises(RuntimeError),
        write_components([tmp_path / "a", tmp_path / "b"], drawn),
    ):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
