"""NSS softokn (libnss3): a second module, not written here, that needs an init string.

It is loaded in a process of its own: NSS keeps one database for each process.
"""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.interop.modules.devices import nss


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with two keys, `rsa` and `ec`; the file `descriptions` holds what was printed when they were made."""
    folder = tmp_path_factory.mktemp("nss")
    nss.new_database(folder)
    printed = run(
        folder,
        """
        with tokens.open_token(uri(), **WHERE) as connection:
            print(connection.module.description)
            for label, kind in (("rsa", KeyKind.RSA_2048), ("ec", KeyKind.P_256)):
                print(generate_key(connection, label, kind, Usage.SIGN).attributes.extractable)
        """,
    )
    (folder / "descriptions").write_text(printed)
    return folder


def run(database: Path, code: str, **environment: str) -> str:
    prelude = f"""
    import os
    import tokens
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, padding
    from tokens.pkcs11.ceremony import KeyKind, Usage, generate_key
    from tokens.uri import Pkcs11Uri

    WHERE = dict(module={str(nss.SOFTOKN)!r}, init_string={nss.init_string(database)!r}, pin="file:{database}/pin")
    def uri(object=None): return Pkcs11Uri(token={nss.TOKEN!r}, object=object)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(prelude) + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "HSM_DICOM_STATE": str(database / "state"), **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_keys_are_made_and_used_in_softokn(database: Path) -> None:
    printed = run(
        database,
        """
        with tokens.open_key(uri("rsa"), **WHERE) as key:
            pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
            for scheme in (padding.PKCS1v15(), pss):
                key.public_key().verify(key.sign(b"data", scheme, hashes.SHA256()), b"data", scheme, hashes.SHA256())
        with tokens.open_key(uri("ec"), **WHERE) as key:
            ecdsa = ec.ECDSA(hashes.SHA256())
            key.public_key().verify(key.sign(b"data", ecdsa), b"data", ecdsa)
        print("signed")
        """,
    )
    module, *extractable = (database / "descriptions").read_text().splitlines()
    assert "NSS" in module
    assert extractable == ["False", "False"]
    assert printed.split() == ["signed"]


def test_certutil_sees_the_key_that_was_made(database: Path) -> None:
    listed = subprocess.run(
        ["certutil", "-K", "-d", f"sql:{database}", "-f", database / "pin"], capture_output=True, text=True
    )
    assert "rsa" in listed.stdout


def test_8_threads_sign_in_softokn(database: Path) -> None:
    printed = run(
        database,
        """
        from concurrent.futures import ThreadPoolExecutor
        with tokens.open_key(uri("ec"), **WHERE) as key, ThreadPoolExecutor(8) as pool:
            ecdsa = ec.ECDSA(hashes.SHA256())
            def sign(n):
                data = str(n).encode()
                key.public_key().verify(key.sign(data, ecdsa), data, ecdsa)
                return 1
            print(sum(pool.map(sign, range(40))))
        """,
    )
    assert printed.strip() == "40"


def test_without_its_init_string_the_error_gives_the_remedy(database: Path) -> None:
    printed = run(
        database,
        """
        from tokens.errors import ModuleError, NoSuchKeyError
        try:
            tokens.open_key(uri("rsa"), module=WHERE["module"], pin=WHERE["pin"])
        except (ModuleError, NoSuchKeyError) as error:  # NSS 3.110 starts without a database
            print(error)
        """,
    )
    assert "an init string with the folder of its database" in printed
    assert "give it as init_string" in printed


def test_a_second_init_string_for_a_loaded_module_is_refused(database: Path) -> None:
    printed = run(
        database,
        """
        from tokens.errors import ModuleError
        with tokens.open_key(uri("rsa"), **WHERE):
            try:
                tokens.open_key(uri("rsa"), **{**WHERE, "init_string": "configDir='elsewhere'"})
            except ModuleError as error:
                print(error)
        """,
    )
    assert "another init string" in printed


def test_a_wrong_pin_is_refused_by_softokn_and_not_presented_again(database: Path) -> None:
    printed = run(
        database,
        """
        from tokens.errors import PinError
        for _ in range(2):
            try:
                tokens.open_key(uri("rsa"), **{**WHERE, "pin": "env:WRONG"})
            except PinError as error:
                print(type(error).__name__)
        """,
        WRONG="not it",
    )
    assert printed.split() == ["PinRefusedError", "PinNotPresentedError"]


def test_a_forked_child_logs_in_for_itself_and_the_parent_stays_logged_in(database: Path) -> None:
    printed = run(
        database,
        """
        def sign(key):
            ecdsa = ec.ECDSA(hashes.SHA256())
            key.public_key().verify(key.sign(b"data", ecdsa), b"data", ecdsa)
        with tokens.open_key(uri("ec"), **WHERE) as key:
            sign(key)
            anchor = key.device._connection._anchor
            for _ in range(2):
                if os.fork() == 0:
                    sign(key)
                    print("child", flush=True)
                    os._exit(0)
                os.wait()
                sign(key)
                print("parent", key.device._connection._anchor is anchor, flush=True)
        """,
    )
    assert printed.split() == ["child", "parent", "True"] * 2


def test_a_pin_that_is_not_changed_without_a_login_is_not_recorded_as_refused(database: Path) -> None:
    """NSS answers C_SetPIN with CKR_USER_NOT_LOGGED_IN then, whatever the PIN is."""
    printed = run(
        database,
        """
        from tokens.errors import OperationFailedError
        from tokens.pins.sources import parse_pin_source
        from tokens.pins.refusals import RefusalMemory
        from tokens.pkcs11.officer import change_pin
        with tokens.open_token(uri(), **WHERE) as connection:
            module, token = connection.module, connection.token
            pin = parse_pin_source(WHERE["pin"])
            try:
                change_pin(module, token, pin, pin)
            except OperationFailedError as error:
                print(error)
            print(RefusalMemory().refusals(token.serial))
        """,
    )
    text, refusals = printed.splitlines()
    assert "changes no PIN without a login (CKR_USER_NOT_LOGGED_IN)" in text
    assert refusals == "[]"


def test_a_token_without_a_security_officer_says_so(database: Path) -> None:
    printed = run(
        database,
        """
        from tokens.errors import OperationFailedError
        from tokens.pins.sources import parse_pin_source
        from tokens.pkcs11.officer import set_user_pin
        with tokens.open_token(uri(), **WHERE) as connection:
            module, token = connection.module, connection.token
        pin = parse_pin_source(WHERE["pin"])
        try:
            set_user_pin(module, token, pin, pin)
        except OperationFailedError as error:
            print(error)
        """,
    )
    assert "has no security officer (CKR_USER_TYPE_INVALID)" in printed
    assert "such as certutil for NSS" in printed
