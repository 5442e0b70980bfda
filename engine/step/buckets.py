"""The padded programs of a step, or of a function bound to it, with `shapes="bucket"`: how batches run in them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar, cast

import numpy as np

from ...ir import Array, Graph, TypeRuleError
from ...passes.padding.axes import Axes
from ...passes.padding.mask_padding import MaskedGraph, PaddingError, first_difference, mask_padding
from ..compile.compile_progress import compile_phase, compile_progress
from ..compile.programs import Shape
from ..ranks import Ranks
from .bucket_lengths import BucketLengths, BucketShape
from .refusal import MemoryBudgetError

_log = logging.getLogger("gradloom")

_MOST_FITS = 4096
"""Shapes of which it is remembered how they run in a padded program."""

_MOST_GRAPHS = 6
"""Lengths for which a function is traced before its padded program is made, at most."""


class Traced(Protocol):
    """A dataclass with the graph of a function, and what else is known of it for one shape of its batch."""

    @property
    def graph(self) -> Graph: ...


T = TypeVar("T", bound=Traced)
Program = TypeVar("Program")


@dataclass(frozen=True)
class Bucket(Generic[T]):
    """A padded program as it is traced."""

    shape: BucketShape
    traced: T
    """With masks."""
    masked: MaskedGraph

    @property
    def key(self) -> Hashable:
        """That of the program; one that was made from more graphs is another one."""
        return self.shape, len(self.masked.of)


@dataclass(frozen=True)
class Fit(Generic[T]):
    """How batches of one shape run in a padded program."""

    bucket: Bucket[T]
    given: Sequence[Array]
    """What the program is given behind the batch."""
    outputs: Sequence[Axes]
    real: T
    """What is known of the function for this shape, with the padded graph in place of its own."""

    def arrays(self, leaves: Sequence[Array]) -> list[Array]:
        """The leaves of a batch, padded with zeros, and what the program is given beside."""
        return [*map(_padded, leaves, self.bucket.shape.shapes), *self.given]

    def cut(self, i: int, array: Any) -> Any:
        """What is real of an output, as an array of its own."""
        axes = self.outputs[i]
        factors = [factor for axis in axes for factor in axis.factors]
        grid = np.asarray(array).reshape([factor[0] for factor in factors])
        real = grid[tuple(slice(factor[-1]) for factor in factors)]
        return np.array(real).reshape([axis.size[-1] for axis in axes])


class Buckets(Generic[T, Program]):
    """The padded programs of a function `name`, and the batches that run in them.

    `own` are the shapes for which it has a program without padding, `trace` traces it for others, and `program` gives
    the program of a bucket, by its key where it is kept. Where several `ranks` share batches, all have the program of
    the longest, and the rows, which are the first axis of the leaves `of_rows`, are not padded.
    """

    def __init__(
        self,
        name: str,
        own: Sequence[Shape],
        trace: Callable[[Sequence[Shape], bool], T],
        program: Callable[[Bucket[T]], Program],
        ranks: Ranks | None = None,
        of_rows: Sequence[int] = (),
    ) -> None:
        self._name = name
        self._lengths = BucketLengths(own, [(leaf, 0) for leaf in of_rows])
        self._ranks = ranks
        self._of_ranks: list[tuple[Shape, ...]] = []
        """The shapes that ranks were given last, rank by rank."""
        self._trace = trace
        self._program = program
        self._buckets: dict[BucketShape, Bucket[T] | None] = {}
        self._fits: dict[Hashable, Fit[T]] = {}
        self._told: set[str] = set()

    def differ(self, leaves: Sequence[Array]) -> bool:
        """Whether ranks were given batches of different shapes, of which this rank's has these leaves: all call this
        together, each time before `find`.
        """
        if self._ranks is None or self._ranks.size == 1:
            return False
        self._of_ranks = self._ranks.gather(tuple(tuple(leaf.shape) for leaf in leaves))
        return len(set(self._of_ranks)) > 1

    def find(self, key: Hashable, leaves: Sequence[Array]) -> tuple[Program, Fit[T]] | None:
        """The padded program for a batch of these leaves, whose types are the `key`; `None` for one that has to run in
        a program of its own. It is compiled where it is not kept.
        """
        shapes = [tuple(leaf.shape) for leaf in leaves]
        most = _longest(self._of_ranks) if self._of_ranks else shapes
        key = key, tuple(self._of_ranks)
        fit = self._fits.get(key)
        if fit is not None:
            return self._program(fit.bucket), fit
        try:
            with compile_progress(f"{self._name} for padded batches"):
                fit = self._new_fit(leaves, shapes, most)
                if fit is None:
                    return None
                program = self._program(fit.bucket)
        except (PaddingError, MemoryBudgetError) as error:
            self._tell(error)
            return None
        if len(self._fits) >= _MOST_FITS:
            self._fits.pop(next(iter(self._fits)))
        self._fits[key] = fit
        return program, fit

    def _new_fit(self, leaves: Sequence[Array], shapes: Sequence[Shape], most: Sequence[Shape]) -> Fit[T] | None:
        """Raises `PaddingError` for the first reason why a batch is not padded along all axes, if along none. `most`
        are the shapes of the longest batch, of which the others are padded too.
        """
        candidates = self._lengths.of(most, self._of_ranks)
        if any(type(leaf) is not np.ndarray for leaf in leaves):
            return None  # it is on a device
        reason: PaddingError | None = None
        for shape in candidates:
            try:
                fit = self._fit_to(shape, shapes, most)
            except PaddingError as error:
                reason = reason or error
                continue
            if fit is not None:
                if reason is not None:
                    self._tell(reason, "padded along fewer axes than could be")
                return fit
        if reason is not None:
            raise reason
        return None

    def _fit_to(self, shape: BucketShape, shapes: Sequence[Shape], most: Sequence[Shape]) -> Fit[T] | None:
        """`None` for what could not be padded before, which is not tried again."""
        if shape not in self._buckets:
            self._buckets[shape] = None
            self._buckets[shape] = self._bucket(shape, most)
        fit = None
        # Each rank looks at the lengths of all, and comes to the same program, or to none.
        for each in (*dict.fromkeys(self._of_ranks), shapes):
            bucket = self._buckets[shape]
            fit = None if bucket is None else self._fit(bucket, each)
        return fit

    def _bucket(self, shape: BucketShape, shapes: Sequence[Shape]) -> Bucket[T]:
        traced, probe = self._traced(shape.shapes), self._traced(shape.probe(shapes), shorter=True)
        masked = _masked(traced.graph, probe.graph)
        return Bucket(shape, _with_graph(traced, masked.graph), masked)

    def _fit(self, bucket: Bucket[T], shapes: Sequence[Shape]) -> Fit[T]:
        """Raises `PaddingError` where the padded program is not what the function is for these shapes."""
        real = self._traced(shapes, shorter=True)
        masked = _masked(*bucket.masked.of, real.graph)
        other = first_difference(masked.graph, bucket.masked.graph)
        if other is not None:
            # By chance the probes were alike in something that is not so for all lengths.
            if len(masked.of) > _MOST_GRAPHS:
                raise PaddingError("the program is another one for one length than for others", other.origin.source)
            bucket = Bucket(bucket.shape, _with_graph(bucket.traced, masked.graph), masked)
            self._buckets[bucket.shape] = bucket
            self._fits = {key: fit for key, fit in self._fits.items() if fit.bucket.shape != bucket.shape}
        graph = bucket.masked.graph
        return Fit(bucket, masked.numbers(-1), masked.outputs, _with_graph(real, graph))

    def _traced(self, shapes: Sequence[Shape], shorter: bool = False) -> T:
        compile_phase("tracing")
        try:
            return self._trace(shapes, shorter)
        except Exception as error:  # the user's code may refuse lengths that never came; those that did it meets again
            lengths = ", ".join(map(str, shapes))
            raise PaddingError(f"{self._name} cannot be traced for batches of {lengths}: {error}") from None

    def _tell(self, error: Exception, how: str = "not padded, and compiled for as they are") -> None:
        """Say once why a batch is not padded."""
        why = str(error)
        if why not in self._told:
            self._told.add(why)
            _log.warning("batches of %s are %s: %s", self._name, how, why)


def _longest(of_ranks: Sequence[Sequence[Shape]]) -> list[Shape]:
    """The largest of the lengths of each axis."""
    return [tuple(map(max, *shapes)) for shapes in zip(*of_ranks, strict=True)]


def _masked(*graphs: Graph) -> MaskedGraph:
    """`mask_padding`, whose own mistakes end no run: the batch is compiled for as it is, and they are told."""
    try:
        return mask_padding(*graphs)
    except (TypeRuleError, AssertionError, ValueError, LookupError) as error:
        raise PaddingError(f"masking it failed, {type(error).__name__}: {error}") from error


def _with_graph(traced: T, graph: Graph) -> T:
    return replace(cast(Any, traced), graph=graph)


def _padded(leaf: Array, shape: Shape) -> Array:
    if leaf.shape == shape:
        return leaf
    result = np.zeros(shape, leaf.dtype)
    result[tuple(map(slice, leaf.shape))] = leaf
    return result
