"""How the axes of a padded array are laid out: which of their elements the array without padding has, in what order."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Size = tuple[int, ...]
"""The length of an axis in each of several graphs of one program, that of the padded one first."""


def varies(size: Size) -> bool:
    """Whether a length is another one in another graph."""
    return any(n != size[0] for n in size)


def product(sizes: Iterable[Size], count: int) -> Size:
    """The product of lengths, graph by graph."""
    listed = list(sizes)
    return tuple(math.prod(size[k] for size in listed) for k in range(count))


@dataclass(frozen=True)
class Axis:
    """An axis as a row-major grid of `factors`: of each, the first elements are real, the others padding.

    An axis that is as long in all graphs is one factor. One that merges others, as (batch, time) become rows, has
    several: padding lies between the rows then. `is_uniform` says that all elements along it are equal, padding too,
    so that it may be read in any grid.
    """

    factors: tuple[Size, ...]
    is_uniform: bool = False

    @property
    def is_padded(self) -> bool:
        """Whether some of its elements are padding."""
        return any(map(varies, self.factors))

    @property
    def is_simple(self) -> bool:
        """Whether what is real of it comes first, and the padding behind."""
        return len(self.factors) == 1

    @property
    def size(self) -> Size:
        """Its length in each graph."""
        return product(self.factors, len(self.factors[0]))


Axes = tuple[Axis, ...]


def plain(size: Size, is_uniform: bool = False) -> Axis:
    """An axis whose real elements come first."""
    return Axis((size,), is_uniform)


def unified(axes: Sequence[Axis]) -> Axis | None:
    """The layout of an array that is computed place by place from others; `None` where theirs differ."""
    found = {axis.factors for axis in axes if not axis.is_uniform}
    if not found:
        return axes[0]
    return Axis(found.pop()) if len(found) == 1 else None


def reshaped(axes: Sequence[Axis], targets: Sequence[Size]) -> list[Axis] | None:
    """The axes of an array of the same elements in row-major order, with these lengths; `None` where padding would come
    to lie between the parts of a factor.
    """
    left = [(f, axis.is_uniform) for axis in axes for f in axis.factors if set(f) != {1}]
    result: list[Axis] = []
    for target in targets:
        taken = _taken(left, target)
        if taken is None:
            return None
        is_uniform = all(flag for _, flag in taken)
        factors = (target,) if is_uniform else _merged([f for f, _ in taken])
        result.append(Axis(factors, is_uniform))
    return result


def _taken(left: list[tuple[Size, bool]], target: Size) -> list[tuple[Size, bool]] | None:
    """The factors that make up an axis of length `target`, taken from the first of those that are left."""
    taken: list[tuple[Size, bool]] = []
    rest = target
    while set(rest) != {1}:
        if not left or 0 in rest:
            return None
        factor, is_uniform = left.pop(0)
        if all(f and r % f == 0 for r, f in zip(rest, factor)):
            taken.append((factor, is_uniform))
            rest = tuple(r // f for r, f in zip(rest, factor))
            continue
        if any(f % r for r, f in zip(rest, factor)):
            return None
        inner = tuple(f // r for r, f in zip(rest, factor))
        # The first real elements of a factor are whole rows of what it is cut into, where the rows have no padding.
        if not is_uniform and (varies(inner) or (varies(rest) and not varies(factor))):
            return None
        taken.append((rest, is_uniform))
        left.insert(0, (inner, is_uniform))
        rest = (1,) * len(rest)
    return taken


def _merged(factors: Sequence[Size]) -> tuple[Size, ...]:
    """The same grid with as few factors as can be: rows without padding belong to what stands before them."""
    result: list[Size] = []
    for factor in factors:
        if result and not varies(factor):
            result[-1] = tuple(a * b for a, b in zip(result[-1], factor))
        else:
            result.append(factor)
    return tuple(result)
