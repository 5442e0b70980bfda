"""What an op is: one declaration with its type rule, NumPy reference, derivative, cost and axes together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .types import Array, ArrayType

if TYPE_CHECKING:
    from .builder import Builder
    from .graph import Value

Attrs = Mapping[str, Any]
InferRule = Callable[..., "ArrayType | tuple[ArrayType, ...]"]
ReferenceRule = Callable[..., "Array | tuple[Array, ...]"]
VjpRule = Callable[..., "Value | Sequence[Value | None] | None"]
FlopsRule = Callable[[Sequence[ArrayType], Sequence[ArrayType], Attrs], int]
AxisRule = Callable[[Sequence[ArrayType], ArrayType, Attrs], "Sequence[Sequence[int | None]]"]


class TypeRuleError(TypeError):
    """The inputs or attributes of an op do not fit together."""


@dataclass(frozen=True, eq=False, slots=True)
class Op:
    """One primitive.

    Laws that a declaration must keep:

    - `infer(*input_types, **attrs)` gives the output type (a tuple of types where there are several outputs) or raises
      `TypeRuleError` naming shapes and dtypes.
    - `reference(*arrays, **attrs)` computes the same with NumPy, in exactly the inferred type.
    - `vjp(builder, cotangent, output, *inputs, **attrs)` gives the cotangent of every input (`None`: zero). It is built
      of primitives that have a `vjp` themselves, so that derivatives of every order exist. An op without `vjp` is not
      differentiable and its inputs get zero; for ops on integers that is the right derivative.
    - `flops(input_types, output_types, attrs)` counts arithmetic.
    - `axes(input_types, output_type, attrs)` says for every input, and for every axis of the output, which axis of that
      input is *aligned* with it: element i along the one needs only element i along the other. `None`: it needs all.
    """

    name: str
    family: str
    infer: InferRule
    reference: ReferenceRule
    flops: FlopsRule
    axes: AxisRule
    vjp: VjpRule | None = None
    doc: str = ""

    def __call__(self, builder: Builder, *inputs: Value, **attrs: Any) -> Value:
        """Append this op to the graph under construction and return its only output."""
        return builder.emit(self, *inputs, **attrs)

    def __repr__(self) -> str:
        return f"<op {self.name}>"


OPS: dict[str, Op] = {}


def declare(op: Op) -> Op:
    """Enter an op in the registry `OPS`."""
    assert op.name not in OPS, op.name
    OPS[op.name] = op
    return op


def no_flops(inputs: Sequence[ArrayType], outputs: Sequence[ArrayType], attrs: Attrs) -> int:
    """The cost of an op that only moves or makes data."""
    return 0


def one_per_output(inputs: Sequence[ArrayType], outputs: Sequence[ArrayType], attrs: Attrs) -> int:
    """One operation for every element of the output."""
    return sum(t.size for t in outputs)


def one_per_input(inputs: Sequence[ArrayType], outputs: Sequence[ArrayType], attrs: Attrs) -> int:
    """One operation for every element of the first input."""
    return inputs[0].size
