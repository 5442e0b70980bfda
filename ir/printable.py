"""Text that came from outside, made fit to print: names of modules, of files, and what stands in a report."""

from __future__ import annotations

import re

# Control characters move a terminal's cursor and worse; marks of direction and of no width make one name look like
# another; half of a surrogate pair cannot be written as UTF-8.
_UNPRINTABLE = "\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
_ANY = re.compile(f"[{_UNPRINTABLE}]")
_IN_LINES = re.compile(rf"(?!\n)[{_UNPRINTABLE}]")


def printable(text: str) -> str:
    """`text` as one line, with each character that a terminal obeys or does not show as Python's escape of it."""
    return _ANY.sub(_escaped, text)


def printable_lines(text: str) -> str:
    """Like `printable`, but ends of lines stay."""
    return _IN_LINES.sub(_escaped, text)


def brief(text: str, most: int = 80) -> str:
    """`text` as `printable` shows it, cut off after so many characters."""
    return printable(text[:most]) + "..." * (len(text) > most)


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()
