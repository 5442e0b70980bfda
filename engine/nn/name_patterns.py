"""Patterns of names, as in the shell: which names they choose."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase


def chooses(pattern: str, names: Iterable[str]) -> bool:
    """Whether a pattern (`*`, `?`, `[ab]`; `*` stands for dots too) fits one of the names of a parameter."""
    return any(fnmatchcase(name, pattern) for name in names)
