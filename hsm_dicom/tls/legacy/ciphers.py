"""The CBC ciphers of the retired suites, from `cryptography`, with the interface of tlslite-ng's record layer.

tlslite-ng's own ciphers are pure Python and about a hundred times slower.
"""

from __future__ import annotations

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import BlockCipherAlgorithm, Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES


class CBC:
    """The cipher of one direction. The chain continues from record to record, as in TLS 1.0."""

    isBlockCipher = True
    isAEAD = False
    implementation = "cryptography"

    def __init__(self, algorithm: BlockCipherAlgorithm, iv: bytes, name: str) -> None:
        self.name = name
        self.block_size = algorithm.block_size // 8
        cipher = Cipher(algorithm, modes.CBC(iv))
        self._encryptor, self._decryptor = cipher.encryptor(), cipher.decryptor()

    def encrypt(self, data: bytearray) -> bytearray:
        """Encrypt whole blocks."""
        return bytearray(self._encryptor.update(bytes(data)))

    def decrypt(self, data: bytearray) -> bytearray:
        """Decrypt whole blocks."""
        return bytearray(self._decryptor.update(bytes(data)))


def aes(key: bytearray, iv: bytearray, implementations: object = None) -> CBC:
    """Make an AES cipher with 16 or 32 bytes of key."""
    return CBC(AES(bytes(key)), bytes(iv), f"aes{len(key) * 8}")


def triple_des(key: bytearray, iv: bytearray, implementations: object = None) -> CBC:
    """Make a 3DES cipher with 24 bytes of key."""
    return CBC(TripleDES(bytes(key)), bytes(iv), "3des")


def single_des(key: bytearray, iv: bytearray, implementations: object = None) -> CBC:
    """Make a DES cipher with 8 bytes of key, as 3DES with the key three times, since OpenSSL 3 has no DES."""
    return CBC(TripleDES(bytes(key) * 3), bytes(iv), "des")
