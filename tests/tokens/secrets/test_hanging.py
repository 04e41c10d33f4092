"""A session key on a token that hangs holds up neither its other users nor the one who closes it."""

import pytest

from tests.softhsm import TestToken
from tests.tokens import scenes
from tests.tokens.proxy import Proxy
from tokens import open_token
from tokens.pkcs11.secret_keys.ceremony import import_secret
from tokens.secrets import Use

pytestmark = pytest.mark.usefixtures("bounded")


def test_everybody_leaves_a_session_key_whose_use_hangs(token: TestToken, proxy: Proxy) -> None:
    with open_token(token.uri()) as connection:
        import_secret(connection, Use.ENCRYPTION, 1, bytearray.fromhex("0123456789abcdef"))
    code = """
    import time
    from pathlib import Path
    from tokens.deadlines import CallDeadlines
    from tokens.errors import ModuleFencedError, TokenTimeoutError
    rules = Path(os.environ["PROXY_RULES"])
    secrets = tokens.open_secrets(uris[0], deadlines=CallDeadlines(sign=0.3))
    key = secrets.session_key(1, bytes(8))
    wanted = key.encrypt(bytes(8), bytes(8))
    rules.write_text("C_Encrypt hang=1 times=1\\n")
    users = [threading.Thread(target=said, args=[lambda: key.encrypt(bytes(8), bytes(8))]) for _ in range(3)]
    for user in users:
        user.start()
    for user in users:
        user.join()
    key.close()
    rules.write_text("")
    while True:
        try:
            with secrets.session_key(1, bytes(8)) as key:
                print(key.encrypt(bytes(8), bytes(8)) == wanted)
            break
        except (TokenTimeoutError, ModuleFencedError):
            time.sleep(0.005)  # the call has not returned yet
    """
    printed = scenes.play(code, proxy.serving(token.uri()), environment=proxy.environment())
    assert set(printed[:3]) <= {"TokenTimeoutError", "ModuleFencedError"}
    assert printed[3:] == ["True"]
