"""Recognizing attention: a softmax of scores, what is linear in it, and sums of its backward that need no scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ...ir import Node, Op, Value, is_float
from ...ir.ops import contraction, creation, movement, reduction
from ...ir.ops import elementwise as ew
from ...ir.ops.attention import Over
from .score_body import MOST_DEPTH, Matrix, is_score_product, matrices_of


@dataclass(eq=False)
class ScoreSum:
    """What stands for `node`: a sum of the scores `result` over columns or rows, times a matrix if there is one.

    It is `turned` where the node makes the transposed matrices. Of what is made of a softmax, `way` are the nodes that
    lead from its exponential to the scores; those of them that only scale rows may as well scale the result.
    """

    node: Node
    result: Value
    over: Over
    matrix: Matrix | None = None
    turned: bool = False
    way: tuple[Node, ...] = ()

    @property
    def scaled(self) -> list[Node]:
        """The nodes of the way that scale rows."""
        return [node for node in self.way if scales_rows(node)]


@dataclass(frozen=True)
class Softmax:
    """exp(scores - largest) and its `total` along rows; `sums` are products of what is made of that."""

    exp: Node
    scores: Value
    largest: Node
    total: Node
    sums: Sequence[ScoreSum]


def softmax_at(exp: Node, users: Mapping[Value, list[Node]]) -> Softmax | None:
    """The softmax whose exponential a node is, if it is one of scores that become attention."""
    if exp.op is not ew.exp or exp.output.type.ndim < 2 or exp.output.type.dtype.itemsize < 4:
        return None
    shifted = exp.inputs[0].node
    if shifted is None or shifted.op is not ew.sub or not exp.output.type.size:
        return None
    scores, top = shifted.inputs
    row = _row_of(top)
    largest = None if row is None else _largest_of(row, scores)
    last = exp.output.type.ndim - 1
    totals = [n for n in users[exp.output] if n.op is reduction.reduce_sum and n.attrs["axes"] == (last,)]
    if largest is None or len(totals) != 1:
        return None
    sums = _weighted(exp, users)
    # Without a product in the forward it is that of a batch whose forward is not asked for, or no attention.
    return Softmax(exp, scores, largest, totals[0], sums) if sums or scores.type.ndim > 2 else None


def _row_of(value: Value) -> Value | None:
    """What a value repeats along its last axis, or None."""
    node, last = value.node, value.type.ndim - 1
    if node is None or node.op is not movement.broadcast:
        return None
    return node.inputs[0] if last not in node.attrs["axes"] else None


def _largest_of(row: Value, scores: Value) -> Node | None:
    """The node that finds the largest score of each row, if a row value is that, or 0 where that is -inf."""
    node = row.node
    if node is None:
        return None
    if node.op is reduction.reduce_max:
        return node if node.inputs[0] is scores and node.attrs["axes"] == (scores.type.ndim - 1,) else None
    if node.op is movement.reshape or (node.op.is_identity and not node.op.is_check):
        return _largest_of(node.inputs[0], scores)
    if node.op is not ew.select:
        return None
    condition, chosen, otherwise = node.inputs
    largest = _largest_of(otherwise, scores)
    compared = condition.node
    if largest is None or not is_constant(chosen, 0.0) or compared is None or compared.op is not ew.eq:
        return None
    sides = compared.inputs
    one = next((v for v in sides if not is_constant(v, float("-inf"))), None)
    other = any(is_constant(v, float("-inf")) for v in sides)
    return largest if other and one is not None and _largest_of(one, scores) is largest else None


def is_constant(value: Value, number: float) -> bool:
    """Whether all elements of a value are this number."""
    while value.node is not None and value.node.op in (movement.broadcast, movement.reshape):
        value = value.node.inputs[0]
    return value.node is not None and value.node.op is creation.full and value.node.attrs["value"] == number


def _weighted(exp: Node, users: Mapping[Value, list[Node]]) -> list[ScoreSum]:
    """Products of what is linear in the exponential; what scales its rows may as well scale theirs."""
    depends: set[Value] = set()
    stack = [exp.output]
    while stack:
        value = stack.pop()
        if value not in depends:
            depends.add(value)
            stack += [v for node in users[value] for v in node.outputs]
    found: list[ScoreSum] = []
    ways: list[tuple[Value, tuple[Node, ...]]] = [(exp.output, ())]
    while ways:
        value, way = ways.pop()
        for node in users[value]:
            if node.op is contraction.dot:
                one = product_with(node, value)
                if one is not None and one.over == "columns" and one.matrix and one.matrix.value not in depends:
                    found.append(replace(one, way=way))
            elif (scales_rows(node) and node.inputs[0] is value) or _is_linear(node, value, depends):
                ways.append((node.output, (*way, node)))
    return found


def product_with(node: Node, scores: Value) -> ScoreSum | None:
    """A product of scores and a matrix as a sum over columns or rows; None where it is none, or of wide matrices."""
    operands = matrices_of(node)
    sides = [] if operands is None else [i for i, m in enumerate(operands) if m.value is scores]
    if operands is None or len(sides) != 1:
        return None
    turned = sides == [1]
    # A product (..., n, rows or columns) is the transposed one of scores and a transposed matrix.
    left, right = (operands[1].turned(), operands[0].turned()) if turned else operands
    lead, last = tuple(range(len(left.perm) - 2)), len(left.perm) - 1
    if left.perm[:-2] != lead or right.shape[-1] > MOST_DEPTH:
        return None
    return ScoreSum(node, scores, "columns" if left.perm[-1] == last else "rows", right, turned)


def scales_rows(node: Node) -> bool:
    """Whether a node multiplies or divides rows of its first input."""
    return node.op in (ew.div, ew.mul) and _row_of(node.inputs[1]) is not None


def _is_linear(node: Node, value: Value, depends: set[Value]) -> bool:
    """Whether the output of a node is 0 where `value` is, and twice as large where that is."""
    others = [v for v in node.inputs if v is not value]
    if any(v in depends for v in others) or node.outputs[0].type.shape != value.type.shape:
        return False
    if node.op is ew.select:
        return node.inputs[0] is not value and all(is_constant(v, 0.0) for v in node.inputs[1:] if v is not value)
    if node.op is ew.cast:
        return is_float(node.output.type.dtype)
    return node.op in (ew.mul, ew.neg, ew.copy) or (node.op is ew.div and node.inputs[0] is value)


# ---- sums of products of gradients and results


Factor = tuple["Op | None", "Value | None", int]
"""What an element is multiplied by: an op, its other operand, and which input of the node is the element."""


@dataclass(frozen=True)
class RowProduct:
    """sum over columns of (g @ v^T) * w -> row sums of g * (w @ v), as for `node`: `result` is the sum that makes
    w @ v, and `gradient` is g. What rows are still to be multiplied by are the `factors`.

    Known elsewhere as the delta of flash attention's backward.
    """

    node: Node
    gradient: Matrix
    result: ScoreSum
    factors: Sequence[Factor]


def row_product(one: ScoreSum, softmax: Softmax) -> RowProduct | None:
    """A sum of the backward as one that needs no scores, where it is."""
    if one.matrix is not None or one.over != "columns":
        return None
    for result in softmax.sums:
        for product, factors in _as_product(one.result, (), 16):
            x, y = matrices_of(product) or (None, None)
            if x is None or y is None or y.turned() != result.matrix:
                continue
            values = [softmax.exp.output, *(node.output for node in result.way)]
            for i, value in enumerate(values):
                left = _without([*factors], [(ew.mul, value, 0), *_factors_of(values[i:], result.way[i:])])
                if left is not None and all(map(_scales_rows, left)):
                    return RowProduct(one.node, x, result, left)
    return None


def _as_product(value: Value, factors: tuple[Factor, ...], steps: int) -> list[tuple[Node, tuple[Factor, ...]]]:
    """The products of matrices that an element is a multiple of, with all factors."""
    node = value.node
    if node is None or steps == 0:
        return []
    if is_score_product(node, value.type.shape):
        return [(node, factors)]
    found: list[tuple[Node, tuple[Factor, ...]]] = []
    for i in range(len(node.inputs)):
        factor = _factor(node, i)
        if factor is not None:
            more = factors if factor[0] is None else (*factors, factor)
            found += _as_product(node.inputs[i], more, steps - 1)
    return found


def _factor(node: Node, i: int) -> Factor | None:
    """What a node multiplies its input number `i` by; an op of None where it only rounds it; None of any other node."""
    if (node.op is ew.cast and is_float(node.inputs[0].type.dtype)) or node.op is ew.copy:
        return None, None, 0
    if node.op is ew.neg:
        return ew.neg, None, 0
    if node.op is ew.mul or (node.op is ew.div and i == 0):
        return node.op, node.inputs[1 - i], 0
    if node.op is ew.select and i > 0 and is_constant(node.inputs[3 - i], 0.0):
        return ew.select, node.inputs[0], i
    return None


def _factors_of(values: Sequence[Value], way: Sequence[Node]) -> list[Factor]:
    """The factors of the nodes of a way, each of which reads one of the values."""
    found = [_factor(node, node.inputs.index(value)) for value, node in zip(values, way)]
    return [f for f in found if f is not None and f[0] is not None]


def _without(factors: list[Factor], taken: Sequence[Factor]) -> list[Factor] | None:
    """The factors that are left when some are taken away, None where these are not all there."""
    for factor in taken:
        if factor not in factors:
            return None
        factors.remove(factor)
    return factors


def _scales_rows(factor: Factor) -> bool:
    """Whether a factor is the same in all of a row."""
    op, value, _ = factor
    if value is None:
        return True
    constant = value.node is not None and value.node.op is creation.full
    return op is not ew.select and (constant or _row_of(value) is not None)
