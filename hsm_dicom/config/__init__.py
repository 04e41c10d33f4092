"""The configuration: one TOML file, as frozen models, with all its mistakes reported at once.

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
| `policy_sections` | policies: what is asked of the signatures of objects                |
| `gateway_sections`, `addresses` | those of the gateway, and addresses to listen on |
| `holding_section` | keys of a route that judges or signs objects                        |
| `loading`      | finding the file; from its text to models                           |
| `opening`      | the configuration in use, with its event file                       |
| `problems`     | a problem: file, line, key, text, remedy                            |
| `dependents`   | references between tables                                           |
| `lines`        | line numbers of keys                                                |
| `permissions`  | owner and mode of files that no other user may write                |
| `mistakes`     | a sentence and a remedy for each mistake                            |
| `toml_text`    | parsing TOML, with the line and the remedy of a mistake             |
| `base`         | base of all tables                                                  |
| `devices`      | access to tokens and cards by name or URI                           |
| `editing`      | changing one key or table of the file                               |
| `groups`       | access to a key on several tokens                                   |
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
