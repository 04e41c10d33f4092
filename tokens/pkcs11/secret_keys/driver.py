"""The PKCS#11 driver of secret keys: DES keys that encrypt, decrypt and derive inside their token.

| ISO/IEC 7816-4         | PKCS#11                                                                                 |
|------------------------|-----------------------------------------------------------------------------------------|
| GET CHALLENGE          | C_GenerateRandom, 8 bytes                                                               |
| INTERNAL AUTHENTICATE  | C_Encrypt of one block, ECB                                                             |
| EXTERNAL AUTHENTICATE  | C_Decrypt of the response, ECB; this process compares the result with the challenge     |
| MAC                    | C_Sign with CKM_DES(3)_MAC_GENERAL where the token has it, else CBC and its last block  |
| session key            | C_DeriveKey with CKM_DES(3)_ECB_ENCRYPT_DATA                                            |

By decryption, C_Encrypt and C_Decrypt change places. A session key by decryption cannot be derived: C_DeriveKey only
encrypts. C_UnwrapKey would decrypt, but these keys may not unwrap: anyone who may use such a key could unwrap a
readable copy of a session key from recorded traffic.

`objects` describes the key objects. The prefix of their labels is the `object` of the URI.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from pkcs11 import Attribute

from tokens.errors import MechanismNotOfferedError
from tokens.pkcs11.secret_keys.conversation import Pkcs11Conversation
from tokens.pkcs11.secret_keys.data_keys import Pkcs11DataKey, Pkcs11SessionKey
from tokens.pkcs11.secret_keys.known_keys import KnownKeys
from tokens.pkcs11.sessions import Worker
from tokens.secrets import BLOCK, Use


class Pkcs11Secrets(KnownKeys):
    """The secret keys with one prefix on one token. Satisfies `tokens.secrets.DeviceSecrets`."""

    @contextlib.contextmanager
    def conversation(
        self, index: int, peer_index: int, wait: float, deadline: float, *, by_decryption: bool = False
    ) -> Iterator[Pkcs11Conversation]:
        """Begin an authentication. Reserves nothing, since a token serves any number of them at once."""
        answering = self.secret(Use.AUTHENTICATION, index)
        verifying = self.secret(Use.AUTHENTICATION, peer_index)
        yield Pkcs11Conversation(self, answering, verifying, by_decryption)

    def data_key(self, index: int) -> Pkcs11DataKey:
        """Return a fixed key."""
        return Pkcs11DataKey(self, self.secret(Use.ENCRYPTION, index))

    def session_key(self, index: int, random: bytes, *, by_decryption: bool = False) -> Pkcs11SessionKey:
        """Return a key derived on the token, which ends with its session."""
        secret = self.secret(Use.ENCRYPTION, index)
        if by_decryption:
            raise MechanismNotOfferedError("PKCS#11 derives keys by encryption only (CKM_DES_ECB_ENCRYPT_DATA).")
        return Pkcs11SessionKey(self, secret, random)

    def session_key_to_host(self, index: int, random: bytes, *, by_decryption: bool = False) -> bytes:
        """Return one block of C_Encrypt, or C_Decrypt, which becomes a session key in this process."""
        secret = self.secret(Use.ENCRYPTION, index)
        operation = "derive a session key to the host"
        with self.report_use(secret, operation, secret.form.ecb):
            return self.block(secret, random, operation, decrypting=by_decryption)

    def check_value(self, use: Use, index: int) -> bytes:
        """Return the beginning of an encrypted block of zeros, or CKA_CHECK_VALUE of a key that only verifies."""
        secret = self.secret(use, index)
        if secret.encrypts:
            with self.report_use(secret, "compute a check value", secret.form.ecb):
                return self.block(secret, bytes(BLOCK), "compute a check value", decrypting=False)[:3]

        def job(worker: Worker) -> bytes:
            return self.key(worker, secret.label).read(Attribute.CHECK_VALUE)

        value = self.run(job, f"report the check value of '{secret.label}'")
        if len(value) != 3:
            raise MechanismNotOfferedError(
                f"The token reports no check value of '{secret.label}', which may not encrypt."
            )
        return value
