"""Complex numbers, and their real and imaginary parts.

The cotangent of a complex value z = x + iy is ∂L/∂x - i ∂L/∂y: the change of the loss is the real part of cotangent
times change. Under this convention, which is JAX's, the derivatives of functions that are complex differentiable have
the rules of real numbers. `gl.grad` gives the conjugate, as PyTorch does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..builder import Builder
from ..complex_parts import Parts
from ..graph import Value
from ..op import (
    OPS,
    Attrs,
    Op,
    PartsRule,
    Recompute,
    ReferenceRule,
    TypeRuleError,
    VjpRule,
    declare,
    no_flops,
    one_per_output,
    same_attrs,
)
from ..types import Array, ArrayType, complex_dtype, is_complex, part_dtype
from .elementwise import aligned_axes, neg


def _complex_op(
    name: str, infer: Callable[..., ArrayType], reference: ReferenceRule, vjp: VjpRule, parts: PartsRule, doc: str
) -> Op:
    flops = one_per_output if parts is _conj_parts else no_flops
    traits: dict[str, Any] = {"can_trap": False, "recompute": Recompute.COSTLY, "batch": same_attrs, "parts": parts}
    return declare(Op(name, "complex", infer, reference, flops, aligned_axes, vjp, doc, **traits))


def _check_complex(z: ArrayType) -> None:
    if not is_complex(z.dtype):
        raise TypeRuleError(f"takes complex numbers, got {z}")


def _part_type(z: ArrayType) -> ArrayType:
    _check_complex(z)
    return ArrayType(z.shape, part_dtype(z.dtype))


def _real(z: Array) -> Array:
    return np.real(z).copy()


def _imag(z: Array) -> Array:
    return np.imag(z).copy()


def _real_vjp(b: Builder, g: Value, o: Value, z: Value) -> Value:
    return complex_(b, g, b.full_like(g, 0))


def _imag_vjp(b: Builder, g: Value, o: Value, z: Value) -> Value:
    return complex_(b, b.full_like(g, 0), neg(b, g))


def _of(inputs: Sequence[Value | Parts]) -> Parts:
    (z,) = inputs
    assert isinstance(z, Parts)
    return z


def _real_parts(b: Builder, op: Op, inputs: Sequence[Value | Parts], attrs: Attrs) -> Sequence[Value | Parts]:
    return [_of(inputs).re]


def _imag_parts(b: Builder, op: Op, inputs: Sequence[Value | Parts], attrs: Attrs) -> Sequence[Value | Parts]:
    return [_of(inputs).im]


def _complex_type(re: ArrayType, im: ArrayType) -> ArrayType:
    if re != im or part_dtype(re.dtype) != re.dtype or re.dtype.kind != "f":
        raise TypeRuleError(f"takes two arrays of float32 or of float64, got {re} and {im}")
    return ArrayType(re.shape, complex_dtype(re.dtype))


def _complex(re: Array, im: Array) -> Array:
    result = np.empty(re.shape, complex_dtype(re.dtype))
    result.real, result.imag = re, im
    return result


def _complex_vjp(b: Builder, g: Value, o: Value, re: Value, im: Value) -> tuple[Value, Value]:
    return real(b, g), neg(b, imag(b, g))


def _complex_parts(b: Builder, op: Op, inputs: Sequence[Value | Parts], attrs: Attrs) -> Sequence[Value | Parts]:
    re, im = inputs
    assert isinstance(re, Value)
    assert isinstance(im, Value)
    return [Parts(re, im)]


def _conj_type(z: ArrayType) -> ArrayType:
    _check_complex(z)
    return z


def _conj_vjp(b: Builder, g: Value, o: Value, z: Value) -> Value:
    return conj(b, g)


def _conj_parts(b: Builder, op: Op, inputs: Sequence[Value | Parts], attrs: Attrs) -> Sequence[Value | Parts]:
    z = _of(inputs)
    return [Parts(z.re, neg(b, z.im))]


real = _complex_op("real", _part_type, _real, _real_vjp, _real_parts, "the real part")
imag = _complex_op("imag", _part_type, _imag, _imag_vjp, _imag_parts, "the imaginary part")
complex_ = _complex_op("complex", _complex_type, _complex, _complex_vjp, _complex_parts, "re + i im")
conj = _complex_op("conj", _conj_type, np.conj, _conj_vjp, _conj_parts, "the complex conjugate")


# All real parts, and behind them all imaginary ones: what the transforms of `fourier` read and make.


def _planes_type(z: ArrayType) -> ArrayType:
    _check_complex(z)
    return ArrayType((2, *z.shape), part_dtype(z.dtype))


def _planes(z: Array) -> Array:
    return np.stack([np.real(z), np.imag(z)])


def _planes_vjp(b: Builder, g: Value, o: Value, z: Value) -> Value:
    return conj(b, from_planes(b, g))


def _one_plane(b: Builder, x: Value, k: int) -> Value:
    rest = x.type.shape[1:]
    none, one = (0,) * len(rest), (1,) * len(rest)
    plane = OPS["slice"](b, x, start=(k, *none), stop=(k + 1, *rest), step=(1, *one))
    return OPS["reshape"](b, plane, shape=rest)


def _planes_parts(b: Builder, op: Op, inputs: Sequence[Value | Parts], attrs: Attrs) -> Sequence[Value | Parts]:
    z = _of(inputs)
    if z.planes is not None:
        return [z.planes]
    both = [OPS["reshape"](b, part, shape=(1, *part.type.shape)) for part in (z.re, z.im)]
    return [OPS["concatenate"](b, *both, axis=0)]


def _from_planes_type(x: ArrayType) -> ArrayType:
    if x.shape[:1] != (2,) or x.dtype.kind != "f":
        raise TypeRuleError(f"takes two planes of float32 or of float64 along the first axis, got {x}")
    return ArrayType(x.shape[1:], complex_dtype(x.dtype))


def _from_planes(x: Array) -> Array:
    return _complex(x[0], x[1])


def _from_planes_vjp(b: Builder, g: Value, o: Value, x: Value) -> Value:
    return planes(b, conj(b, g))


def _from_planes_parts(b: Builder, op: Op, inputs: Sequence[Value | Parts], attrs: Attrs) -> Sequence[Value | Parts]:
    (x,) = inputs
    assert isinstance(x, Value)
    return [Parts(_one_plane(b, x, 0), _one_plane(b, x, 1), x)]


def _axes_below(inputs: Sequence[ArrayType], output: ArrayType, attrs: Attrs) -> list[list[int | None]]:
    return [[None, *range(output.ndim - 1)]]


def _axes_above(inputs: Sequence[ArrayType], output: ArrayType, attrs: Attrs) -> list[list[int | None]]:
    return [[i + 1 for i in range(output.ndim)]]


planes = declare(
    Op(
        "planes",
        "complex",
        _planes_type,
        _planes,
        no_flops,
        _axes_below,
        _planes_vjp,
        "the real parts of all elements, and behind these the imaginary ones: (2, ...)",
        can_trap=False,
        recompute=Recompute.COSTLY,
        parts=_planes_parts,
    )
)
from_planes = declare(
    Op(
        "from_planes",
        "complex",
        _from_planes_type,
        _from_planes,
        no_flops,
        _axes_above,
        _from_planes_vjp,
        "complex numbers from all their real parts and, behind these, all imaginary ones",
        can_trap=False,
        recompute=Recompute.COSTLY,
        parts=_from_planes_parts,
    )
)
