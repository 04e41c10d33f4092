"""ISCL, the Integrated Secure Communication Layer V1.00 (MEDIS-DC): PS3.15 Annex B.2, retired from DICOM in 2018.

Mutual authentication, integrity and confidentiality with DES keys that stay on their device. The standard's text is not
public: what is reconstructed is collected in `WireProfile`, and interoperability with other products is unverified.

| module           | what it is                                                              |
|------------------|-------------------------------------------------------------------------|
| `context`        | `ISCLContext.wrap_socket`: start here                                   |
| `sockets`, `aio` | the transports: a blocking socket, an asyncio stream                    |
| `session`        | one end with its keys, without sockets; `sending` and `receiving` for a |
|                  | message, `units` for what becomes one                                   |
| `authentication` | the three passes; `agreement` for what a transfer must be like          |
| `suite`          | MAC, encryption, the chain of initialisation vectors; `codes`, `blocks` |
| `connection`     | the state machine, without keys                                         |
| `states`         | its rules, as one table; `mistakes` for what can be wrong in turn,      |
|                  | `refusals` for how it says no                                           |
| `wire`           | octets to messages and back                                             |
| `messages`       | the messages and their numbers                                          |
| `profile`        | everything that is reconstructed; `wire_table` reads it from a table    |
| `settings`       | what an officer configures; `hooks` for what a program may hear;        |
|                  | `entity` for what an end calls itself                                   |
| `recording`      | an exchange in a file; `trace` explains it message by message           |
"""

from hsm_dicom.iscl.context import PORT, ISCLContext
from hsm_dicom.iscl.errors import (
    AuthenticationError,
    ConnectionLostError,
    DeviceFailedError,
    ErrorCode,
    IntegrityError,
    ISCLError,
    ISCLSettingsError,
    LocalProtocolError,
    RemoteProtocolError,
    StepTimeoutError,
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
    "ConnectionLostError",
    "DeviceFailedError",
    "Encryption",
    "ErrorCode",
    "ISCLContext",
    "ISCLError",
    "ISCLHooks",
    "ISCLSettings",
    "ISCLSettingsError",
    "ISCLSocket",
    "IntegrityError",
    "IsclFailed",
    "IsclReady",
    "LocalProtocolError",
    "Mac",
    "RemoteProtocolError",
    "Role",
    "State",
    "StepTimeoutError",
    "Weakness",
    "WireProfile",
]
