"""What is computed of scores, (..., rows, columns), as the body of a node that makes them a tile at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...ir import ArrayType, Builder, Graph, Node, Value
from ...ir.ops import contraction, creation, movement
from ...ir.ops import elementwise as ew
from ...ir.types import FLOAT32, is_half

MOST_DEPTH = 128
"""The most terms of a score, and columns of what scores are multiplied by."""

Axes = tuple["int | None", ...]
"""For each axis of a value the axis of scores that it goes along; None where it has one entry."""


class NotScores(Exception):
    """Something is not computed of scores element by element."""


@dataclass(frozen=True, slots=True)
class Matrix:
    """A value whose axes, in the order `perm`, are (..., rows, columns)."""

    value: Value
    perm: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Its lengths in that order."""
        return tuple(self.value.type.shape[a] for a in self.perm)

    def turned(self) -> Matrix:
        """The transposed matrices."""
        *lead, rows, columns = self.perm
        return Matrix(self.value, (*lead, columns, rows))

    def narrow(self) -> Matrix:
        """The matrices before they were widened to be multiplied: bfloat16 is widened where it is read."""
        node = self.value.node
        widened = node is not None and node.op is ew.cast and is_half(node.inputs[0].type.dtype)
        wide = self.value.type.dtype == FLOAT32
        return Matrix(node.inputs[0], self.perm) if node is not None and widened and wide else self

    def emit(self, b: Builder, value: Value) -> Value:
        """The matrices, of what stands for the value."""
        straight = self.perm == tuple(range(len(self.perm)))
        return value if straight else b.emit(movement.transpose, value, perm=self.perm)


def matrices_of(node: Node) -> tuple[Matrix, Matrix] | None:
    """The operands (..., m, k) and (..., k, n) of a product (..., m, n); None of any other node."""
    if node.op is not contraction.dot or any(len(axes) != 1 for axes in node.attrs["contract"]):
        return None
    found: list[tuple[int, ...]] = []
    for value, (axis,), batch in zip(node.inputs, node.attrs["contract"], node.attrs["batch"]):
        free = [a for a in range(value.type.ndim) if a != axis and a not in batch]
        if len(free) != 1:
            return None
        found.append((*batch, free[0], axis))
    x, y = (Matrix(value, perm) for value, perm in zip(node.inputs, found))
    return x, y.turned()


def is_score_product(node: Node, shape: tuple[int, ...]) -> bool:
    """Whether a node is a product of this shape, of few terms."""
    found = matrices_of(node) if node.outputs[0].type.shape == shape else None
    return found is not None and 0 < found[0].shape[-1] <= MOST_DEPTH


class ScoreBody:
    """The body that makes some values of scores of `shape`: of `products`, and of `operands`, each a value with the
    axes that it goes along. What is made of no input is made inside: positions, masks of these, random bits.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.whole: Axes = tuple(range(len(shape)))
        self.b = Builder()
        self.products: dict[Node, Value] = {}
        self.operands: dict[tuple[Value, Axes | None], Value] = {}
        self.made: dict[tuple[Value, Axes], Value] = {}
        self.weights: Value | None = None
        self.scaled: set[Value] = set()
        self.first: list[Value] = []

    def add(self, value: Value) -> None:
        """Make a value of the graph in the body."""
        self.of(value, self.whole)

    def begin_weights(self, scores: Value, exp: Value, scaled: set[Value]) -> None:
        """Scores are the first result, and from now on their exponential is an input of the body; what only scales its
        rows is left out.
        """
        self.first = [self.made[scores, self.whole]]
        self.weights = self.made[exp, self.whole] = Value(exp.type)
        self.scaled = scaled

    def reads(self) -> list[Value]:
        """The values of the graph that the body reads."""
        return [*(v for node in self.products for v in node.inputs), *(v for v, _ in self.operands)]

    def pairs(self) -> list[Matrix]:
        """Left and right operands of the products."""
        return [m.narrow() for node in self.products for m in matrices_of(node) or ()]

    def results(self, results: Sequence[Value]) -> list[Value]:
        """Values of the body that have the dtype of all its sums: products, and what is summed up."""
        return [*self.products.values(), *self.first, *(self.made[v, self.whole] for v in results)]

    def graph(self, results: Sequence[Value]) -> tuple[Graph, tuple[int, ...]]:
        """The body, and the number of its output for each of the values `results`."""
        outputs = list(self.first)
        numbers: list[int] = []
        for value in (self.made[v, self.whole] for v in results):
            if value not in outputs:
                outputs.append(value)
            numbers.append(outputs.index(value))
        weights = [] if self.weights is None else [self.weights]
        inputs = [*self.products.values(), *self.operands.values(), *weights]
        return Graph(inputs, self.b.nodes, outputs), tuple(numbers)

    def view(self, b: Builder, value: Value, axes: Axes | None) -> Value:
        """An operand as a view of the shape of scores."""
        if axes is None or (axes == self.whole and value.type.shape == self.shape):
            return value
        along = [a for a in axes if a is not None]
        if len(along) < len(axes):
            value = b.emit(
                movement.reshape, value, shape=tuple(n for n, a in zip(value.type.shape, axes) if a is not None)
            )
        order = sorted(range(len(along)), key=along.__getitem__)
        if order != list(range(len(along))):
            value = b.emit(movement.transpose, value, perm=tuple(order))
        return b.emit(movement.broadcast, value, shape=self.shape, axes=tuple(sorted(along)))

    # ---- a value along some axes of scores, as an element of each

    def of(self, value: Value, axes: Axes) -> Value:
        """The value of the body that is `value`, repeated along all axes that it does not have."""
        key = (value, axes)
        if key not in self.made:
            self.made[key] = self._made(value, axes)
        return self.made[key]

    def _made(self, value: Value, axes: Axes) -> Value:
        node = value.node
        if node is None:
            return self.operand(value, axes)
        attrs = node.attrs
        with self.b.at(node.origin):
            match node.op:
                case contraction.dot if axes == self.whole and is_score_product(node, self.shape):
                    return self.products.setdefault(node, Value(value.type))
                case creation.full:
                    return self.b.full(attrs["value"], ArrayType(self.shape, value.type.dtype))
                case creation.iota if axes[attrs["axis"]] is None:
                    return self.b.full(0, ArrayType(self.shape, value.type.dtype))
                case creation.iota:
                    return self.b.emit(node.op, shape=self.shape, axis=axes[attrs["axis"]], dtype=value.type.dtype)
                case creation.random_bits if axes == self.whole:
                    return self.b.emit(node.op, *(self.scalar(v) for v in node.inputs), **attrs)
                case movement.broadcast:
                    along = tuple[int, ...](attrs["axes"])
                    return self.of(node.inputs[0], tuple(axes[a] for a in along))
                case movement.transpose:
                    perm = tuple[int, ...](attrs["perm"])
                    return self.of(node.inputs[0], tuple(axes[perm.index(i)] for i in range(len(axes))))
                case movement.reshape if (found := self.through_reshape(node, axes)) is not None:
                    return self.of(node.inputs[0], found)
                case _ if node.op.is_elementwise and not node.op.is_check and self.is_score_like(value, axes):
                    if value in self.scaled:
                        return self.of(node.inputs[0], axes)
                    inputs = [self.of(v, axes) for v in node.inputs]
                    attrs = {**attrs, "shape": self.shape} if "shape" in attrs else attrs
                    return self.b.emit(node.op, *inputs, **attrs)
                case _:
                    return self.operand(value, axes)

    def is_score_like(self, value: Value, axes: Axes) -> bool:
        """Whether a value goes along rows and columns, or is made of nothing: computed outside it would be stored."""
        rows = len(self.shape) - 2
        return {rows, rows + 1} <= set(axes) or _is_from_nothing(value)

    def through_reshape(self, node: Node, axes: Axes) -> Axes | None:
        """The axes of the input of a reshape that only adds or drops axes of length 1."""
        old, new = node.inputs[0].type.shape, node.output.type.shape
        if [n for n in old if n != 1] != [n for n in new if n != 1]:
            return None
        left = iter(a for n, a in zip(new, axes) if n != 1)
        return tuple(next(left) if n != 1 else None for n in old)

    def operand(self, value: Value, axes: Axes) -> Value:
        """An input of the body."""
        # An axis of length 1 goes along whatever axis it stands for: nothing distinguishes the two.
        axes = tuple(
            None if n == 1 and a is not None and self.shape[a] != 1 else a for n, a in zip(value.type.shape, axes)
        )
        return self.operands.setdefault((value, axes), Value(ArrayType(self.shape, value.type.dtype)))

    def scalar(self, value: Value) -> Value:
        """An input of the body that is one number."""
        return self.operands.setdefault((value, None), Value(value.type))


def _is_from_nothing(value: Value) -> bool:
    """Whether a small expression makes a value of no input."""
    stack, seen = [value], 0
    while stack:
        node = stack.pop().node
        seen += 1
        if node is None or seen > 32 or not (node.op.is_elementwise or node.op.is_view or node.op.is_generated):
            return False
        stack += node.inputs
    return True
