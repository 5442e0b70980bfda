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


# All real parts, and apart from them all imaginary ones: what the transforms of `fourier` read and make.


def _planes_type(z: ArrayType, plane: int) -> ArrayType:
    _check_complex(z)
    if not 0 <= plane <= z.ndim:
        raise TypeRuleError(f"there is no place for an axis {plane} in {z}")
    return ArrayType((*z.shape[:plane], 2, *z.shape[plane:]), part_dtype(z.dtype))


def _planes(z: Array, plane: int) -> Array:
    return np.stack([np.real(z), np.imag(z)], plane)


def _planes_vjp(b: Builder, g: Value, o: Value, z: Value, plane: int) -> Value:
    return conj(b, from_planes(b, g, plane=plane))


def _one_plane(b: Builder, x: Value, plane: int, k: int) -> Value:
    shape = x.type.shape
    start, stop = (
        tuple(at if i == plane else end for i, end in enumerate(ends))
        for at, ends in ((k, (0,) * len(shape)), (k + 1, shape))
    )
    part = OPS["slice"](b, x, start=start, stop=stop, step=(1,) * len(shape))
    return OPS["reshape"](b, part, shape=(*shape[:plane], *shape[plane + 1 :]))


def _planes_parts(b: Builder, op: Op, inputs: Sequence[Value | Parts], attrs: Attrs) -> Sequence[Value | Parts]:
    z, plane = _of(inputs), attrs["plane"]
    if z.planes is not None and z.plane == plane:
        return [z.planes]
    shape = z.re.type.shape
    both = [OPS["reshape"](b, part, shape=(*shape[:plane], 1, *shape[plane:])) for part in (z.re, z.im)]
    return [OPS["concatenate"](b, *both, axis=plane)]


def _from_planes_type(x: ArrayType, plane: int) -> ArrayType:
    if not 0 <= plane < x.ndim or x.shape[plane] != 2 or x.dtype.kind != "f":
        raise TypeRuleError(f"takes two planes of float32 or of float64 along axis {plane}, got {x}")
    return ArrayType((*x.shape[:plane], *x.shape[plane + 1 :]), complex_dtype(x.dtype))


def _from_planes(x: Array, plane: int) -> Array:
    return _complex(np.take(x, 0, plane), np.take(x, 1, plane))


def _from_planes_vjp(b: Builder, g: Value, o: Value, x: Value, plane: int) -> Value:
    return planes(b, conj(b, g), plane=plane)


def _from_planes_parts(b: Builder, op: Op, inputs: Sequence[Value | Parts], attrs: Attrs) -> Sequence[Value | Parts]:
    (x,) = inputs
    assert isinstance(x, Value)
    plane: int = attrs["plane"]
    return [Parts(_one_plane(b, x, plane, 0), _one_plane(b, x, plane, 1), x, plane)]


def _axes_below(inputs: Sequence[ArrayType], output: ArrayType, attrs: Attrs) -> list[list[int | None]]:
    plane: int = attrs["plane"]
    return [[None if i == plane else i - (i > plane) for i in range(output.ndim)]]


def _axes_above(inputs: Sequence[ArrayType], output: ArrayType, attrs: Attrs) -> list[list[int | None]]:
    return [[i + (i >= attrs["plane"]) for i in range(output.ndim)]]


def _later_plane(attrs: Attrs, length: int) -> Attrs:
    return {"plane": attrs["plane"] + 1}


planes = declare(
    Op(
        "planes",
        "complex",
        _planes_type,
        _planes,
        no_flops,
        _axes_below,
        _planes_vjp,
        "the real parts and the imaginary ones as the two entries of a new axis `plane`",
        can_trap=False,
        recompute=Recompute.COSTLY,
        batch=_later_plane,
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
        "complex numbers, whose real and imaginary parts are the two entries of axis `plane`",
        can_trap=False,
        recompute=Recompute.COSTLY,
        batch=_later_plane,
        parts=_from_planes_parts,
    )
)
