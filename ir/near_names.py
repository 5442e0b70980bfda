"""The names that one which does not exist may stand for: what an error suggests instead of a misspelt name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable

_LONGEST = 200
"""Letters of a name that are compared: a text of a million is no misspelling."""


def near_names(name: str, known: Iterable[str], most: int = 3) -> list[str]:
    """Those of the `known` names that `name` may be a misspelling of, the nearest first. Where one differs in case and
    underscores alone, it is the only one.
    """
    if len(name) > _LONGEST:
        return []
    nearest = nearest_names(name, filter(_near(_plain(name)), known))
    if nearest and _plain(nearest[0]) == _plain(name):
        return nearest[:1]
    return nearest[:most]


def nearest_names(name: str, known: Iterable[str], most: int | None = None) -> list[str]:
    """The `known` names, the one that is most like `name` first, however little that is."""
    name = name[:_LONGEST]
    return sorted(dict.fromkeys(known), key=lambda near: _likeness(name, near[:_LONGEST]), reverse=True)[:most]


def similar(name: str, known: Iterable[str], prefix: str = "") -> str | None:
    """What to write instead, each name behind `prefix`; `None` where nothing is near."""
    near = near_names(name, known)
    if not near:
        return None
    shown = ", ".join(f"{prefix}{found}" for found in near)
    return f"write {shown}" if _plain(near[0]) == _plain(name) else f"similar: {shown}"


def _near(name: str) -> Callable[[str], bool]:
    """Whether a known name is near to `name`. `hasattr` asks for names that are near to none of a thousand: most are
    told by the numbers of their letters.
    """
    few = len(name) <= 3  # of so few letters two that agree say nothing
    least = 0.75 if few else 0.6
    bound = difflib.SequenceMatcher(None, "", name)

    def is_near(known: str) -> bool:
        known = _plain(known)
        if not few and name in known:
            return True
        bound.set_seq1(known)
        return bound.real_quick_ratio() > least and bound.quick_ratio() > least and _ratio(name, known) > least

    return is_near


def _likeness(name: str, near: str) -> tuple[float, bool, bool, float]:
    """How alike two names are without case and underscores; then whether one holds the other, whether the case of the
    first letters agrees, and how alike they are as they are written.
    """
    a, b = _plain(name), _plain(near)
    return _ratio(a, b), a in b or b in a, name[:1].isupper() == near[:1].isupper(), _ratio(name, near)


def _ratio(a: str, b: str) -> float:
    """How alike two texts are, from 0 to 1: the same letters in another order nearly 1, for fingers swap them."""
    found = difflib.SequenceMatcher(None, b, a).ratio()
    return max(found, 0.95) if a != b and sorted(a) == sorted(b) else found


def _plain(name: str) -> str:
    return name.replace("_", "").casefold()
