"""A context for ISCL connections, in the shape of `ssl.SSLContext`.

    with tokens.open_secrets("pkcs11:token=CT%20room?module-path=/usr/lib/softhsm/libsofthsm2.so") as secrets:
        context = ISCLContext(ISCLSettings(authentication_data=b"CT1"), secrets)
        with socket.create_connection(("pacs.example", 2761)) as plain, context.wrap_socket(
            plain, server_hostname="pacs.example"
        ) as connection:
            connection.sendall(pdu)
            answer = connection.recv(65536)

PS3.15-2008 B.2 recommends port 2761 ("dicom-iscl"). ISCL may run inside TLS, and should: wrap the socket for TLS first.
"""

from __future__ import annotations

import hmac
import socket

from hsm_dicom.iscl.errors import ISCLSettingsError
from hsm_dicom.iscl.hooks import ISCLHooks
from hsm_dicom.iscl.protocol.session import Session
from hsm_dicom.iscl.settings import ISCLSettings
from hsm_dicom.iscl.sockets import ISCLSocket
from hsm_dicom.iscl.wire.profile import Role
from tokens.secrets import Secrets, Use

PORT = 2761
"""The port of "dicom-iscl"."""


class ISCLContext:
    """Settings and secret keys for any number of connections; safe to share between threads.

    `secrets` has the encryption keys. `authentication` has the authentication keys if they are on another device, such
    as a smart card; if it is None, `secrets` has them too. Raises `ISCLSettingsError` for an authentication key that is
    also an encryption key, which the devices find out by check values, and the errors of `tokens.errors`.
    """

    def __init__(
        self,
        settings: ISCLSettings,
        secrets: Secrets,
        *,
        authentication: Secrets | None = None,
        hooks: ISCLHooks | None = None,
    ) -> None:
        self.settings = settings
        self.secrets = secrets
        self.authentication = authentication or secrets
        self.hooks = hooks or ISCLHooks()
        self._refuse_equal_keys()

    def wrap_socket(
        self,
        sock: socket.socket,
        server_side: bool = False,
        do_handshake_on_connect: bool = True,
        suppress_ragged_eofs: bool = False,
        server_hostname: str | None = None,
    ) -> ISCLSocket:
        """Make an ISCL connection over a socket; if the socket is connected, do the handshake.

        The parameters are those of `ssl.SSLContext.wrap_socket`. `server_hostname` only names the peer in messages:
        ISCL proves that the peer has the key, nothing about its name. A connection that ends without the disconnection
        protocol is always an error, whatever `suppress_ragged_eofs` says. When this raises, the socket is closed.
        """
        address = _address_of(sock)
        line = ISCLSocket(sock, self.session(server_side, server_hostname or format_peer(address)))
        if do_handshake_on_connect and address is not None:
            try:
                line.do_handshake()
            except BaseException:
                line.abort()
                raise
        return line

    def session(self, server_side: bool, peer: str) -> Session:
        """Make one end of a new connection, for other transports than a blocking socket."""
        return Session(
            Role.SERVER if server_side else Role.CLIENT,
            self.settings,
            self.secrets,
            authentication=self.authentication,
            hooks=self.hooks,
            peer=peer,
        )

    def _refuse_equal_keys(self) -> None:
        """Refuse equal keys: a challenge could be a recorded random number, and its response the session key."""
        for encryption in self.settings.encryption_keys:
            value = self.secrets.check_value(Use.ENCRYPTION, encryption)
            for index in self.settings.authentication_keys:
                if hmac.compare_digest(value, self.authentication.check_value(Use.AUTHENTICATION, index)):
                    raise ISCLSettingsError(
                        f"Encryption key {encryption} has the check value of authentication key {index}: they are "
                        "the same key, and a peer could obtain session keys. Import different keys."
                    )


def format_peer(address: object) -> str:
    """Format a peer's address for messages."""
    if isinstance(address, tuple) and len(address) >= 2:
        return f"{address[0]}:{address[1]}"
    return "the peer"


def _address_of(sock: socket.socket) -> object:
    """Return the peer's address; None if the socket is not connected."""
    try:
        return sock.getpeername()
    except OSError:
        return None
