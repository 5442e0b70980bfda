"""The padded programs of a step with `shapes="bucket"`, and how batches of each shape run in them."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ...ir import Array
from ...passes.padding.axes import Axes
from ...passes.padding.mask_padding import MaskedGraph, PaddingError, first_difference, mask_padding
from ..compile.compile_progress import compile_phase, compile_progress
from ..compile.programs import Shape
from ..diagnosis.statistics import Statistics
from ..tracing.debug import Prints
from ..tracing.tracer import ShapeError, TracingError
from .bucket_lengths import BucketLengths, BucketShape
from .program import StepProgram
from .refusal import MemoryBudgetError
from .step_graph import StepGraph

if TYPE_CHECKING:
    from .step import Step

_log = logging.getLogger("gradloom")

_MOST_FITS = 4096
"""Shapes of which it is remembered how they run in a padded program."""


_MOST_GRAPHS = 6
"""Lengths for which a step is traced before its padded program is made, at most."""


@dataclass(frozen=True)
class Bucket:
    """A padded program as it is traced."""

    shape: BucketShape
    traced: StepGraph
    """With masks."""
    masked: MaskedGraph

    @property
    def key(self) -> Hashable:
        """That of the program; one that was made from more probes is another one."""
        return self.shape, len(self.masked.of)


@dataclass(frozen=True)
class Fit:
    """How batches of one shape run in a padded program."""

    bucket: Bucket
    given: Sequence[Array]
    """What the program is given behind the batch."""
    outputs: Sequence[Axes]
    prints: Prints
    statistics: Statistics | None

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


class Buckets:
    """The padded programs of a step, and the batches that run in them."""

    def __init__(self, step: Step, own: Sequence[Shape]) -> None:
        self._step = step
        self._lengths = BucketLengths(own)
        self._buckets: dict[BucketShape, Bucket | None] = {}
        self._fits: dict[Hashable, Fit] = {}
        self._told: set[str] = set()

    def find(self, key: Hashable, leaves: Sequence[Array]) -> tuple[StepProgram, Fit] | None:
        """The padded program for a batch of these leaves, whose types are the `key`; `None` for one that has to run in
        a program of its own. It is compiled where it is not kept.
        """
        fit = self._fits.get(key)
        if fit is None:
            try:
                with compile_progress("the padded step"):
                    fit = self._new_fit(leaves)
                    program = None if fit is None else self._program(fit.bucket)
            except (PaddingError, MemoryBudgetError) as error:
                self._tell(error)
                return None
            if fit is None or program is None:
                return None
            if len(self._fits) >= _MOST_FITS:
                self._fits.pop(next(iter(self._fits)))
            self._fits[key] = fit
            return program, fit
        return self._program(fit.bucket), fit

    def _program(self, bucket: Bucket) -> StepProgram:
        found = self._step._signatures.get(bucket.key)
        return found or self._step._compiled(bucket.shape.shapes, bucket.traced, bucket.key)

    def _new_fit(self, leaves: Sequence[Array]) -> Fit | None:
        shapes = [tuple(leaf.shape) for leaf in leaves]
        shape = self._lengths.of(shapes)
        if shape is None or any(type(leaf) is not np.ndarray for leaf in leaves):
            return None
        if shape not in self._buckets:
            self._buckets[shape] = None  # what cannot be padded once is not tried again
            self._buckets[shape] = self._bucket(shape, shapes)
        bucket = self._buckets[shape]
        return None if bucket is None else self._fit(bucket, shapes)

    def _bucket(self, shape: BucketShape, shapes: Sequence[Shape]) -> Bucket:
        traced, probe = self._traced(shape.shapes), self._traced(shape.probe(shapes), whole=True)
        masked = mask_padding(traced.graph, probe.graph)
        return Bucket(shape, replace(traced, graph=masked.graph), masked)

    def _fit(self, bucket: Bucket, shapes: Sequence[Shape]) -> Fit:
        """Raises `PaddingError` where the padded program is not what the step is for these shapes."""
        real = self._traced(shapes, whole=True)
        masked = mask_padding(*bucket.masked.of, real.graph)
        other = first_difference(masked.graph, bucket.masked.graph)
        if other is not None:
            # By chance the probes were alike in something that is not so for all lengths.
            if len(masked.of) > _MOST_GRAPHS:
                raise PaddingError("the program is another one for one length than for others", other.origin.source)
            bucket = Bucket(bucket.shape, replace(bucket.traced, graph=masked.graph), masked)
            self._buckets[bucket.shape] = bucket
            self._fits = {key: fit for key, fit in self._fits.items() if fit.bucket.shape != bucket.shape}
        statistics = None if real.statistics is None else replace(real.statistics, sums=[])
        return Fit(bucket, masked.numbers(-1), masked.outputs, real.prints, statistics)

    def _traced(self, shapes: Sequence[Shape], whole: bool = False) -> StepGraph:
        """The step for batches of these shapes; as a `whole` where others run in parts."""
        compile_phase("tracing")
        try:
            return self._step._traced(shapes, **({"accumulate": 1} if whole else {}))
        except (ShapeError, TracingError, ValueError, IndexError, TypeError) as error:
            lengths = ", ".join(map(str, shapes))
            raise PaddingError(f"the step cannot be traced for batches of {lengths}: {error}") from None

    def _tell(self, error: Exception) -> None:
        """Say once why a batch is not padded."""
        why = str(error)
        if why not in self._told:
            self._told.add(why)
            _log.warning("batches are not padded, and compiled for as they are: %s", why)


def _padded(leaf: Array, shape: Shape) -> Array:
    if leaf.shape == shape:
        return leaf
    result = np.zeros(shape, leaf.dtype)
    result[tuple(map(slice, leaf.shape))] = leaf
    return result
