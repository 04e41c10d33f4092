"""Following the messages of a relayed association, for events and counts. No octet is changed, and none is kept.

| module      | contents                                                                                 |
|-------------|------------------------------------------------------------------------------------------|
| `inspector` | `Inspector`: the tap of one association                                                  |
| `messages`  | the messages of one presentation context in one direction, from their fragments          |
| `commands`  | what is read of a command set                                                            |
| `study`     | the study of a Data Set, from its first elements                                         |
| `scanner`   | finds a few elements of encoded octets that arrive in pieces, and skips all other values |
| `exchanges` | requests matched with their responses, and what is reported of them                      |
| `outcomes`  | the outcomes of instances, by which a route counts them                                  |

Of a command set, only numbers and UIDs are read; of a Data Set, only the Study Instance UID. Values of other elements
are skipped by their length, whatever they are, so that no data of a patient can reach an event, the log or memory that
outlives a call. What a peer sends raises nothing: a message that cannot be followed is counted as such.

One association uses 1 MiB for this at the most, whatever its peers send, and a few kilobytes as a rule:
`exchanges.MOST_OUTSTANDING`, `scanner.MOST_ELEMENTS`, `scanner.MOST_LEVELS` and `study.MOST_INFLATING` are the bounds.
"""

from hsm_dicom.gateway.inspect.inspector import Inspector
from hsm_dicom.gateway.inspect.outcomes import Outcome

__all__ = ["Inspector", "Outcome"]
