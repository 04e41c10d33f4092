"""The exit statuses of the commands, and what each means for each command. `verify` uses dcmsign's where it has one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

OK = 0
"""The command did what was asked, and all its checks passed."""
FAILED = 1
"""The command could not do what was asked, or not for every file."""
USAGE = 2
"""The command line itself is wrong, for example the name of a PIN source."""
NEEDS_ATTENTION = 3
"""Something ends within the warning period, has ended, or is away."""
REFUSED = 77
"""A PIN was refused, is locked, or was not presented: another attempt could lock the token, or needs a person.

The number is EX_NOPERM of sysexits.h. A service manager must not restart on it: `RestartPreventExitStatus=77` in a
systemd unit. A PIN that could not be read from its source is FAILED: nothing was presented, and a later attempt may
succeed.
"""
INTERRUPTED = 130
"""Ctrl-C ended the command: 128 and the number of SIGINT, as shells report it."""
NO_SIGNATURE = 100
"""A file has no signature."""
BAD_SIGNATURE = 101
"""A signature is invalid or indeterminate."""
POLICY_NOT_MET = 102
"""All signatures are valid, but not what was required."""

_USAGE = (USAGE, "The command line is wrong.")
_PIN = (REFUSED, "A PIN was refused, is locked, or was not presented.")

_MEANINGS: Mapping[tuple[str, ...], tuple[str, str]] = {
    ("demo",): ("Every step had the expected result.", "A step failed."),
    ("check-config",): (
        "The configuration can be used.",
        "It cannot be used, or something expires and --fail-if-expiring is given, or there is a warning and --strict "
        "is given; the report lists the problems.",
    ),
    ("inventory",): ("The inventory was taken, and nothing needs attention.", "The page could not be written."),
    ("identity", "status"): (
        "The identities and their successors were shown.",
        "An identity could not be opened; the others were shown.",
    ),
    ("identity", "retire"): (
        "Nothing uses the identity any more; with --write, the file was changed.",
        "The identity is still in use, or the file could not be changed.",
    ),
    ("identity", "rollover"): (
        "The successor is ready; with --write, the line was written.",
        "It is not ready, or the line could not be written.",
    ),
    ("sign",): ("All files were signed.", "A file could not be signed."),
    ("verify",): (
        "All signatures are valid, and the policy is met.",
        "A file could not be read, or an output could not be written.",
    ),
    ("purposes",): ("The purposes were listed.", "They could not be listed."),
    ("signatures", "list"): ("All files were read.", "A file could not be read."),
    ("signatures", "remove"): ("The signature was removed.", "Nothing was changed."),
    ("signatures", "remove-all"): ("All files were changed.", "A file could not be changed."),
    ("signatures", "ask-timestamp"): ("The query was written.", "No query was written."),
    ("signatures", "add-timestamp"): ("The time stamp was added.", "Nothing was changed."),
    ("echo",): ("The peer answered with success.", "It did not answer, or answered with another status."),
    ("store",): ("The peer has stored all files.", "A file was not stored."),
    ("listen",): (
        "The listener was stopped by SIGTERM or Ctrl-C.",
        "It could not start: the configuration, a device, or the port.",
    ),
    ("gateway", "run"): (
        "The gateway was stopped by SIGTERM or Ctrl-C.",
        "It could not start: the configuration, a device, an address, or another gateway that runs.",
    ),
    ("gateway", "check"): ("The target of each route answered with success.", "A route cannot be used."),
    ("gateway", "status"): ("The gateway runs and is ready.", "It is not ready, or its status could not be read."),
    ("gateway", "drain"): ("The gateway has ended.", "No gateway runs, or it could not be stopped."),
    ("gateway", "emergency"): ("The setting was changed, or the settings were listed.", "Nothing was changed."),
    ("tls", "profiles"): ("The profiles were listed.", "They could not be listed."),
    ("tls", "probe"): (
        "hsm-dicom would connect to the server under the profile.",
        "It would not, or the server did not answer.",
    ),
    ("iscl", "trace"): ("All messages are as ISCL defines them.", "One is not, or the recording cannot be read."),
    ("token", "list"): ("The tokens were listed.", "A module could not be used."),
    ("token", "info"): (
        "The token was read; of an identity with several tokens, at least one works.",
        "The token was not found or could not be read; of an identity with several tokens, none works.",
    ),
    ("token", "init"): ("The token is initialised.", "Nothing was initialised."),
    ("token", "check"): (
        "DICOM works with the token; with --iscl, ISCL too.",
        "It does not; the report gives the reasons.",
    ),
    ("token", "login"): ("The token accepted the PIN.", "The token was not found or failed."),
    ("token", "clear-rejected-pin"): ("No refusal of the token is recorded.", "The token is unknown."),
    ("token", "change-pin"): ("The PIN was changed.", "The PIN was not changed."),
    ("token", "set-pin"): ("The PIN was set.", "The PIN was not set."),
    ("token", "reset-pin"): ("The PIN was set.", "The PIN was not set."),
    ("key", "generate"): ("The key was generated.", "No key was generated."),
    ("key", "list"): ("The keys were listed.", "The token was not found or could not be read."),
    ("key", "csr"): ("The request was written.", "No request was written."),
    ("key", "public"): ("The public key was written.", "The public key was not written."),
    ("key", "import-cert"): ("The certificates were stored.", "No certificate was stored."),
    ("key", "delete"): ("The key was deleted.", "Nothing was deleted."),
    ("key", "delete-cert"): ("The certificate was deleted.", "Nothing was deleted."),
    ("secret", "import"): ("The secret key was imported.", "No secret key was imported."),
    ("secret", "generate"): ("The secret key was imported.", "No secret key was imported."),
    ("secret", "list"): ("The secret keys were listed.", "The token was not found or could not be read."),
    ("secret", "delete"): ("The secret key was deleted.", "Nothing was deleted."),
    ("card", "list"): ("The readers were listed.", "The readers could not be listed."),
    ("card", "info"): ("The card was read.", "The card was not found or could not be read."),
    ("card", "check"): ("The card can be used for DICOM.", "It cannot; the report gives the reasons."),
}
"""What success and failure mean for each command."""

_WITHOUT_PIN = {
    *(("demo",), ("verify",), ("purposes",), ("signatures", "list"), ("signatures", "remove")),
    *(("signatures", "remove-all"), ("signatures", "ask-timestamp"), ("signatures", "add-timestamp")),
    *(("gateway", "status"), ("gateway", "drain"), ("gateway", "emergency")),
    *(("tls", "profiles"), ("tls", "probe"), ("iscl", "trace"), ("token", "list")),
    *(("token", "clear-rejected-pin"), ("card", "list"), ("card", "info"), ("inventory",)),
    ("check-config",),
}
"""The commands that present no PIN; and `check-config`, which reports a refused PIN among other problems."""

_OF_VERIFY = (
    (NO_SIGNATURE, "A file has no signature."),
    (BAD_SIGNATURE, "A signature is invalid or indeterminate."),
    (POLICY_NOT_MET, "All are valid, but one is questionable, or the policy is not met."),
)


_FORMER_NAMES: Mapping[tuple[str, ...], tuple[str, ...]] = {("token", "forgive"): ("token", "clear-rejected-pin")}


def statuses_of(command: tuple[str, ...]) -> Sequence[tuple[int, str]]:
    """Return the exit statuses of a command, such as ``("token", "check")``, in ascending order with their meanings."""
    command = _FORMER_NAMES.get(command, command)
    succeeded, failed = _MEANINGS[command]
    statuses = [(OK, succeeded), (FAILED, failed), _USAGE]
    if command not in _WITHOUT_PIN:
        statuses.append(_PIN)
    if command == ("inventory",):
        statuses.insert(
            3, (NEEDS_ATTENTION, "A row ends within --warn-days, has ended, or is a device or file in trouble.")
        )
    if command == ("verify",):
        statuses += _OF_VERIFY
    return statuses
