"""The few lengths that batches are padded to, and which of their axes are: those that have been of several lengths."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ..compile.programs import Shape

Place = tuple[int, int]
"""The number of a leaf, and of one of its axes."""


@dataclass(frozen=True)
class BucketShape:
    """What batches are padded to: the shapes of the leaves, and the axes that may be shorter, those together that have
    always been of one length.
    """

    shapes: tuple[Shape, ...]
    padded: tuple[tuple[Place, ...], ...]

    def probe(self, like: Sequence[Shape]) -> list[Shape]:
        """Other shapes that are padded to this one, `like` some where that can be: each group of axes is shorter, and
        of a length of its own.
        """
        shapes = [list(shape) for shape in self.shapes]
        taken: set[tuple[int, int]] = set()
        for group in self.padded:
            leaf, axis = group[0]
            whole, wanted = self.shapes[leaf][axis], like[leaf][axis]
            free = [n for n in range(whole - 1, bucket_below(whole), -1) if (whole, n) not in taken]
            length = wanted if wanted in free else free[0] if free else whole - 1
            taken.add((whole, length))
            for leaf, axis in group:
                shapes[leaf][axis] = length
        return [tuple(shape) for shape in shapes]


class BucketLengths:
    """What is learnt of the lengths of batches, which begin as those of the batch that the step was compiled for. Axes
    that are `kept` are not padded.
    """

    def __init__(self, own: Sequence[Shape], kept: Collection[Place] = ()) -> None:
        self._kept = frozenset(kept)
        self._own = [tuple(shape) for shape in own]
        self._varying: set[Place] = set()
        self._groups: dict[Place, int] = {}
        self._learn(own)

    def _learn(self, shapes: Sequence[Shape]) -> None:
        """Axes that are no longer of one length belong together no longer."""
        numbers: dict[tuple[int, int], int] = {}
        for i, shape in enumerate(shapes):
            for axis, length in enumerate(shape):
                if length != self._own[i][axis]:
                    self._varying.add((i, axis))
                key = self._groups.get((i, axis), 0), length
                self._groups[i, axis] = numbers.setdefault(key, len(numbers))

    def of(self, shapes: Sequence[Shape], of_ranks: Sequence[Sequence[Shape]] = ()) -> list[BucketShape]:
        """What a batch of these shapes may be padded to: along all axes that can be, or only along those that belong
        together. Nothing where its lengths stand for no others. It has the largest of the lengths `of_ranks`, where
        several have parts of it; what differs between these is padded in any case.
        """
        for each in of_ranks or (shapes,):
            self._learn(each)
        groups: dict[int, list[Place]] = {}
        for i, axis in sorted(self._varying - self._kept):
            length = bucket_length(shapes[i][axis], self._own[i][axis])
            if length - 1 > bucket_below(length) or len({each[i][axis] for each in of_ranks}) > 1:
                groups.setdefault(self._groups[i, axis], []).append((i, axis))
        padded = [tuple(group) for group in groups.values()]
        chosen = [tuple(padded), *((group,) for group in padded)] if len(padded) > 1 else [tuple(padded)]
        return [self._bucket(shapes, groups) for groups in chosen if groups]

    def _bucket(self, shapes: Sequence[Shape], padded: tuple[tuple[Place, ...], ...]) -> BucketShape:
        target = [list(shape) for shape in shapes]
        for i, axis in (place for group in padded for place in group):
            target[i][axis] = bucket_length(shapes[i][axis], self._own[i][axis])
        return BucketShape(tuple(map(tuple, target)), padded)


def bucket_length(length: int, own: int) -> int:
    """The least of 1, 2, 3, 4, 6, 8, 12, 16, 24, ... (the powers of two, and one and a half of them) and of `own` that
    is no less than `length`.
    """
    found = bucket_below(length) + 1 if length < 1 else _next(length)
    return own if length <= own < found else found


def bucket_below(length: int) -> int:
    """The largest of these lengths that is less than `length`, 0 where none is."""
    if length <= 1:
        return 0
    power = 1 << ((length - 1).bit_length() - 1)
    return power + power // 2 if power > 1 and power + power // 2 < length else power


def _next(length: int) -> int:
    power = 1 << (length - 1).bit_length()
    return power * 3 // 4 if power > 2 and power * 3 // 4 >= length else power
