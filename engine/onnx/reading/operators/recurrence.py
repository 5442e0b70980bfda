"""Recurrent networks: a loop over the steps for each direction, with the products of all inputs before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .... import array_api as xp
from ....nn import functional as F
from ....tracing.scan import scan
from ..operator import Call, operator

Activation = Callable[[Any], Any]
Cell = Callable[[tuple[Any, ...], Any], tuple[Any, ...]]
"""(states, projected input) -> new states, the hidden one first."""


_ALPHAS = {
    "affine": 1.0,
    "leakyrelu": 0.01,
    "thresholdedrelu": 1.0,
    "scaledtanh": 1.0,
    "hardsigmoid": 0.2,
    "elu": 1.0,
}
_BETAS = {"affine": 0.0, "scaledtanh": 1.0, "hardsigmoid": 0.5}


def _activation(call: Call, name: str, alpha: float, beta: float) -> Activation:
    """An activation by ONNX's name for it, in lower case."""
    known: dict[str, Activation] = {
        "relu": F.relu,
        "tanh": F.tanh,
        "sigmoid": F.sigmoid,
        "affine": lambda x: alpha * x + beta,
        "leakyrelu": lambda x: F.leaky_relu(x, alpha),
        "thresholdedrelu": lambda x: xp.where(x > alpha, x, 0),
        "scaledtanh": lambda x: alpha * F.tanh(beta * x),
        "hardsigmoid": lambda x: xp.clip(alpha * x + beta, 0, 1),
        "elu": lambda x: F.elu(x, alpha),
        "softsign": F.softsign,
        "softplus": lambda x: xp.logaddexp(x, xp.zeros_like(x)),
    }
    if name not in known:
        raise call.refuse(f"activations are {', '.join(known)}, got {name!r}")
    return known[name]


def _activations(
    call: Call, names: Sequence[str] | None, defaults: Sequence[str], directions: int, alphas: Any, betas: Any
) -> list[list[Activation]]:
    """For each direction its activations; alphas and betas are given to those that have such, in order."""
    chosen = [name.lower() for name in names or [*defaults] * directions]
    alpha, beta = iter(alphas or ()), iter(betas or ())
    found = [
        _activation(
            call,
            name,
            next(alpha, _ALPHAS[name]) if name in _ALPHAS else 1.0,
            next(beta, _BETAS[name]) if name in _BETAS else 1.0,
        )
        for name in chosen
    ]
    if len(found) != len(defaults) * directions:
        raise call.refuse(f"there are {len(found)} activations for {directions} directions of {len(defaults)}")
    return [found[i * len(defaults) : (i + 1) * len(defaults)] for i in range(directions)]


def _clipped(activations: list[Activation], clip: float | None) -> list[Activation]:
    if clip is None:
        return activations
    low, high = -clip, clip
    return [lambda x, f=f: f(xp.clip(x, low, high)) for f in activations]


def _run(
    call: Call, x: Any, weight: Any, states: Sequence[Any], lengths: Any, direction: str, layout: int,
    cells: Callable[[int], tuple[Cell, Any]],
) -> Any:  # fmt: skip
    """The outputs of all steps, then the last states, of all directions. `cells(d)` has the cell of a direction, and
    the bias of its input.
    """
    directions = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}.get(direction)
    if directions is None:
        raise call.refuse(f"direction is forward, reverse or bidirectional, got {direction!r}")
    x = xp.permute_dims(x, (1, 0, 2)) if layout else x
    outputs, finals = [], [[] for _ in states]
    for d, backwards in enumerate(directions):
        cell, bias = cells(d)
        starts = tuple(_start(x, state, d, layout, size) for state, size in states)
        projected = xp.matmul(x, xp.matrix_transpose(weight[d]))
        projected = projected if bias is None else projected + bias
        y, last = _one_direction(cell, starts, projected, lengths, backwards)
        outputs.append(y)
        for of_all, final in zip(finals, last):
            of_all.append(final)
    y = xp.stack(outputs, axis=1)
    ends = [xp.stack(of_all) for of_all in finals]
    if layout:
        return (xp.permute_dims(y, (2, 0, 1, 3)), *(xp.permute_dims(end, (1, 0, 2)) for end in ends))
    return (y, *ends)


def _start(x: Any, state: Any, d: int, layout: int, size: int) -> Any:
    if state is None:
        return xp.zeros((x.shape[1], size), x.dtype)
    return state[:, d] if layout else state[d]


def _one_direction(cell: Cell, starts: tuple[Any, ...], x: Any, lengths: Any, backwards: bool) -> tuple[Any, Any]:
    """Outputs and last states. Where there are lengths, a sequence keeps its state behind its end, and gives zeros."""
    if lengths is None:

        def step(before: tuple[Any, ...], now: Any) -> tuple[tuple[Any, ...], Any]:
            after = cell(before, now)
            return after, after[0]

        last, y = scan(step, starts, x, reverse=backwards)
        return y, last

    def masked(before: tuple[Any, ...], now: tuple[Any, Any]) -> tuple[tuple[Any, ...], Any]:
        row, goes_on = now
        after = cell(before, row)
        kept = tuple(xp.where(goes_on[:, None], new, old) for new, old in zip(after, before))
        return kept, xp.where(goes_on[:, None], after[0], 0)

    goes_on = np.arange(x.shape[0])[:, None] < xp.reshape(xp.astype(lengths, "int64"), (1, -1))
    last, y = scan(masked, starts, (x, goes_on), reverse=backwards)
    return y, last


def _size(call: Call, hidden_size: int | None, recurrence: Any) -> int:
    size = recurrence.shape[-1]
    if hidden_size not in (None, size):
        raise call.refuse(f"hidden_size is {hidden_size}, but the recurrence weight is {tuple(recurrence.shape)}")
    return size


@operator("RNN")
def rnn(
    call: Call, x: Any, weight: Any, recurrence: Any, bias: Any = None, lengths: Any = None, first: Any = None,
    *, activation_alpha: Any = None, activation_beta: Any = None, activations: Any = None, clip: float | None = None,
    direction: str = "forward", hidden_size: int | None = None, layout: int = 0,
) -> Any:  # fmt: skip
    size = _size(call, hidden_size, recurrence)
    functions = _activations(call, activations, ["Tanh"], weight.shape[0], activation_alpha, activation_beta)

    def cells(d: int) -> tuple[Cell, Any]:
        (f,) = _clipped(functions[d], clip)
        added = None if bias is None else bias[d, :size] + bias[d, size:]
        return lambda before, z: (f(z + xp.matmul(before[0], xp.matrix_transpose(recurrence[d]))),), added

    return _run(call, x, weight, [(first, size)], lengths, direction, layout, cells)


@operator("GRU")
def gru(
    call: Call, x: Any, weight: Any, recurrence: Any, bias: Any = None, lengths: Any = None, first: Any = None,
    *, activation_alpha: Any = None, activation_beta: Any = None, activations: Any = None, clip: float | None = None,
    direction: str = "forward", hidden_size: int | None = None, layout: int = 0, linear_before_reset: int = 0,
) -> Any:  # fmt: skip
    """Gates are update, reset, hidden."""
    n = _size(call, hidden_size, recurrence)
    names = ["Sigmoid", "Tanh"]
    functions = _activations(call, activations, names, weight.shape[0], activation_alpha, activation_beta)

    def cells(d: int) -> tuple[Cell, Any]:
        f, g = _clipped(functions[d], clip)
        gates, hidden = xp.matrix_transpose(recurrence[d, : 2 * n]), xp.matrix_transpose(recurrence[d, 2 * n :])
        of_state: Any = 0 if bias is None else bias[d, 5 * n :]
        added = (
            None if bias is None else bias[d, : 3 * n] + xp.concat([bias[d, 3 * n : 5 * n], xp.zeros_like(of_state)])
        )

        def cell(before: tuple[Any, ...], z: Any) -> tuple[Any, ...]:
            (h,) = before
            both = f(z[:, : 2 * n] + xp.matmul(h, gates))
            update, reset = both[:, :n], both[:, n:]
            if linear_before_reset:
                inner = reset * (xp.matmul(h, hidden) + of_state)
            else:
                inner = xp.matmul(reset * h, hidden) + of_state
            new = g(z[:, 2 * n :] + inner)
            return (new + update * (h - new),)

        return cell, added

    return _run(call, x, weight, [(first, n)], lengths, direction, layout, cells)


def _with_gates(bias: Any, of_gates: Any) -> Any:
    """The biases of the input with those of the state, which the last third has inside."""
    n = of_gates.shape[0]
    return xp.concat([bias[:n] + of_gates, bias[n:]])


@operator("LSTM")
def lstm(
    call: Call, x: Any, weight: Any, recurrence: Any, bias: Any = None, lengths: Any = None, first: Any = None,
    first_cell: Any = None, peepholes: Any = None, *, activation_alpha: Any = None, activation_beta: Any = None,
    activations: Any = None, clip: float | None = None, direction: str = "forward", hidden_size: int | None = None,
    input_forget: int = 0, layout: int = 0,
) -> Any:  # fmt: skip
    """Gates are input, output, forget, cell."""
    n = _size(call, hidden_size, recurrence)
    names = ["Sigmoid", "Tanh", "Tanh"]
    functions = _activations(call, activations, names, weight.shape[0], activation_alpha, activation_beta)

    def cells(d: int) -> tuple[Cell, Any]:
        f, g, h = functions[d]
        f, g = _clipped([f, g], clip)
        matrix = xp.matrix_transpose(recurrence[d])
        added = None if bias is None else bias[d, : 4 * n] + bias[d, 4 * n :]
        peeps: Any = [0, 0, 0] if peepholes is None else xp.split(peepholes[d], 3)

        def cell(before: tuple[Any, ...], z: Any) -> tuple[Any, ...]:
            hidden, state = before
            i, o, forget, c = xp.split(z + xp.matmul(hidden, matrix), 4, axis=-1)
            i = f(i if peepholes is None else i + peeps[0] * state)
            forget = 1 - i if input_forget else f(forget if peepholes is None else forget + peeps[2] * state)
            state = forget * state + i * g(c)
            o = f(o if peepholes is None else o + peeps[1] * state)
            return o * h(state), state

        return cell, added

    return _run(call, x, weight, [(first, n), (first_cell, n)], lengths, direction, layout, cells)
