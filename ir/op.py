"""What an op is: one declaration with its type rule, NumPy reference, derivative, cost and axes together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import wraps
from typing import TYPE_CHECKING, Any, Literal

from .halves import in_float32
from .types import Array, ArrayType, is_complex

if TYPE_CHECKING:
    from .builder import Builder
    from .complex_parts import Parts
    from .graph import Value
    from .user_kernel import UserKernel

Attrs = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where elements stand in memory: element i at `offset + sum(i * strides)`, counted in elements."""

    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


InferRule = Callable[..., "ArrayType | tuple[ArrayType, ...]"]
ReferenceRule = Callable[..., "Array | tuple[Array, ...]"]
VjpRule = Callable[..., "Value | Sequence[Value | NoDerivative | None] | None"]
FlopsRule = Callable[[Sequence[ArrayType], Sequence[ArrayType], Attrs], int]
AxisRule = Callable[[Sequence[ArrayType], ArrayType, Attrs], "Sequence[Sequence[int | None]]"]


BatchRule = Callable[[Attrs, int], Attrs]
ViewRule = Callable[[Layout, tuple[int, ...], Attrs], "Layout | None"]
WorkspaceRule = Callable[[Sequence[ArrayType], Sequence[ArrayType], Attrs], int]
PartsRule = Callable[["Builder", "Op", "Sequence[Value | Parts]", Attrs], "Sequence[Value | Parts]"]

Family = Literal[
    "elementwise",
    "creation",
    "movement",
    "reduction",
    "contraction",
    "convolution",
    "window",
    "indexing",
    "sorting",
    "linalg",
    "attention",
    "complex",
    "fourier",
    "scan",
    "control_flow",
    "collective",
    "region",
    "custom",
]
Fusion = Literal["never", "elementwise", "indexed", "reduction", "reshaping"]

# The attributes whose graphs are programs of their own, by the `body` of an op; asked of every node by every pass.
_BODIES = {"looped": ("body",), "repeated": ("body",), "chosen": ("true", "false")}


class Recompute(IntEnum):
    """What it costs to compute an output a second time. Known elsewhere as rematerialization cost."""

    NEVER = 0
    """It must not be: the op says so, or a second run would be another event."""
    COSTLY = 1
    """A kernel runs again."""
    CHEAP = 2
    """A fused loop computes it as it reads."""
    FREE = 3
    """It costs less than to load it: an array made from nothing, or a view."""


class TypeRuleError(TypeError):
    """The inputs or attributes of an op do not fit together."""


@dataclass(frozen=True)
class NoDerivative:
    """Instead of a cotangent: no formula of the derivative is known, and it is an error to ask for it."""

    reason: str
    """What has no known derivative, and in what."""


@dataclass(frozen=True, eq=False, slots=True)
class Op:
    """One primitive.

    Laws that a declaration must keep:

    - `infer(*input_types, **attrs)` gives the output type (a tuple of types where there are several outputs) or raises
      `TypeRuleError` naming shapes and dtypes.
    - `reference(*arrays, **attrs)` computes the same with NumPy, in exactly the inferred type.
    - `vjp(builder, cotangent, output, *inputs, **attrs)` gives the cotangent of every input (`None`: zero;
      `NoDerivative`: none is known). It is built of primitives that have a `vjp` themselves, so that derivatives of
      every order exist. An op without `vjp` is not differentiable and its inputs get zero; for ops on integers that is
      the right derivative.
    - `flops(input_types, output_types, attrs)` counts arithmetic.
    - `axes(input_types, output_type, attrs)` says for every input, and for every axis of the output, which axis of that
      input is *aligned* with it: element i along the one needs only element i along the other. `None`: it needs all.

    The traits after these say what passes and the runtime may do with the op. Each default is the safe answer: an op
    that declares no trait is compiled to the right numbers, only more slowly.

    - `view(layout, output_shape, attrs)`: the output is a window onto the memory of the input, which has this layout;
      the rule gives the output's, or None where no strides say it, and the elements have to be copied.
    - `is_stored`: the output lies in the program itself; nothing runs for it.
    - `only_moves`: each element of the output is one of an input, or a constant, bit for bit. Any other op computes
      bfloat16 in float32, and rounds each result once.
    - `is_exact`: the output of floats is never rounded: where the inputs are numbers of a narrower dtype, so is it.
    - `is_identity`: the output equals the first input, element by element.
    - `accepts_strides`: the kernel reads operands of any strides; otherwise each is copied where it is not contiguous.
    - `can_trap`: it may refuse what it reads, and stop the run. Nothing is overwritten before it has run.
    - `recompute`: what it costs to compute the output again.
    - `fusion`: how it may stand in the loops of a `region`. `elementwise`: an element of the output from one of each
      input. `indexed`: also from its place. `reduction`: over axes, of a full array or along a row. `reshaping`: axes
      of length 1 come and go, or a row's value is repeated along the row. `never`: it runs by itself.
    - `accumulates`: the number of the input that the output is a sum onto, and may be written over.
    - `changes`: the number of the input that the output is, but for some of its elements; it may be written over too.
    - `body`: how the graph `attrs["body"]` of a node runs. `once`: as one unit with what it reads. `tiled`:
      for each tile of scores that the op makes. `looped`: for each
      step of a sequence. `repeated`: as long as the first carry is true. `chosen`: there are two graphs, `true` and
      `false`, and the first input says which one runs.
    - `is_transcendental`: a vector function that takes about as long as ten additions an element, such as exp.
    - `is_axiswise`: it works along `attrs["axis"]`, on each line by itself; the output has the axes of the inputs, and
      no other attribute names an axis.
    - `batch(attrs, length)` gives the attributes with which the op does the same for each of `length` entries of a new
      first axis, of every input and of the output. Known elsewhere as a batching rule.
    - `workspace(input_types, output_types, attrs)` gives the bytes of scratch that each worker needs.
    - `parts(builder, op, inputs, attrs)` gives the outputs of the op on complex numbers by ops on their real and
      imaginary parts, see `complex_parts`. Without it the op refuses complex numbers.
    - `moves_to`: a plan for a GPU may run the op as a transfer to this memory, beside other units.
    - `on_ranks`: the op is what several ranks do together. The `same` comes out on each, or each has its `own`.
    - `kernel`: the function of a user's that computes the op; its options are the attribute `options`.
    """

    name: str
    family: Family
    infer: InferRule
    reference: ReferenceRule
    flops: FlopsRule
    axes: AxisRule
    vjp: VjpRule | None = None
    doc: str = ""
    view: ViewRule | None = None
    is_stored: bool = False
    only_moves: bool = False
    is_exact: bool = False
    is_identity: bool = False
    accepts_strides: bool = False
    can_trap: bool = True
    recompute: Recompute = Recompute.NEVER
    fusion: Fusion = "never"
    accumulates: int | None = None
    changes: int | None = None
    body: Literal["none", "once", "tiled", "looped", "repeated", "chosen"] = "none"
    is_transcendental: bool = False
    is_axiswise: bool = False
    batch: BatchRule | None = None
    workspace: WorkspaceRule | None = None
    parts: PartsRule | None = None
    moves_to: Literal["host", "device"] | None = None
    on_ranks: Literal["same", "own"] | None = None
    kernel: UserKernel | None = None

    @property
    def is_view(self) -> bool:
        """Whether the output is a window onto the memory of the input."""
        return self.view is not None

    @property
    def passes_elements(self) -> bool:
        """Whether the op itself computes no element: it moves them, or its bodies compute them."""
        return self.only_moves or self.body != "none"

    @property
    def is_elementwise(self) -> bool:
        """Whether every element of the output is computed from the elements of the inputs in its place."""
        return self.family == "elementwise"

    @property
    def begins_with(self) -> int | None:
        """The number of the input that the op begins with, to change it: the output may lie in its memory."""
        return self.changes if self.accumulates is None else self.accumulates

    @property
    def is_check(self) -> bool:
        """Whether the op leaves what it reads as it is, or stops the run."""
        return self.is_identity and self.can_trap

    @property
    def is_reduction(self) -> bool:
        """Whether the op combines the elements along axes to one, which are then gone."""
        return self.fusion == "reduction"

    @property
    def is_fusible(self) -> bool:
        """Whether a fused loop may begin with the op; what is `reshaping` only goes along with what reads it."""
        return self.fusion in ("elementwise", "indexed", "reduction")

    @property
    def is_generated(self) -> bool:
        """Whether the op makes an array from nothing, which costs less than to load it: every reader makes it anew."""
        return self.recompute is Recompute.FREE and not self.is_view

    @property
    def is_contraction(self) -> bool:
        """Whether the op sums products: matrix products, convolutions and their gradients."""
        return self.family in ("contraction", "convolution")

    @property
    def depends_on_place(self) -> bool:
        """Whether an element of a fused op depends on where it stands, or may stop the run there."""
        return self.fusion == "indexed" or self.is_check

    @property
    def is_scan(self) -> bool:
        """Whether the op is a loop, with the graph of one step as its `body`."""
        return self.body == "looped"

    @property
    def is_while(self) -> bool:
        """Whether the op is a loop that ends when its first carry is false, with an iteration as its `body`."""
        return self.body == "repeated"

    @property
    def is_loop(self) -> bool:
        """Whether the op runs its body again and again: new carries take the place of the old ones."""
        return self.is_scan or self.is_while

    @property
    def is_cond(self) -> bool:
        """Whether the op runs one of the graphs `true` and `false`."""
        return self.body == "chosen"

    @property
    def is_decided_at_run_time(self) -> bool:
        """Whether it is known only as a program runs how often the bodies of the op do."""
        return self.is_while or self.is_cond

    @property
    def is_tiled(self) -> bool:
        """Whether the op makes scores a tile at a time, and its `body` what it sums up of a tile."""
        return self.body == "tiled"

    @property
    def bodies(self) -> tuple[str, ...]:
        """The attributes whose graphs are programs of their own, with launches and an arena."""
        return _BODIES.get(self.body, ())

    @property
    def is_region(self) -> bool:
        """Whether the op is a fused loop, with what runs in it as its `body`."""
        return self.body == "once" and self.family == "region"

    @property
    def is_conv_region(self) -> bool:
        """Whether the op is a convolution with what is fused to it, both in its `body`."""
        return self.body == "once" and self.family == "convolution"

    @property
    def has_kernel(self) -> bool:
        """Whether something runs for the op: it is neither a view nor kept in the program."""
        return not (self.is_view or self.is_stored)

    def __call__(self, builder: Builder, *inputs: Value, **attrs: Any) -> Value:
        """Append this op to the graph under construction and return its only output."""
        return builder.emit(self, *inputs, **attrs)

    def __repr__(self) -> str:
        return f"<op {self.name}>"


OPS: dict[str, Op] = {}


def declare(op: Op) -> Op:
    """Enter an op in the registry `OPS`, with a reference that takes bfloat16, and a type rule that refuses complex
    numbers where the op has no rule for their parts.
    """
    assert op.name not in OPS, op.name
    if op.parts is None and op.body == "none":
        op = replace(op, infer=_of_real_numbers(op.infer))
    if not op.passes_elements:
        op = replace(op, reference=in_float32(op.infer, op.reference))
    OPS[op.name] = op
    return op


def _of_real_numbers(infer: InferRule) -> InferRule:
    @wraps(infer)
    def of_real_numbers(*types: ArrayType, **attrs: Any) -> ArrayType | tuple[ArrayType, ...]:
        for type in types:
            if is_complex(type.dtype):
                raise TypeRuleError(f"does not take complex numbers, got {type}; compute with x.real and x.imag")
        return infer(*types, **attrs)

    return of_real_numbers


def no_flops(inputs: Sequence[ArrayType], outputs: Sequence[ArrayType], attrs: Attrs) -> int:
    """The cost of an op that only moves or makes data."""
    return 0


def one_per_output(inputs: Sequence[ArrayType], outputs: Sequence[ArrayType], attrs: Attrs) -> int:
    """One operation for every element of the output."""
    return sum(t.size for t in outputs)


def one_per_input(inputs: Sequence[ArrayType], outputs: Sequence[ArrayType], attrs: Attrs) -> int:
    """One operation for every element of the first input."""
    return inputs[0].size


def same_attrs(attrs: Attrs, length: int) -> Attrs:
    """The batching rule of an op whose attributes name no axes."""
    return attrs


def later_axis(attrs: Attrs, length: int) -> Attrs:
    """The batching rule of an op along `axis`, or over `axes`, without other attributes that name axes."""
    if "axes" in attrs:
        return {**attrs, "axes": tuple(a + 1 for a in attrs["axes"])}
    return {**attrs, "axis": attrs["axis"] + 1}
