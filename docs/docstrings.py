"""Docstrings are Markdown: code spans, indented code, lists. Sphinx reads reStructuredText."""

from __future__ import annotations

import re
from collections.abc import Sequence

_SPECIAL = re.compile(r"([\\*|`])|(?<=\w)(_)(?!\w)")
"""What reStructuredText would read as markup where it is none."""


def as_rst(lines: Sequence[str]) -> list[str]:
    """The lines of a docstring as reStructuredText: `x` becomes a literal, indented lines a block of code."""
    found: list[str] = []
    code = in_list = False
    for line in _joined(lines):
        indented = line.startswith("    ")
        if indented and not code and not in_list:
            found += [".. code-block:: python", ""]
        code = not in_list and (indented or (code and not line.strip()))
        in_list = line.startswith("- ") or (in_list and (indented or line.startswith("  ")))
        found.append(line if code else _prose(line))
    return found


def _joined(lines: Sequence[str]) -> list[str]:
    """Lines of prose as one a paragraph or item: a code span may go over the end of a line."""
    found: list[str] = []
    for line in lines:
        follows = bool(found and found[-1].strip() and line.strip())
        item = found[-1].startswith("- ") if found else False
        begins = line.startswith("- ") or (line.startswith("    ") and not item)
        after_code = bool(found) and found[-1].startswith("    ")
        if follows and not begins and not after_code:
            found[-1] += " " + line.strip()
        else:
            if follows and line.startswith("- ") and not item:
                found.append("")  # a list begins after an empty line
            found.append(line)
    return found


def _prose(line: str) -> str:
    pieces = re.split(r"`([^`]+)`", line)
    text = ""
    for i, piece in enumerate(pieces):
        if i % 2 == 0:
            text += _SPECIAL.sub(lambda m: "\\" + m[0], piece)
        else:
            before = r"\ " if text and not text[-1].isspace() and text[-1] not in "([{-/'\"" else ""
            after = pieces[i + 1][:1]
            text += f"{before}``{piece}``" + (r"\ " if after and (after.isalnum() or after in "`_") else "")
    return text
