"""Branches and loops: decided while tracing where all is known, and else a branch or a loop of the program."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from .... import array_api as xp
from ....tracing.cond import cond
from ....tracing.scan import scan
from ....tracing.tracer import Tracer
from ....tracing.while_loop import while_loop
from ..operator import Call, operator
from ..program import Body, OnnxNode

_MOST_UNROLLED = 16


@operator("If")
def if_(call: Call, condition: Any, *, then_branch: Body, else_branch: Body) -> Any:
    if not isinstance(condition, Tracer):
        return call.run(then_branch if bool(np.asarray(condition).reshape(())) else else_branch, [])
    flag = xp.reshape(condition, ())
    return cond(flag, lambda: call.run(then_branch, []), lambda: call.run(else_branch, []))


def _counts(node: OnnxNode) -> tuple[int, ...]:
    """A loop that gives rows must know how many."""
    body: Body = node.attributes["body"]
    return (0,) if len(body.outputs) > 1 + len(node.inputs) - 2 else ()


@operator("Loop", known=_counts)
def loop(call: Call, most: Any, condition: Any, *carried: Any, body: Body) -> Any:
    """Runs `most` times at most, and as long as the condition is true."""
    if isinstance(most, Tracer) or isinstance(condition, Tracer):
        return _while(call, most, condition, carried, body)
    count = None if most is None else call.number(most, "the number of iterations")
    goes_on = condition is None or bool(np.asarray(condition).reshape(()))
    return _unrolled(call, count, goes_on, carried, body)


def _unrolled(call: Call, count: int | None, goes_on: bool, carried: Sequence[Any], body: Body) -> Any:
    """One iteration after the other, as the conditions say, where all are known."""
    kept: list[list[Any]] = [[] for _ in body.outputs[1 + len(carried) :]]
    values = list(carried)
    for i in itertools.count() if count is None else range(count):
        if not goes_on:
            break
        if i >= _MOST_UNROLLED and count is not None and not any(isinstance(v, np.ndarray) for v in values):
            return _scanned(call, i, count, values, kept, body)
        flag, *rest = call.run(body, [np.array(i, np.int64), np.array(True), *values])
        if isinstance(flag, Tracer):
            if i == 0:
                return _while(call, count, True, carried, body)
            raise call.refuse("the condition of the loop is known in some iterations and not in others")
        goes_on = bool(np.asarray(flag).reshape(()))
        values = rest[: len(carried)]
        for parts, part in zip(kept, rest[len(carried) :]):
            parts.append(part)
    return [*values, *(_stacked(call, parts) for parts in kept)]


def _scanned(call: Call, done: int, count: int, values: list[Any], kept: list[list[Any]], body: Body) -> Any:
    """The iterations from `done` on as one loop of the program."""

    def step(carry: list[Any], i: Any) -> tuple[list[Any], list[Any]]:
        _, *rest = call.run(body, [i, np.array(True), *carry])
        return rest[: len(values)], rest[len(values) :]

    last, rows = scan(step, values, np.arange(done, count))
    return [*last, *(xp.concat([xp.stack(parts), more]) for parts, more in zip(kept, rows))]


def _stacked(call: Call, parts: Sequence[Any]) -> Any:
    if not parts:
        raise call.refuse("a loop without iterations gives rows whose shape is not known")
    return xp.stack(parts)


def _while(call: Call, most: Any, condition: Any, carried: Sequence[Any], body: Body) -> Any:
    if len(body.outputs) > 1 + len(carried):
        raise call.refuse(
            "the loop ends as the program decides, so that the number of rows that it gives is not known; "
            "a loop with a number of iterations that is known, and no condition, may give rows"
        )
    limit = np.iinfo(np.int64).max if most is None else most

    def runs(state: tuple[Any, Any, list[Any]]) -> Any:
        return (state[0] < limit) & state[1]

    def iteration(state: tuple[Any, Any, list[Any]]) -> tuple[Any, Any, list[Any]]:
        i, flag, values = state
        flag, *after = call.run(body, [i, flag, *values])
        return i + 1, xp.reshape(flag, ()), after

    begins = np.array(True) if condition is None else xp.reshape(condition, ())
    return while_loop(runs, iteration, (np.array(0, np.int64), begins, list(carried)))[2]


@operator("Scan", since=9)
def scan_(
    call: Call,
    *inputs: Any,
    body: Body,
    num_scan_inputs: int,
    scan_input_axes: Any = None,
    scan_input_directions: Any = None,
    scan_output_axes: Any = None,
    scan_output_directions: Any = None,
) -> Any:
    count = len(inputs) - num_scan_inputs
    states, sequences = list(inputs[:count]), list(inputs[count:])
    axes, directions = scan_input_axes or (0,) * len(sequences), scan_input_directions or (0,) * len(sequences)
    rows = [_turned(xp.moveaxis(x, axis, 0), d) for x, axis, d in zip(sequences, axes, directions)]

    def step(carry: list[Any], now: list[Any]) -> tuple[list[Any], list[Any]]:
        results = call.run(body, [*carry, *now])
        return results[:count], results[count:]

    last, outputs = scan(step, states, rows)
    axes = scan_output_axes or (0,) * len(outputs)
    directions = scan_output_directions or (0,) * len(outputs)
    return [*last, *(xp.moveaxis(_turned(y, d), 0, axis) for y, axis, d in zip(outputs, axes, directions))]


def _turned(x: Any, direction: int) -> Any:
    return xp.flip(x, axis=0) if direction else x
