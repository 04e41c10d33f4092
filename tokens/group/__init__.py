"""One key on several tokens: an ordinary key object that works while one of its tokens does.

    with tokens.open_key_group([uri_on_a, uri_on_b], mode="failover") as key:
        signature = key.sign(b"data", padding.PKCS1v15(), hashes.SHA256())

| module      | contents                                                                        |
|-------------|---------------------------------------------------------------------------------|
| `opening`   | `open_key_group`, by the URIs of the key                                         |
| `key_group` | `KeyGroup`, which repeats an operation on another token                          |
| `pool`      | the order of the members, and the thread that probes those that failed           |
| `member`    | one token of the group, and which errors are about it                            |
| `breaker`   | the state of one member: closed, open, half-open or excluded                     |
| `probe`     | one verified operation with a key                                                |
| `reporting` | the events of failed attempts, of which the group logs one line                  |
| `vendors`   | modules and tokens of makers who combine several devices by themselves           |

The public keys are compared when the tokens are opened. A token that is lost, hangs or is busy is not used until a
probe succeeds; callers do not wait for it while another one works. A token that refuses its PIN is not used until the
key is opened again, and the refused value is not presented to another token (see `tokens.pins.companions`).
"""

from tokens.group.breaker import PROBE_SECONDS, BreakerState, Fault
from tokens.group.key_group import KeyGroup, MemberReport
from tokens.group.member import Member, MemberAccess
from tokens.group.opening import UriMember, find_member_token, open_copies, open_key_group
from tokens.group.pool import MemberPool, Mode

__all__ = [
    "PROBE_SECONDS",
    "BreakerState",
    "Fault",
    "KeyGroup",
    "Member",
    "MemberAccess",
    "MemberPool",
    "MemberReport",
    "Mode",
    "UriMember",
    "find_member_token",
    "open_copies",
    "open_key_group",
]
