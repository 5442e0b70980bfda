"""Complex numbers as pairs of real ones: what ops of complex numbers are, written with ops of real numbers.

Kernels know no complex numbers. The rule `parts` of an op gives its outputs from the parts of its inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .op import OPS, Attrs, Op
from .types import is_complex, part_dtype

if TYPE_CHECKING:
    from .builder import Builder
    from .graph import Value


@dataclass(frozen=True, slots=True)
class Parts:
    """The real and the imaginary part of a complex value; of `planes`, if anywhere, they are the entries of an axis."""

    re: Value
    im: Value
    planes: Value | None = None
    plane: int = 0


def _both(x: Value | Parts) -> Parts:
    assert isinstance(x, Parts), x
    return x


def apart(b: Builder, op: Op, inputs: Sequence[Value | Parts], attrs: Attrs) -> Sequence[Value | Parts]:
    """The op once on the real and once on the imaginary parts, both with the inputs that are not complex."""
    re = b.emit_node(op, *(x.re if isinstance(x, Parts) else x for x in inputs), **attrs).outputs
    im = b.emit_node(op, *(x.im if isinstance(x, Parts) else x for x in inputs), **attrs).outputs
    return [Parts(one, other) for one, other in zip(re, im, strict=True)]


def _product(b: Builder, op: Op, x: Parts, y: Parts, attrs: Attrs) -> Parts:
    """`x y` of an op that is linear in both."""
    add, sub = OPS["add"], OPS["sub"]
    re = sub(b, op(b, x.re, y.re, **attrs), op(b, x.im, y.im, **attrs))
    im = add(b, op(b, x.re, y.im, **attrs), op(b, x.im, y.re, **attrs))
    return Parts(re, im)


def product(b: Builder, op: Op, inputs: Sequence[Value | Parts], attrs: Attrs) -> Sequence[Value | Parts]:
    """An op that is linear in each of its two inputs."""
    x, y = map(_both, inputs)
    return [_product(b, op, x, y, attrs)]


def quotient(b: Builder, op: Op, inputs: Sequence[Value | Parts], attrs: Attrs) -> Sequence[Value | Parts]:
    """`x / y` without overflow on the way, as NumPy has it. Smith 1962, "Algorithm 116: Complex division"."""
    x, y = map(_both, inputs)
    add, sub, mul, select, abs_ = (OPS[name] for name in ("add", "sub", "mul", "select", "abs"))
    by_real = OPS["ge"](b, abs_(b, y.re), abs_(b, y.im))
    large, small = select(b, by_real, y.re, y.im), select(b, by_real, y.im, y.re)
    none = OPS["eq"](b, large, b.full_like(large, 0))
    ratio = op(b, small, select(b, none, b.full_like(large, 1), large))
    scale = op(b, b.full_like(large, 1), add(b, large, mul(b, small, ratio)))
    first, second = select(b, by_real, x.re, x.im), select(b, by_real, x.im, x.re)
    re = mul(b, add(b, first, mul(b, second, ratio)), scale)
    difference = sub(b, second, mul(b, first, ratio))
    im = mul(b, select(b, by_real, difference, OPS["neg"](b, difference)), scale)
    zero = abs_(b, large)
    return [Parts(select(b, none, op(b, x.re, zero), re), select(b, none, op(b, x.im, zero), im))]


def equality(b: Builder, op: Op, inputs: Sequence[Value | Parts], attrs: Attrs) -> Sequence[Value | Parts]:
    """Whether both parts are equal."""
    x, y = map(_both, inputs)
    return [OPS["and"](b, op(b, x.re, y.re), op(b, x.im, y.im))]


def inequality(b: Builder, op: Op, inputs: Sequence[Value | Parts], attrs: Attrs) -> Sequence[Value | Parts]:
    """Whether one of the parts differs."""
    x, y = map(_both, inputs)
    return [OPS["or"](b, op(b, x.re, y.re), op(b, x.im, y.im))]


def conversion(b: Builder, op: Op, inputs: Sequence[Value | Parts], attrs: Attrs) -> Sequence[Value | Parts]:
    """A cast to complex numbers, or of these to bool, which says whether one is not 0."""
    (x,), dtype = inputs, attrs["dtype"]
    if not is_complex(dtype):
        x = _both(x)
        return [OPS["or"](b, op(b, x.re, dtype=dtype), op(b, x.im, dtype=dtype))]
    part = part_dtype(dtype)
    if isinstance(x, Parts):
        return [Parts(op(b, x.re, dtype=part), op(b, x.im, dtype=part))]
    re = op(b, x, dtype=part)
    return [Parts(re, b.full_like(re, 0))]


def filled(b: Builder, op: Op, inputs: Sequence[Value | Parts], attrs: Attrs) -> Sequence[Value | Parts]:
    """An op that puts the number `value` into its output: `full`, `pad`."""
    value = complex(attrs["value"])
    both: list[Value] = []
    for number, name in ((value.real, "re"), (value.imag, "im")):
        changed = {**attrs, "value": number}
        if "dtype" in attrs:
            changed["dtype"] = part_dtype(attrs["dtype"])
        both.append(b.emit(op, *(getattr(_both(x), name) for x in inputs), **changed))
    return [Parts(both[0], both[1])]


def stored(b: Builder, op: Op, inputs: Sequence[Value | Parts], attrs: Attrs) -> Sequence[Value | Parts]:
    """A constant array."""
    array = attrs["value"]
    return [Parts(b.constant(np.real(array).copy()), b.constant(np.imag(array).copy()))]


def product_of_all(b: Builder, op: Op, inputs: Sequence[Value | Parts], attrs: Attrs) -> Sequence[Value | Parts]:
    """The product over `axes`, as a tree of products."""
    x = _both(inputs[0])
    axes: tuple[int, ...] = attrs["axes"]
    shape = x.re.type.shape
    kept = tuple(i for i in range(len(shape)) if i not in axes)
    rest = tuple(shape[i] for i in kept)
    length = 1
    for axis in axes:
        length *= shape[axis]
    row = [OPS["transpose"](b, part, perm=(*axes, *kept)) for part in (x.re, x.im)]
    row = [OPS["reshape"](b, part, shape=(length, *rest)) for part in row]
    if not length:
        like = OPS["reduce_sum"](b, row[0], axes=(0,))
        return [Parts(b.full_like(like, 1), b.full_like(like, 0))]
    while length > 1:
        half, zeros = length // 2, (0,) * len(rest)

        def cut(part: Value, start: int, stop: int, zeros: tuple[int, ...] = zeros) -> Value:
            return OPS["slice"](b, part, start=(start, *zeros), stop=(stop, *rest), step=(1,) * (1 + len(rest)))

        low, high = (Parts(cut(row[0], at, at + half), cut(row[1], at, at + half)) for at in (0, half))
        made = _product(b, OPS["mul"], low, high, {})
        last = [cut(part, 2 * half, length) for part in row] if length % 2 else None
        row = [made.re, made.im]
        if last is not None:
            row = [OPS["concatenate"](b, part, end, axis=0) for part, end in zip(row, last)]
        length -= half
    re, im = (OPS["reshape"](b, part, shape=rest) for part in row)
    return [Parts(re, im)]
