"""ISCL, the Integrated Secure Communication Layer V1.00 (MEDIS-DC): PS3.15 Annex B.2, retired from DICOM in 2018.

Mutual authentication, integrity and confidentiality with DES keys that stay on their device. The standard's text is not
public: everything that is reconstructed is a field of `WireProfile`, and interoperability with other products is
unverified.

| module      | holds                                                                                    |
|-------------|------------------------------------------------------------------------------------------|
| context     | `ISCLContext.wrap_socket`: start here                                                    |
| settings    | `ISCLSettings`: keys, algorithms and exceptions of one end                               |
| sockets     | `ISCLSocket`: a connection over a blocking socket                                        |
| aio         | a connection as an asyncio stream                                                        |
| hooks       | functions that a program may have called during a connection                             |
| entity      | the name in the authentication data of an end                                            |
| errors      | `ISCLError` and its subclasses, with error codes                                         |
| protocol/   | the state machine without I/O, and the session that adds keys to it                      |
| suite/      | MAC, encryption, initialisation vectors                                                  |
| wire/       | messages to octets and back; the wire profile                                            |
| tracing/    | recording an exchange in a file, and explaining it message by message                    |
"""

from hsm_dicom.iscl.context import PORT, ISCLContext
from hsm_dicom.iscl.errors import (
    AuthenticationError,
    ErrorCode,
    ISCLError,
    ISCLSettingsError,
)
from hsm_dicom.iscl.hooks import IsclFailed, ISCLHooks, IsclReady
from hsm_dicom.iscl.protocol.states import State
from hsm_dicom.iscl.settings import ISCLSettings, Weakness
from hsm_dicom.iscl.sockets import ISCLSocket
from hsm_dicom.iscl.wire.messages import Encryption, Mac
from hsm_dicom.iscl.wire.profile import Role, WireProfile

__all__ = [
    "PORT",
    "AuthenticationError",
    "Encryption",
    "ErrorCode",
    "ISCLContext",
    "ISCLError",
    "ISCLHooks",
    "ISCLSettings",
    "ISCLSettingsError",
    "ISCLSocket",
    "IsclFailed",
    "IsclReady",
    "Mac",
    "Role",
    "State",
    "Weakness",
    "WireProfile",
]
