"""What a step does with batches of other shapes than it was compiled for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..compile.programs import MOST_KEPT, Shape
from ..tracing.errors import ShapeError
from ..tracing.numbers import as_whole
from ..tracing.tracer import located

Shapes = Literal["any", "fixed", "bucket"]


@dataclass(frozen=True)
class ShapePolicy:
    """Whether other shapes are compiled for, each or a few, and how many programs of such are kept."""

    shapes: Shapes = "any"
    most: int | None = None
    """Programs that are kept, with the first; `None` for those that any function keeps."""

    def check(self, names: Sequence[str], before: Sequence[Shape], now: Sequence[Shape]) -> None:
        """Raise `ShapeError` where a batch of other shapes is refused."""
        if self.shapes == "fixed":
            other = "; ".join(f"{name} is {b}, the step is for {a}" for name, a, b in zip(names, before, now) if a != b)
            raise ShapeError(
                located(
                    f"{other}: it was compiled with shapes='fixed'; give batches of one shape, such as those of "
                    "gl.data.Arrays(..., drop_last=True), or write shapes='any', which compiles for each, or "
                    "shapes='bucket', which pads to a few"
                )
            )


def shape_policy(shapes: Any, max_programs: Any) -> ShapePolicy:
    """The policy that a user asks for. Raises `ValueError` for one that there is not."""
    if shapes not in ("any", "fixed", "bucket"):
        kinds = (
            "shapes is 'any', which compiles for each, 'bucket', which pads to a few lengths, or 'fixed', which refuses"
        )
        raise ValueError(located(f"{kinds}; got {shapes!r}"))
    most = as_whole(max_programs)
    if most is None or most < 1:
        raise ValueError(located(f"max_programs is a whole number of 1 or more, got {max_programs!r}"))
    return ShapePolicy(shapes, None if most == MOST_KEPT else most)
