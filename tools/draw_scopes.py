"""Modules collapsed by their paths, until as many are left as a picture can show."""

from __future__ import annotations

from collections.abc import Iterable


def cut_scope(scope: str, depth: int) -> str:
    """The first `depth` modules of a path."""
    return ".".join(scope.split(".")[:depth]) if depth else ""


def cut_scopes(scopes: Iterable[str], depth: int, width: int = 1) -> dict[str, str]:
    """The first `depth` modules of each path. Where the last of them are numbered, `width` that follow one another are
    one, such as `blocks.6-11`.
    """
    cut = {scope: cut_scope(scope, depth) for scope in scopes}
    ranges: dict[tuple[str, int], list[int]] = {}
    for name in set(cut.values()):
        if (number := _number(name, depth)) is not None:
            ranges.setdefault((name.rpartition(".")[0], number // width), []).append(number)
    folded: dict[str, str] = {}
    for (parent, _), numbers in ranges.items():
        first, last = min(numbers), max(numbers)
        for number in numbers:
            both = f"{first}-{last}" if first != last else f"{first}"
            folded[_joined(parent, f"{number}")] = _joined(parent, both)
    return {scope: folded.get(name, name) for scope, name in cut.items()}


def widths(scopes: Iterable[str], depth: int) -> range:
    """The widths of `cut_scopes` that put some modules together, but leave more than one of them."""
    counts: dict[str, int] = {}
    for name in {cut_scope(scope, depth) for scope in scopes}:
        if (number := _number(name, depth)) is not None:
            parent = name.rpartition(".")[0]
            counts[parent] = max(counts.get(parent, 0), number + 1)
    return range(2, max(counts.values(), default=0))


def _number(name: str, depth: int) -> int | None:
    last = name.rpartition(".")[2]
    return int(last) if last.isdecimal() and name.count(".") + 1 == depth else None


def _joined(parent: str, name: str) -> str:
    return f"{parent}.{name}" if parent else name
