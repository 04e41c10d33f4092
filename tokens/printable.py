"""Text for a terminal or a log: escape what is from outside, and spell durations.

Names of files, labels of tokens, subjects of certificates, AE titles and what peers say may hold anything: escape
sequences that move the cursor or set the title, line ends that forge a line of ours, characters that turn the direction
of writing around (Unicode TR 36, 3.1).
"""

from __future__ import annotations


def printable(text: str) -> str:
    """Return text on one line: what is not printed is escaped as Python writes it, such as \\x1b, \\n or \\u202e."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def printable_lines(text: str) -> str:
    """Return text of several lines of ours, such as a traceback: each made printable, the line ends kept."""
    return "\n".join(printable(line) for line in text.split("\n"))


def format_seconds(seconds: float) -> str:
    """Return a duration for a sentence: "1 second", "2 seconds", "0.5 seconds"."""
    return f"{seconds:g} second{'' if seconds == 1 else 's'}"
