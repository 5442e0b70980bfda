"""Names of arrays in a file as a model has them: by patterns, or by a function."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from ...ir.near_names import nearest_names
from ...ir.printable import brief
from ..tracing.errors import located
from .checkpoint_file import CheckpointError

Rename = Mapping[str, str | None] | Callable[[str], str | None]


def renamed(names: Sequence[str], rename: Rename, source: str) -> dict[str, str]:
    """By its name in the model the name in the file, for all that `rename` does not give up by `None`.

    `rename` is a function of a name, or a dict of patterns, of which the first that fits a name counts: a `*` is any
    text, and stands for that text in the new name. Names that no pattern fits stay. Raises `TypeError` for what is
    neither, `ValueError` for a pattern that fits no name or whose new name has more `*`, and `CheckpointError` where
    two arrays get one name.
    """
    if not callable(rename) and not isinstance(cast(Any, rename), Mapping):
        what = "rename is a dict of names, in which * is any text, or a function of a name"
        raise TypeError(located(f"{what}, got {type(rename).__name__}"))
    change = rename if callable(rename) else _by_rules(names, rename, source)
    came_as: dict[str, str] = {}
    for name in names:
        new = change(name)
        if new is None:
            continue
        if not isinstance(cast(Any, new), str):
            raise TypeError(located(f"rename gives a name, or None to leave {name} out; it gave {new!r}"))
        if new in came_as:
            both = f"{brief(came_as[new])} and {brief(name)}"
            raise CheckpointError(located(f"rename makes {both}, of {source}, both {brief(new)}"))
        came_as[new] = name
    return came_as


@dataclass(frozen=True)
class _Rule:
    pattern: str
    new: str | None

    def __post_init__(self) -> None:
        if self.new is not None and self.new.count("*") > self.pattern.count("*"):
            raise ValueError(located(f"rename: {self.new!r} has more * than {self.pattern!r}"))

    def fits(self, name: str) -> re.Match[str] | None:
        """How it fits a name, if it does."""
        return re.fullmatch("(.*)".join(map(re.escape, self.pattern.split("*"))), name, re.DOTALL)

    def applied(self, match: re.Match[str]) -> str | None:
        """The new name."""
        if self.new is None:
            return None
        first, *parts = self.new.split("*")
        return first + "".join(text + part for text, part in zip(match.groups(), parts))


def _by_rules(names: Sequence[str], patterns: Mapping[str, str | None], source: str) -> Callable[[str], str | None]:
    rules = [_Rule(pattern, new) for pattern, new in patterns.items()]
    for rule in rules:
        if not any(rule.fits(name) for name in names):
            near = nearest_names(rule.pattern, names, 3)
            raise ValueError(
                located(f"rename: {rule.pattern!r} fits none of {source}; there are {', '.join(map(brief, near))}")
            )

    def change(name: str) -> str | None:
        for rule in rules:
            match = rule.fits(name)
            if match:
                return rule.applied(match)
        return name

    return change
