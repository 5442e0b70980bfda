"""Recurrent layers, kept whole so that their steps are one loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...nn.binding import functional_call
from ...nn.recurrent import GRU, LSTM, RNN
from ..table import aten


def _run(
    kind: Callable[..., Any],
    x: Any,
    state: Any,
    params: Sequence[Any],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
    **options: Any,
) -> tuple[Any, Any]:
    """The output and the final state of a layer of ours with weights in the order in which torch gives them."""
    width, hidden = params[0].shape[-1], (state[1] if isinstance(state, tuple) else state).shape[-1]
    names = ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if has_biases else [])]
    each = len(params) // (num_layers * (2 if bidirectional else 1))
    if each > len(names):
        names.append("weight_hr")
        options["proj_size"] = params[each - 1].shape[0]
    options |= {"bias": has_biases, "batch_first": batch_first, "dropout": dropout, "bidirectional": bidirectional}
    layer = kind(width, hidden, num_layers, dtype=x.dtype, **options)
    suffixes = [f"l{i}{way}" for i in range(num_layers) for way in ("", "_reverse")[: 2 if bidirectional else 1]]
    values = {
        f"{name}_{suffix}": params[i * each + j] for i, suffix in enumerate(suffixes) for j, name in enumerate(names)
    }
    return functional_call(layer, values, x, state, training=train)


@aten("lstm.input", whole=True)
def lstm(x: Any, hx: Sequence[Any], params: Sequence[Any], *options: Any) -> tuple[Any, Any, Any]:
    """Hochreiter and Schmidhuber 1997."""
    output, (hidden, cell) = _run(LSTM, x, tuple(hx), params, *options)
    return output, hidden, cell


@aten("gru.input", whole=True)
def gru(x: Any, hx: Any, params: Sequence[Any], *options: Any) -> tuple[Any, Any]:
    """Cho et al. 2014."""
    return _run(GRU, x, hx, params, *options)


@aten("rnn_tanh.input", whole=True)
def rnn_tanh(x: Any, hx: Any, params: Sequence[Any], *options: Any) -> tuple[Any, Any]:
    """Elman 1990."""
    return _run(RNN, x, hx, params, *options)


@aten("rnn_relu.input", whole=True)
def rnn_relu(x: Any, hx: Any, params: Sequence[Any], *options: Any) -> tuple[Any, Any]:
    """Elman 1990, with rectified units."""
    return _run(RNN, x, hx, params, *options, nonlinearity="relu")
