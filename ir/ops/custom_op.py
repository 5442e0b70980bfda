"""Ops that users declare: a kernel of theirs, the types of its results, its cost and its derivative.

They are in no table, and known by their trait `kernel` alone. Types are those of NumPy: bfloat16 is cast before and
behind them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..op import Attrs, Op, Recompute, TypeRuleError, VjpRule, same_attrs
from ..types import Array, ArrayType, is_complex, is_half
from ..user_kernel import Options, TypesRule, UserKernel

_LINE_BYTES = 64
"""Arrays of scratch begin at cache lines."""

FlopsOfTypes = Callable[..., int]
"""`flops(*input_types, options=...)`"""


def make_custom_op(
    kernel: UserKernel, results: TypesRule, flops: FlopsOfTypes | None, vjp: VjpRule, may_stop: bool
) -> Op:
    """The op of a kernel. `results` raises `TypeRuleError`; without `flops` it is one for each element read or written.
    One that `may_stop` the run is never computed a second time.
    """

    def infer(*types: ArrayType, options: Options) -> ArrayType | tuple[ArrayType, ...]:
        if any(is_half(t.dtype) for t in types):
            raise TypeRuleError("a kernel of a user's reads no floats of two bytes")
        made = results(*types, options=options)
        if found := [t for t in (*types, *made) if is_complex(t.dtype)]:
            raise TypeRuleError(f"does not take complex numbers, got {found[0]}; give x.real and x.imag")
        _check_rows(kernel, types, made)
        return made[0] if len(made) == 1 else made

    def reference(*arrays: Array, options: Options) -> Array | tuple[Array, ...]:
        types = results(*(ArrayType(tuple(x.shape), x.dtype) for x in arrays), options=options)
        made = kernel.run(arrays, types, options)
        return made[0] if len(made) == 1 else made

    def cost(inputs: Sequence[ArrayType], outputs: Sequence[ArrayType], attrs: Attrs) -> int:
        if flops is None:
            return sum(t.size for t in (*inputs, *outputs))
        return flops(*inputs, options=attrs["options"])

    def axes(inputs: Sequence[ArrayType], output: ArrayType, attrs: Attrs) -> list[list[int | None]]:
        if kernel.elementwise:
            return [[*range(output.ndim)] for _ in inputs]
        whole: list[int | None] = [None] * output.ndim
        rows: list[int | None] = [0, *whole[1:]]
        return [rows if number in kernel.rows else whole for number in range(len(inputs))]

    def workspace(inputs: Sequence[ArrayType], outputs: Sequence[ArrayType], attrs: Attrs) -> int:
        return sum(scratch_bytes(t) for t in kernel.scratch_types(inputs, attrs["options"]))

    once = Recompute.NEVER if may_stop else Recompute.COSTLY
    return Op(
        kernel.name,
        "elementwise" if kernel.elementwise else "custom",
        infer,
        reference,
        cost,
        axes,
        vjp,
        "a kernel of a user's",
        can_trap=may_stop,
        recompute=Recompute.CHEAP if kernel.elementwise else once,
        fusion="elementwise" if kernel.elementwise else "never",
        is_transcendental=kernel.elementwise,
        batch=same_attrs if kernel.elementwise else None,
        workspace=None if kernel.scratch is None else workspace,
        kernel=kernel,
    )


def _check_rows(kernel: UserKernel, inputs: Sequence[ArrayType], results: Sequence[ArrayType]) -> None:
    if not kernel.rows:
        return
    if max(kernel.rows) >= len(inputs):
        raise TypeRuleError(f"rows= names input {max(kernel.rows)}, and there are {len(inputs)}")
    cut = [*(inputs[number] for number in kernel.rows), *results]
    if any(t.ndim == 0 or t.shape[0] != cut[0].shape[0] for t in cut):
        listed = ", ".join(map(str, cut))
        raise TypeRuleError(f"the inputs that rows= names and all results have as many rows, got {listed}")


def scratch_bytes(type: ArrayType) -> int:
    """Bytes from an array of scratch to the next one."""
    return -(-type.nbytes // _LINE_BYTES) * _LINE_BYTES


def options_of(options: dict[str, Any]) -> Options:
    """Options as an attribute of a node."""
    return tuple(options.items())
