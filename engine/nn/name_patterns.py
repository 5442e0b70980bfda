"""Patterns of names, as in the shell: which names they choose, and which are near where they choose none."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from fnmatch import fnmatchcase


def chooses(pattern: str, names: Iterable[str]) -> bool:
    """Whether a pattern (`*`, `?`, `[ab]`; `*` stands for dots too) fits one of the names of a parameter."""
    return any(fnmatchcase(name, pattern) for name in names)


def near_names(pattern: str, names: Iterable[str], most: int = 6) -> list[str]:
    """The names that are most like a pattern."""

    def likeness(name: str) -> float:
        return difflib.SequenceMatcher(None, pattern, name).ratio()

    return sorted(names, key=likeness, reverse=True)[:most]
