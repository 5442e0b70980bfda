"""The programs that one function was compiled to: how many are kept, and what is said when there is a new one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Generic, TypeVar

from ...ir import ArrayType, DType
from ...ir.html import paragraph, table
from ...runtime.free_memory import return_free_memory

_log = logging.getLogger("gradloom")

MOST_KEPT = 32
"""Programs of one function that are kept; beyond it the one goes that was not used for longest."""

_MOST_GONE = 1024
"""Dropped programs whose keys are remembered."""

MANY = 10
"""So many programs of one function, and something is said of how to have fewer."""

Program = TypeVar("Program")
Shape = tuple[int, ...]


@dataclass(slots=True)
class _Kept(Generic[Program]):
    program: Program
    used: int


class Programs(Generic[Program]):
    """Programs by their keys, at most `most` of them (`None`: `MOST_KEPT`), beside the first where `keep_first`.

    Looking one up takes no lock; adding one does, the caller's. `made` counts all that there ever were.
    """

    def __init__(
        self,
        keep_first: bool = False,
        dropped: Callable[[Program], None] = lambda program: None,
        most: int | None = None,
    ) -> None:
        self._held: dict[Hashable, _Kept[Program]] = {}
        self._clock = count()
        self._keep_first = keep_first
        self._dropped = dropped
        self._most = most
        self.made = 0
        self._gone: set[Hashable] = set()
        self._too_few: bool | None = False

    def __len__(self) -> int:
        return len(self._held)

    @property
    def most(self) -> int:
        """How many are kept at most, beside the first where that is."""
        return MOST_KEPT if self._most is None else self._most

    def __repr__(self) -> str:
        return f"{len(self)} program{'s' * (len(self) != 1)}"

    def items(self) -> list[tuple[Any, Program]]:
        """Keys and programs, the least recently used first."""
        return [(key, self._held[key].program) for key in self.keys()]

    def values(self) -> list[Program]:
        """The programs that are kept."""
        return [kept.program for kept in list(self._held.values())]

    def keys(self) -> list[Any]:
        """The keys, the least recently used first."""
        return sorted(self._held, key=lambda key: self._held[key].used)

    def get(self, key: Hashable) -> Program | None:
        """The program with this key, if it is kept; it counts as used now."""
        kept = self._held.get(key)
        if kept is None:
            return None
        kept.used = next(self._clock)
        return kept.program

    def add(self, key: Hashable, program: Program) -> None:
        """Keep a new program, and drop the one that is too many."""
        self._held[key] = _Kept(program, next(self._clock))
        self.made += 1
        if key in self._gone and self._too_few is False:
            self._too_few = True
        spare = list(self._held)[1:] if self._keep_first else list(self._held)
        if len(spare) > self.most:
            oldest = min(spare, key=lambda key: self._held[key].used)
            if len(self._gone) < _MOST_GONE:
                self._gone.add(oldest)
            self._dropped(self._held.pop(oldest).program)
            return_free_memory()

    def are_too_few(self) -> bool:
        """Whether one was made again that had been dropped; true once."""
        found = self._too_few is True
        self._too_few = None if found else self._too_few
        return found

    @property
    def is_chosen(self) -> bool:
        """Whether the user says how many are kept."""
        return self._most is not None


def tell_of_shapes(
    name: str,
    names: Sequence[str],
    before: Sequence[Shape],
    now: Sequence[Shape],
    seconds: float,
    programs: Programs[Any],
) -> None:
    """Log that `name` was compiled once more for arrays of other shapes than `before`: in words for all to see up to
    the tenth of its `programs`, after that for who asks for it.
    """
    made = programs.made
    others = [f"{n} is {a}, before {b}" for n, b, a in zip(names, before, now) if a != b]
    others = others or [f"{n} is {a}" for n, a in zip(names, now)]  # padded along other axes than before
    more = f" and {len(others) - 3} more" if len(others) > 3 else ""
    advice = (
        f"; that makes {made} programs, of which {programs.most} are kept: arrays padded to a few lengths need fewer, "
        "and what is compiled from now on is logged as INFO"
    )
    _log.log(
        logging.WARNING if made <= MANY else logging.INFO,
        "%s was compiled for other shapes, in %.2f s: %s%s%s",
        name,
        seconds,
        ", ".join(others[:3]),
        more,
        advice if made == MANY else "",
    )
    if programs.are_too_few():
        _log.warning(
            "%s had a program for these shapes, which was dropped: %d are kept, too few for the shapes that come; "
            "arrays padded to a few lengths need fewer%s",
            name,
            programs.most,
            ", and max_programs= of gl.compile_step keeps more" if programs.is_chosen else "",
        )


def programs_html(programs: Iterable[tuple[Sequence[tuple[Shape, DType]], int]]) -> str:
    """Programs in a notebook: the types of their arguments, and the bytes of the arena that they need."""
    rows = [
        (", ".join(str(ArrayType(shape, dtype)) for shape, dtype in types) or "no array", f"{arena_bytes:,}")
        for types, arena_bytes in programs
    ]
    return table(rows, ("arguments", "bytes of arena"), {1}) if rows else paragraph("not called yet: no program")
