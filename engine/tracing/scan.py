"""`scan`: a loop over the steps of a sequence, whose body is traced once however many steps there are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import optree

from ...ir import ArrayType, Graph, Value
from ...ir.ops.scan import scan as scan_op
from .. import array_api as xp
from ..array_api.broadcasting import integer
from .carries import Carry, leaf_name, result, traced, with_types
from .debug import PrintedLoop, printed_values
from .keywords import tells_keywords
from .random import keys as stream_keys
from .trace import trace_with_structure
from .tracer import ShapeError, Trace, Tracer, TracingError, current_trace, located

Step = Callable[[Any, Any], tuple[Any, Any]]


@tells_keywords
def scan(
    f: Step, init: Any, xs: Any = None, length: int | None = None, reverse: bool = False, unroll: int | bool = 1
) -> tuple[Any, Any]:
    """`carry, y = f(carry, x)` for every step `x` of `xs`, beginning with the carry `init`: the last carry and all `y`.

    All are pytrees, as in JAX: step t takes `x[t]` of every leaf of `xs` and gives `ys[t]`; with `reverse` the last
    step comes first. Without `xs` there are `length` steps, and `f` is given `None`. The carry keeps its structure,
    shapes and dtypes; a Python number in `init` takes the dtype that `f` gives it. `f` may read traced arrays from
    around it, the same in every step, and draw random numbers, others in every step. Up to `unroll` steps, as many as
    divide the length, are written out one after another in each iteration of the loop; with `True` all.

    In a program it is one node. Outside, it computes at once, with NumPy. Raises `ShapeError` or `TracingError` where
    the carry changes, or where the lengths do not fit.
    """
    if not callable(f):
        raise TypeError(located(f"scan: f is a function of a carry and a step, got {type(f).__name__}"))
    trace = current_trace()
    if trace is None:

        def whole(init: Any, xs: Any) -> tuple[Any, Any]:
            return scan(f, init, xs, length, reverse, unroll)

        return trace_with_structure(whole, init, xs)(init, xs)
    loop = _Loop(trace, f, xs, length, reverse, unroll)
    return loop.run(loop.with_types(init))


@tells_keywords
def fori_loop(lower: int, upper: int, body_fun: Callable[[Any, Any], Any], init_val: Any) -> Any:
    """`val = body_fun(i, val)` for i from `lower` to `upper` - 1, beginning with `init_val`; i is a traced int64.

    The value is a pytree that keeps its structure, shapes and dtypes, see `scan`. The bounds are Python integers.
    """
    first, last = integer(lower, "a bound of fori_loop"), integer(upper, "a bound of fori_loop")
    value, _ = scan(lambda val, i: (body_fun(i, val), None), init_val, np.arange(first, max(first, last)))
    return value


class _Loop:
    """One call of `scan` in `trace`: its steps, and what they read."""

    def __init__(self, trace: Trace, f: Step, xs: Any, length: int | None, reverse: bool, unroll: int | bool) -> None:
        self.trace = trace
        self.f = f
        self.reverse = bool(reverse)
        paths, leaves, self.tree = optree.tree_flatten_with_path(xs)
        self.xs = [traced(trace, leaf) for leaf in leaves]
        self.length = self._length([leaf_name("xs", path) for path in paths], length)
        self.width = self._width(unroll)

    def _length(self, names: list[str], given: int | None) -> int:
        lengths: list[tuple[str, int]] = []
        if given is not None:
            lengths.append(("length", integer(given, "scan: the length")))
            if lengths[0][1] < 0:
                raise ShapeError(located(f"scan: a length is 0 or more, got {given}"))
        for name, x in zip(names, self.xs):
            if not x.shape:
                advice = "f can read what is the same in every step from around it"
                raise ShapeError(located(f"scan: {name} is a scalar and has no steps; {advice}"))
            lengths.append((name, x.shape[0]))
        if not lengths:
            raise TracingError(located("scan: xs holds no arrays, so the number of steps is needed: length=10"))
        if len({steps for _, steps in lengths}) > 1:
            listed = ", ".join(f"{name} {steps}" for name, steps in lengths)
            raise ShapeError(located(f"scan: the first axis of every array is the steps, but the lengths are {listed}"))
        return lengths[0][1]

    def _width(self, unroll: int | bool) -> int:
        """How many steps an iteration of the loop does."""
        most = int(unroll) * self.length if isinstance(unroll, bool) else integer(unroll, "scan: unroll")
        if most < 1 and not isinstance(unroll, bool):
            raise ValueError(located(f"scan: unroll is 1 or more, or a bool, got {unroll}"))
        return max((n for n in range(1, min(most, self.length) + 1) if self.length % n == 0), default=1)

    def with_types(self, init: Any) -> Any:
        """`init` with arrays for the Python numbers in it, of the dtypes that a step gives them."""
        body = _Body(self)
        return with_types(init, self.trace, body.trace, lambda carry: body.step(carry, 0)[0])

    def run(self, init: Any) -> tuple[Any, Any]:
        """The last carry, and all that the steps gave beside it."""
        carry = Carry(self.trace, init, "scan", "f")
        start, carries = carry.starts, carry.values
        body = _Body(self)
        current = carry.inside(body.trace)
        given: list[list[Any]] = []
        y_tree: Any = None
        with body.trace:
            for place in reversed(range(self.width)) if self.reverse else range(self.width):
                after, y = body.step(carry.whole(current), place)
                current = carry.leaves(after)
                ys, y_tree = optree.tree_flatten(y)
                given.append([result(leaf, "scan: f") for leaf in ys])
            if self.reverse:
                given.reverse()
            ys = [_stacked(parts) for parts in zip(*given)]
            prints = body.trace.prints or []
            results = [*(body.trace.lift(leaf) for leaf in (*current, *ys)), *printed_values(prints)]
        consts = body.trace.captures
        inputs = [*consts.values(), *carries, *(x.value for x in body.inputs)]
        node = self.trace.emit_node(
            scan_op,
            *consts,
            *(x.value for x in start),
            *(self._by_turns(x).value for x in body.sequences),
            body=Graph(inputs, body.trace.builder.nodes, results),
            consts=len(consts),
            carries=len(start),
            length=self.length // self.width,
            reverse=self.reverse,
        )
        if self.trace.precision is not None:
            for y, of_step in zip(node.outputs[len(start) :], results[len(start) :]):
                self.trace.precision.stands_for(y, of_step)
        outputs = [Tracer(self.trace, value) for value in node.outputs]
        end = len(start) + len(ys)
        stacks = [self._by_steps(y) for y in outputs[len(start) : end]]
        if prints and self.trace.prints is not None:
            turns = self.length // self.width
            self.trace.prints.append(PrintedLoop(tuple(prints), turns, self.reverse, node.outputs[end:]))
        return carry.whole(outputs[: len(start)]), optree.tree_unflatten(y_tree, stacks)

    def _by_turns(self, x: Tracer) -> Tracer:
        return x if self.width == 1 else xp.reshape(x, (-1, self.width, *x.shape[1:]))

    def _by_steps(self, y: Tracer) -> Tracer:
        return y if self.width == 1 else xp.reshape(y, (self.length, *y.shape[2:]))


class _Body:
    """The body of a loop while it is written: `sequences` are what it reads step by step, `inputs` their slices."""

    def __init__(self, loop: _Loop) -> None:
        self.loop = loop
        self.trace = Trace(loop.trace)
        self.trace.prints = []
        self.sequences: list[Tracer] = []
        self.inputs: list[Tracer] = []
        for x in loop.xs:
            self._read(x)
        self._keys: list[Tracer] = []

    def _read(self, x: Tracer) -> Tracer:
        shape = x.shape[1:] if self.loop.width == 1 else (self.loop.width, *x.shape[1:])
        self.sequences.append(x)
        self.inputs.append(Tracer(self.trace, Value(ArrayType(shape, x.dtype), name=x.value.name)))
        if self.trace.precision is not None:
            self.trace.precision.stands_for(self.inputs[-1].value, x.value)
        return self.inputs[-1]

    def step(self, carry: Any, place: int) -> tuple[Any, Any]:
        """`f` for step `place` of an iteration."""
        loop = self.loop
        x = optree.tree_unflatten(loop.tree, [self._at(part, place) for part in self.inputs[: len(loop.xs)]])
        with stream_keys.key_when_drawn(lambda around: self._key(around, place)):
            result = loop.f(carry, x)
        if not isinstance(result, tuple) or len(result) != 2:
            came = f"a tuple of {len(result)}" if isinstance(result, tuple) else type(result).__name__
            raise TracingError(located(f"scan: f returns a pair (carry, y), got {came}"))
        return result

    def _at(self, part: Tracer, place: int) -> Tracer:
        return part if self.loop.width == 1 else part[place]

    def _key(self, around: stream_keys.Keyed, place: int) -> Tracer:
        if not self._keys:
            self._keys.append(self._read(stream_keys.keys_of_steps(around, self.loop.trace, self.loop.length)))
        return self._at(self._keys[0], place)


def _stacked(parts: tuple[Any, ...]) -> Any:
    return parts[0] if len(parts) == 1 else xp.stack(list(parts))
