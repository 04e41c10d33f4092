"""What a host program may do to the token layer: fork at any time, load modules by itself, listen key in hand."""

import dataclasses
import datetime
import gc
import os
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding
from pkcs11 import Attribute, KeyType, ObjectClass

from tests.softhsm import MODULE, TestToken, set_pin
from tests.tokens import scenes
from tests.tokens.proxy import Proxy
from tokens import open_key, open_token
from tokens.csr import certificate_request
from tokens.errors import NoSuchKey, NoSuchToken
from tokens.events import DeviceEvent, KeyUse, Login, subscribed
from tokens.keys import TokenRSAPrivateKey
from tokens.pin import FromEnvironment
from tokens.pkcs11.ceremony import Usage, delete_key, import_certificates, initialise_token
from tokens.pkcs11.module import load_module
from tokens.pkcs11.objects import certificates, find_private_key
from tokens.pkcs11.search import present_tokens

pytestmark = pytest.mark.usefixtures("bounded")

PKCS1 = padding.PKCS1v15()
P256_PARAMETERS = bytes.fromhex("06082a8648ce3d030107")


def sign(key: TokenRSAPrivateKey) -> None:
    key.public_key().verify(key.sign(b"data", PKCS1, hashes.SHA256()), b"data", PKCS1, hashes.SHA256())


# -- forks and endings ------------------------------------------------------------------------------------------

FORK_WHILE_THREADS_SIGN = """
import signal, time
from tokens.errors import OperationFailed
enough = threading.Event()
def keep_signing():
    while not enough.is_set():
        sign(key)
key = tokens.open_key(uris[0])
sign(key)
threads = [threading.Thread(target=keep_signing, daemon=True) for _ in range(8)]
for thread in threads:
    thread.start()
for _ in range(2):
    time.sleep(0.05)
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        for _ in range(3):
            try:
                sign(key)
                os._exit(0)
            except OperationFailed as error:
                # SoftHSM may answer a login so (CKR_GENERAL_ERROR) while another process rewrites the token's file.
                print(error, file=sys.stderr)
        os._exit(1)
    assert time.monotonic() - started < 4, "the fork waited for a gate that never came free"
    assert os.waitpid(child, 0)[1] == 0
enough.set()
for thread in threads:
    thread.join(10)
print(sum(thread.is_alive() for thread in threads), "threads hang")
"""


def test_a_process_with_8_busy_threads_forks_and_its_children_sign(node: TestToken) -> None:
    assert scenes.play(FORK_WHILE_THREADS_SIGN, node.uri("rsa")) == ["0 threads hang"]


def test_so_it_is_with_a_key_that_wants_its_pin_each_time(token: TestToken, proxy: Proxy) -> None:
    uri = proxy.serving(token.generate("careful", "p256", always_authenticate=True))
    environment = proxy.environment(sign_takes=0.02)
    assert scenes.play(FORK_WHILE_THREADS_SIGN, uri, environment=environment) == ["0 threads hang"]


def test_threads_that_fork_at_the_same_time_do_not_lock_each_other_out(node: TestToken) -> None:
    code = """
    key = tokens.open_key(uris[0])
    def keep_forking():
        for _ in range(25):
            child = os.fork()
            if child == 0:
                os._exit(0)
            os.waitpid(child, 0)
    threads = [threading.Thread(target=keep_forking, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    sign(key)
    print(sum(thread.is_alive() for thread in threads), "threads hang")
    """
    assert scenes.play(code, node.uri("rsa")) == ["0 threads hang"]


def test_a_key_is_closed_by_an_exit_handler_that_was_there_before_it(node: TestToken) -> None:
    code = """
    import atexit
    keys = []
    @atexit.register
    def leave():
        said(lambda: sign(keys[0]))
        keys[0].close()
        print("closed", flush=True)
    keys.append(tokens.open_key(uris[0]))
    sign(keys[0])
    """
    assert scenes.play(code, node.uri("rsa")) == ["TokenLost", "closed"]


# -- modules in other hands ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("plain_first", "together"), [("yes", "one"), ("no", "several")])
def test_a_module_that_other_code_initialised_gets_one_call_at_a_time(
    node: TestToken, proxy: Proxy, plain_first: str, together: str
) -> None:
    code = """
    import ctypes, pkcs11
    if uris[1] == "yes":
        plain = pkcs11.lib(uris[2])
    key = tokens.open_key(uris[0])
    def sign_often():
        for _ in range(20):
            sign(key)
    threads = [threading.Thread(target=sign_often) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    most = ctypes.CDLL(uris[2]).most_signing_at_once()
    print("one" if most == 1 else "several")
    """
    uri = proxy.serving(node.uri("rsa"))
    environment = proxy.environment(sign_takes=0.002)
    assert scenes.play(code, uri, plain_first, proxy.module, environment=environment) == [together]


def test_one_module_under_two_names_has_one_owner(node: TestToken, proxy: Proxy) -> None:
    other_name = proxy.module.with_name("linked.so")
    if not other_name.exists():
        other_name.hardlink_to(proxy.module)
    code = """
    one, other = tokens.open_key(uris[0]), tokens.open_key(uris[1])
    module = one.device._connection.module
    module.initialise_again(module.epoch)
    sign(one)
    sign(other)
    print(module is other.device._connection.module)
    """
    linked = dataclasses.replace(node.uri("ec256"), module_path=other_name)
    assert scenes.play(code, proxy.serving(node.uri("rsa")), linked) == ["True"]


def test_no_signature_of_another_key_is_given_after_the_module_was_initialised_behind_our_back(
    token: TestToken, proxy: Proxy
) -> None:
    # A copy is a module of its own to us, and the same SoftHSM below: its handles take the numbers of ours.
    copy = proxy.module.with_name("copy.so")
    shutil.copy(proxy.module, copy)
    code = """
    ours = tokens.open_key(uris[0], sessions=1)
    signed = ours.sign(b"before", padding.PKCS1v15(), hashes.SHA256())
    cryptoki = ours.device._connection.module.cryptoki
    cryptoki.finalize()
    cryptoki.initialize(None)
    theirs = tokens.open_key(uris[1], sessions=1)
    sign(theirs)
    handles = [key.device._connection._idle[0].session.handle for key in (ours, theirs)]
    print(handles[0] == handles[1])
    for _ in range(3):
        said(lambda: sign(ours))
        said(lambda: sign(theirs))
    """
    theirs = dataclasses.replace(token.generate("theirs"), module_path=copy)
    ours = proxy.serving(token.generate("ours"))
    assert scenes.play(code, ours, theirs) == ["True"] + ["done"] * 6


def test_a_token_is_opened_after_other_code_has_finalised_the_module(node: TestToken) -> None:
    code = """
    first = tokens.open_key(uris[0])
    first.device._connection.module.cryptoki.finalize()
    with tokens.open_key(uris[1]) as second:
        sign(second)
    sign(first)
    """
    assert scenes.play(code, node.uri("rsa"), node.uri("ec256")) == []


# -- objects on the token -------------------------------------------------------------------------------------------


@pytest.fixture
def two_with_one_id(token: TestToken) -> TestToken:
    """RSA keys `a` and `b` that share CKA_ID, as tools leave them that do not choose one."""
    with open_token(token.uri()) as connection, connection.writable() as session:
        for label in ("a", "b"):
            hidden = {Attribute.TOKEN: True, Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False}
            session.generate_keypair(
                KeyType.RSA,
                2048,
                id=b"\1",
                label=label,
                private_template=hidden,
                public_template={Attribute.TOKEN: True},
            )
    return token


def test_of_two_keys_with_one_id_each_has_its_own_public_half(two_with_one_id: TestToken) -> None:
    with open_key(two_with_one_id.uri("a")) as a, open_key(two_with_one_id.uri("b")) as b:
        assert a.public_key() != b.public_key()
        sign(a)
        sign(b)
        assert certificate_request(b, "CN=b", Usage.SIGN).public_key() == b.public_key()


def test_deleting_one_of_them_leaves_the_other_whole(two_with_one_id: TestToken) -> None:
    with open_token(two_with_one_id.uri()) as connection:
        delete_key(connection, two_with_one_id.uri("b"))
        with connection.writable() as session:
            left = sorted((int(found[Attribute.CLASS]), found[Attribute.LABEL]) for found in session.get_objects({}))
    assert left == [(ObjectClass.PUBLIC_KEY, "a"), (ObjectClass.PRIVATE_KEY, "a")]
    with open_key(two_with_one_id.uri("a")) as a:
        sign(a)


def ec_key_whose_x_begins_with(first: int) -> ec.EllipticCurvePrivateKey:
    numbers = (ec.derive_private_key(secret, ec.SECP256R1()) for secret in range(1, 5000))
    return next(key for key in numbers if key.public_key().public_numbers().x >> 248 == first)


@pytest.mark.parametrize("first", [0x3F, 0x41])
def test_a_point_that_the_token_did_not_wrap_is_read_whatever_it_begins_with(token: TestToken, first: int) -> None:
    # 04 3F would be an OCTET STRING of 63 bytes, were it not an uncompressed point.
    key = ec_key_whose_x_begins_with(first)
    point = key.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    store_ec_key(token, key, point)
    with open_key(token.uri("raw")) as opened:
        assert opened.public_key() == key.public_key()
        opened.sign(b"data", ec.ECDSA(hashes.SHA256()))


def test_a_point_that_is_none_is_said_to_be_missing(token: TestToken) -> None:
    store_ec_key(token, ec_key_whose_x_begins_with(0x3F), b"\x04\x41\x04" + b"\1" * 64)
    with pytest.raises(NoSuchKey, match="public half of key 'raw' is nowhere"):
        open_key(token.uri("raw"))


def store_ec_key(token: TestToken, key: ec.EllipticCurvePrivateKey, point: bytes) -> None:
    common = {
        Attribute.KEY_TYPE: KeyType.EC,
        Attribute.TOKEN: True,
        Attribute.LABEL: "raw",
        Attribute.ID: b"raw",
        Attribute.EC_PARAMS: P256_PARAMETERS,
    }
    private = {
        Attribute.CLASS: ObjectClass.PRIVATE_KEY,
        Attribute.PRIVATE: True,
        Attribute.SENSITIVE: True,
        Attribute.EXTRACTABLE: False,
        Attribute.SIGN: True,
        Attribute.VALUE: key.private_numbers().private_value.to_bytes(32, "big"),
    }
    with open_token(token.uri()) as connection, connection.writable() as session:
        session.create_object({**common, **private})
        session.create_object({**common, Attribute.CLASS: ObjectClass.PUBLIC_KEY, Attribute.EC_POINT: point})


def test_a_certificate_that_lies_on_the_token_without_an_id_is_stored_with_the_keys(
    token: TestToken, self_signed: x509.Certificate
) -> None:
    with open_token(token.uri()) as connection:
        with connection.writable() as session:
            session.create_object(
                {
                    Attribute.CLASS: ObjectClass.CERTIFICATE,
                    Attribute.CERTIFICATE_TYPE: 0,
                    Attribute.TOKEN: True,
                    Attribute.LABEL: "astray",
                    Attribute.SUBJECT: self_signed.subject.public_bytes(),
                    Attribute.VALUE: self_signed.public_bytes(serialization.Encoding.DER),
                }
            )
        import_certificates(connection, token.uri("one"), [self_signed])
        with connection.writable() as session:
            key = find_private_key(session, token.uri("one"), "the token")
            assert certificates(session, key) == (self_signed,)


@pytest.fixture
def self_signed(token: TestToken) -> x509.Certificate:
    """A certificate of the key `one` on the token, which it makes."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "one")])
    now = datetime.datetime.now(datetime.UTC)
    with open_key(token.generate("one", "p256")) as key:
        return (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(now)
            .not_valid_after(now + datetime.timedelta(days=1))
            .sign(key, hashes.SHA256())
        )


# -- operations -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", [hashes.SHA1(), hashes.SHA384(), hashes.MD5()], ids=lambda mask: mask.name)
@pytest.mark.parametrize("salt", [0, 32, padding.PSS.MAX_LENGTH], ids=["none", "32", "longest"])
def test_pss_with_another_hash_in_its_mask(node: TestToken, mask: hashes.HashAlgorithm, salt: int) -> None:
    scheme = padding.PSS(padding.MGF1(mask), salt)
    with open_key(node.uri("rsa")) as key:
        signature = key.sign(b"data", scheme, hashes.SHA256())
        key.public_key().verify(signature, b"data", scheme, hashes.SHA256())


def test_a_key_that_was_closed_is_not_kept_by_the_session_that_it_used(token: TestToken) -> None:
    kept, passing = token.generate("kept", "p256"), token.generate("passing", "p256")
    with open_key(kept, sessions=1) as key:
        for _ in range(20):
            open_key(passing).close()
        gc.collect()
        (worker,) = key.device._connection._idle
        assert len(worker.keys) == 1


def test_a_listener_may_use_the_key_that_it_hears_of(token: TestToken) -> None:
    with open_key(token.generate("one"), sessions=1) as key:
        sign(key)
        connection = key.device._connection
        heard: list[DeviceEvent] = []

        def sign_what_was_heard(event: DeviceEvent) -> None:
            heard.append(event)
            if isinstance(event, Login):
                sign(key)

        connection.module.cryptoki.logout(connection._anchor.handle)
        with subscribed(sign_what_was_heard):
            sign(key)
        assert [type(event) for event in heard if not isinstance(event, KeyUse)].count(Login) == 1
        assert [type(event) for event in heard].count(KeyUse) == 2
        assert (len(connection._idle), connection._busy) == (1, 0)
        sign(key)


# -- tokens -----------------------------------------------------------------------------------------------------------


def test_a_uri_that_names_another_library_matches_no_token(node: TestToken) -> None:
    module = load_module(MODULE)
    there = dataclasses.replace(node.uri("rsa"), library_version=module.version)
    with open_key(there) as key:
        sign(key)
    for other in ({"library_version": "99.9"}, {"library_manufacturer": "Nobody"}):
        with pytest.raises(NoSuchToken):
            open_key(dataclasses.replace(node.uri("rsa"), **other))


def test_officers_who_initialise_tokens_at_once_get_one_each(softhsm: Path, state_folder: Path) -> None:
    module = load_module(MODULE)
    so_pin, user_pin = set_pin("12345678"), set_pin("123456")

    def initialise(number: int) -> str:
        made = initialise_token(
            module,
            f"at once {number}",
            FromEnvironment(so_pin.removeprefix("env:")),
            FromEnvironment(user_pin.removeprefix("env:")),
        )
        return made.serial

    with ThreadPoolExecutor(4) as pool:
        serials = list(pool.map(initialise, range(4)))
    assert len(set(serials)) == 4
    there = {found.info.label: found.info.serial for found in present_tokens(module)}
    assert [there[f"at once {number}"] for number in range(4)] == serials


@pytest.fixture
def remote(token: TestToken, tmp_path: Path) -> Iterator[Path]:
    """The socket of a `p11-kit server` for an empty token."""
    socket = tmp_path / "p11-kit.socket"
    label = token.label.replace(" ", "%20")
    server = subprocess.Popen(
        ["p11-kit", "server", "-f", "--provider", MODULE, "-n", socket, f"pkcs11:token={label}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    scenes.until(socket.exists)
    yield socket
    server.kill()
    server.wait()


def test_temporary_keys_serve_threads_through_a_module_that_bears_one_call_at_a_time(
    token: TestToken, remote: Path
) -> None:
    client = next(Path("/usr/lib").glob("*/pkcs11/p11-kit-client.so"))
    code = """
    from tokens.pkcs11.ceremony import KeyKind, generate_temporary_key
    with tokens.open_token(uris[0]) as connection, generate_temporary_key(connection, KeyKind.P_256):
        key = tokens.open_key(uris[1])
        threads = [threading.Thread(target=sign, args=(key,), daemon=True) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        print(sum(thread.is_alive() for thread in threads), "threads hang")
    """
    environment = {**os.environ, "P11_KIT_SERVER_ADDRESS": f"unix:path={remote}"}
    there = dataclasses.replace(token.uri(), module_path=client)
    key = dataclasses.replace(there, object="temporary p256")
    assert scenes.play(code, there, key, environment=environment) == ["0 threads hang"]
