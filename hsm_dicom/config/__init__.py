"""The configuration: one TOML file that a security officer writes, and whose every mistake is reported at once.

    [tokens.ct-room]
    module = "/usr/lib/softhsm/libsofthsm2.so"
    label  = "CT room"
    pin    = "file:/etc/hsm-dicom/ct-room.pin"

    [identities.node]
    token       = "ct-room"
    object      = "node"
    certificate = "token"

    from hsm_dicom.config import find_configuration, load_configuration

    configuration = load_configuration(find_configuration())
    with find_token_access(configuration, "ct-room").open() as connection: ...

| module         | one idea                                                            |
|----------------|---------------------------------------------------------------------|
| `sections`     | the tables of the file as frozen models, each field with its meaning |
| `network_sections`, `iscl_section` | those of the network                            |
| `loading`      | where the file is looked for; from text to models                   |
| `opening`      | the configuration in use, with its event file                       |
| `problems`     | what is wrong: file, line, key, sentence, remedy                    |
| `dependents`   | which tables name others, and cannot be judged before those         |
| `lines`        | in which line of the file a key stands                              |
| `permissions`  | who else could write a file that must be ours alone                 |
| `mistakes`     | what each mistake is called, and its remedy                         |
| `devices`      | from the name of a token or a key to an open one                    |
"""

from hsm_dicom.config.devices import TokenAccess, find_token_access
from hsm_dicom.config.loading import (
    ConfigurationError,
    find_configuration,
    load_configuration,
    read_configuration,
)
from hsm_dicom.config.opening import open_configuration
from hsm_dicom.config.problems import Problem, Severity
from hsm_dicom.config.sections import Configuration, EventsSection, IdentitySection, StateSection, TokenSection

__all__ = [
    "Configuration",
    "ConfigurationError",
    "EventsSection",
    "IdentitySection",
    "Problem",
    "Severity",
    "StateSection",
    "TokenAccess",
    "TokenSection",
    "find_configuration",
    "find_token_access",
    "load_configuration",
    "open_configuration",
    "read_configuration",
]
