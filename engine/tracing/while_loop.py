"""`while_loop`: a loop that ends when its own carry says so, whose body is traced once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...ir import ArrayType, Graph, Value
from ...ir.ops.control_flow import while_loop as while_op
from ..array_api.broadcasting import described
from .carries import Carry, check_function, with_types
from .keywords import tells_keywords
from .random import keys as stream_keys
from .trace import trace_with_structure
from .tracer import Trace, Tracer, TracingError, as_array, current_trace, located

_KEY = ArrayType((), np.dtype("int64"))


@tells_keywords
def while_loop(cond_fun: Callable[[Any], Any], body_fun: Callable[[Any], Any], init_val: Any) -> Any:
    """`val = body_fun(val)` as long as `cond_fun(val)` is true, beginning with `init_val`: the value it ends with.

    The value is a pytree that keeps its structure, shapes and dtypes; a Python number in `init_val` takes the dtype
    that `body_fun` gives it. `cond_fun` returns a bool scalar. Both may read traced arrays from around them, the same
    in every iteration, and draw random numbers, others in every iteration.

    In a program it is one node, which runs in the same native call as all else; outside, it computes at once, with
    NumPy. Its derivative in reverse mode raises `ValueError`: the iterations are not counted before it runs. `scan` and
    `fori_loop` have one. Raises `ShapeError` or `TracingError` where the value changes its type, or where `cond_fun`
    gives no bool scalar. Known from JAX as `jax.lax.while_loop`.
    """
    for name, function in (("cond_fun", cond_fun), ("body_fun", body_fun)):
        check_function("while_loop", name, function, "gl.while_loop(lambda x: x < 9, lambda x: 2 * x, 1.0)")
    trace = current_trace()
    if trace is None:

        def whole(init_val: Any) -> Any:
            return while_loop(cond_fun, body_fun, init_val)

        return trace_with_structure(whole, init_val)(init_val)
    init_val = with_types(init_val, trace, *_probe(trace, body_fun))
    carry = Carry(trace, init_val, "while_loop", "body_fun")
    begins = _flag(trace, cond_fun(carry.whole(carry.starts)))
    body = Trace(trace)
    keys: list[tuple[Tracer, Tracer]] = []

    def key(around: stream_keys.Keyed) -> Tracer:
        keys.append((stream_keys.next_key(around, trace), Tracer(body, Value(_KEY))))
        return keys[0][1]

    with body, stream_keys.key_when_drawn(key):
        after = carry.leaves(body_fun(carry.whole(carry.inside(body))))
        goes_on = _flag(body, cond_fun(carry.whole(after)))
        results = [goes_on.value, *map(body.lift, after)]
        if keys:
            # The last draw of an iteration is the key of the next one.
            results.append(stream_keys.draw_key().value)
    carries = [Value(goes_on.value.type), *carry.values, *(inside.value for _, inside in keys)]
    starts = [begins, *carry.starts, *(start for start, _ in keys)]
    node = trace.emit_node(
        while_op,
        *body.captures,
        *(x.value for x in starts),
        body=Graph([*body.captures.values(), *carries], body.builder.nodes, results),
        consts=len(body.captures),
    )
    return carry.whole([Tracer(trace, value) for value in node.outputs[1 : 1 + len(carry.starts)]])


def _probe(trace: Trace, body_fun: Callable[[Any], Any]) -> tuple[Trace, Callable[[Any], Any]]:
    """A body to write an iteration in that shows its dtypes, and what writes it."""
    body = Trace(trace)

    def step(val: Any) -> Any:
        with stream_keys.key_when_drawn(lambda _: Tracer(body, Value(_KEY))):
            return body_fun(val)

    return body, step


def _flag(trace: Trace, flag: Any) -> Tracer:
    """What `cond_fun` returned, as a bool scalar of the program."""
    given = flag if isinstance(flag, (Tracer, np.ndarray, np.generic, bool, int, float)) else None
    array = given if isinstance(given, Tracer) else None if given is None else as_array(given)
    if array is None or array.shape != () or array.dtype != np.dtype("bool"):
        came = type(flag).__name__ if array is None else described(array)
        raise TracingError(
            located(f"while_loop: cond_fun returns a bool scalar, such as x < 3 of a scalar x, got {came}")
        )
    return Tracer(trace, trace.lift(array))
