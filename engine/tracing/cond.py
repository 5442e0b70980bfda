"""`cond`: one of two functions runs, as a flag says that is known only as the program runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optree

from ...ir import DType, Graph, Value
from ...ir.ops import elementwise as ew
from ...ir.ops.control_flow import cond as cond_op
from ..array_api.broadcasting import described, dtype_of, shape_of
from .arrays import leaf_array
from .carries import check_function, is_weak, leaf_name, result
from .keywords import tells_keywords
from .trace import trace_with_structure
from .tracer import ShapeError, Trace, Tracer, TracingError, current_trace, located


@tells_keywords
def cond(pred: Any, true_fun: Callable[..., Any], false_fun: Callable[..., Any], *operands: Any) -> Any:
    """`true_fun(*operands)` where the scalar `pred` is true, else `false_fun(*operands)`; the other one does not run.

    Both return pytrees of one structure, with the same shapes and dtypes; a Python number that one returns takes the
    dtype that the other one gives. Operands are pytrees of anything; both may read traced arrays from around them too,
    and draw random numbers. A `pred` that is a number is true where it is not 0.

    In a program it is one node, which has derivatives of every order; outside, it computes at once, with NumPy. Raises
    `TracingError` or `ShapeError` where the results are not alike, or where `pred` is no scalar. Known from JAX as
    `jax.lax.cond`.
    """
    for name, function in (("true_fun", true_fun), ("false_fun", false_fun)):
        check_function("cond", name, function, "gl.cond(pred, f, g, x)")
    trace = current_trace()
    if trace is None:

        def whole(pred: Any, operands: Any) -> Any:
            return cond(pred, true_fun, false_fun, *operands)

        return trace_with_structure(whole, pred, operands)(pred, operands)
    flag = _flag(trace, pred)
    with Trace(trace) as of_true:
        true = _Results(true_fun(*operands))
        with Trace(trace) as of_false:
            false = _Results(false_fun(*operands))
            dtypes = _common_dtypes(true, false)
            results = [of_true.lift(leaf) for leaf in true.typed(of_true, dtypes)]
            others = [of_false.lift(leaf) for leaf in false.typed(of_false, dtypes)]
    captured = list(dict.fromkeys((*of_true.captures, *of_false.captures)))
    graphs = {"true": _graph(of_true, captured, results), "false": _graph(of_false, captured, others)}
    node = trace.emit_node(cond_op, flag.value, *captured, **graphs)
    return optree.tree_unflatten(true.tree, [Tracer(trace, value) for value in node.outputs])


def _flag(trace: Trace, pred: Any) -> Tracer:
    """The predicate as a bool scalar of the program."""
    array = leaf_array(pred)
    if array.shape != ():
        advice = "np.where chooses element by element"
        raise TracingError(located(f"cond: pred is a scalar, got {described(array)}; {advice}"))
    lifted = Tracer(trace, trace.lift(array))
    return lifted if lifted.dtype == np.dtype("bool") else lifted != 0


class _Results:
    """What one of the two functions returned."""

    def __init__(self, returned: Any) -> None:
        self.paths, leaves, self.tree = optree.tree_flatten_with_path(returned)
        self.leaves = [leaf if is_weak(leaf) else result(leaf, "cond: a branch") for leaf in leaves]

    def typed(self, trace: Trace, dtypes: Sequence[DType]) -> list[Any]:
        """The leaves in the program of this function, Python numbers as arrays of these dtypes."""
        return [
            leaf
            if not is_weak(leaf)
            else Tracer(trace, trace.emit_node(ew.cast, trace.lift(leaf), dtype=dtype).output)
            if isinstance(leaf, Tracer)
            else np.asarray(leaf, dtype)
            for leaf, dtype in zip(self.leaves, dtypes)
        ]


def _common_dtypes(true: _Results, false: _Results) -> list[DType]:
    """The dtypes of the results, once it is seen that both functions return the same types."""
    if true.tree != false.tree:
        raise TracingError(located(f"cond: true_fun returns {true.tree}, but false_fun returns {false.tree}"))
    dtypes: list[DType] = []
    for path, x, y in zip(true.paths, true.leaves, false.leaves):
        name = leaf_name("the result", path)
        differ = f"cond: {name} is {described(x)} from true_fun, but {described(y)} from false_fun"
        if shape_of(x) != shape_of(y):
            raise ShapeError(located(differ))
        if not is_weak(x) and not is_weak(y) and x.dtype != y.dtype:
            raise TracingError(located(f"{differ}; return .astype({str(x.dtype)!r})"))
        dtypes.append(
            np.result_type(dtype_of(x), dtype_of(y)) if is_weak(x) and is_weak(y) else dtype_of(y if is_weak(x) else x)
        )
    return dtypes


def _graph(trace: Trace, captured: Sequence[Value], results: Sequence[Value]) -> Graph:
    """The graph of a branch, which is given all that is `captured`."""
    inputs = [trace.captures.get(v) or Value(v.type, name=v.name) for v in captured]
    return Graph(inputs, trace.builder.nodes, results)
