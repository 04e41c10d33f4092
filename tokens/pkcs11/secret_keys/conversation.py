"""One authentication with secret keys of a token: INTERNAL and EXTERNAL AUTHENTICATE (ISO/IEC 7816-4)."""

from __future__ import annotations

import hmac

from tokens.errors import AuthenticationFailedError
from tokens.pkcs11.secret_keys.known_keys import KnownKeys
from tokens.pkcs11.secret_keys.objects import SecretInfo
from tokens.pkcs11.sessions import Worker
from tokens.secrets import BLOCK


class Pkcs11Conversation:
    """One authentication. Satisfies `tokens.secrets.DeviceConversation`."""

    def __init__(self, secrets: KnownKeys, answering: SecretInfo, verifying: SecretInfo, by_decryption: bool) -> None:
        self._secrets = secrets
        self._answering = answering
        self._verifying = verifying
        self._by_decryption = by_decryption
        self._challenge = b""

    def internal_authenticate(self, challenge: bytes) -> bytes:
        """Answer a challenge: C_Encrypt of one block, by decryption C_Decrypt."""
        secrets, secret = self._secrets, self._answering
        with secrets.report_use(secret, "internal authenticate", secret.form.ecb):
            return secrets.block(secret, challenge, "answer a challenge", decrypting=self._by_decryption)

    def get_challenge(self) -> bytes:
        """Return a new challenge (C_GenerateRandom)."""

        def job(worker: Worker) -> bytes:
            return self._secrets.connection.module.queries.random(worker.session, BLOCK)

        self._challenge = self._secrets.whole(self._secrets.run(job, "draw a challenge"), BLOCK)
        return self._challenge

    def external_authenticate(self, response: bytes) -> None:
        """Verify a response: C_Decrypt of one block, by decryption C_Encrypt, and a comparison in constant time."""
        secrets, secret = self._secrets, self._verifying
        with secrets.report_use(secret, "external authenticate", secret.form.ecb):
            answered = secrets.block(secret, response, "verify a response", decrypting=not self._by_decryption)
            if not hmac.compare_digest(answered, self._challenge):
                raise AuthenticationFailedError(
                    f"The other party's response does not match '{secret.label}': it holds another key, or none.",
                    remedy="Compare the check values and key indexes of both sides.",
                )
