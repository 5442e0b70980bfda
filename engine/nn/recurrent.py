"""Recurrent networks: a cell that is run over the steps of a sequence by one `scan` for each layer and direction."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ...ir import DType
from .. import array_api as xp
from ..array_api.broadcasting import as_arraylike, described
from ..tracing.activations import activation
from ..tracing.promotion import result_dtype
from ..tracing.scan import scan
from ..tracing.tracer import ShapeError, located
from . import functional as F
from . import init
from .module import Module
from .packed_sequence import PackedSequence
from .parameter import Parameter

# What the cells compute, of the projections of input and hidden state with their biases.


def _zeros(shape: tuple[int, ...], dtype: DType) -> Any:
    """Zeros that take no memory: a step is planned for batches that nobody could hold."""
    return np.broadcast_to(np.zeros((), dtype), shape)


def _dtype_of_states(*arrays: Any) -> DType:
    """The dtype of states: what an input, the states it begins with and parameters are promoted to, `None` aside."""
    return result_dtype(*(array.dtype for array in arrays if array is not None))


def _rnn(activation: Callable[[Any], Any], x: Any, h: Any, bias: Any) -> Any:
    z = x + h
    return activation(z if bias is None else z + bias)


def _lstm(x: Any, h: Any, bias: Any, cell: Any) -> tuple[Any, Any]:
    """(hidden state before its projection, cell state)."""
    z = x + h
    i, f, g, o = xp.split(z if bias is None else z + bias, 4, axis=-1)
    cell = F.sigmoid(f) * cell + F.sigmoid(i) * F.tanh(g)
    return F.sigmoid(o) * F.tanh(cell), cell


def _gru(x: Any, h: Any, bias: Any, hidden_bias: Any, before: Any) -> Any:
    """`bias` is that of all gates (of the last for the input alone), `hidden_bias` the last gate's for the state."""
    if bias is not None:
        x = x + bias
    size = before.shape[-1]
    gates = F.sigmoid(x[..., : 2 * size] + h[..., : 2 * size])
    r, z = gates[..., :size], gates[..., size:]
    h_n = h[..., 2 * size :] if hidden_bias is None else h[..., 2 * size :] + hidden_bias
    n = F.tanh(x[..., 2 * size :] + r * h_n)
    return n + z * (before - n)


def _projected(x: Any, weight: Any) -> Any:
    return xp.matmul(x, xp.matrix_transpose(weight))


_ACTIVATIONS: dict[str, Callable[[Any], Any]] = {"tanh": F.tanh, "relu": F.relu}


def _activation(nonlinearity: str) -> Callable[[Any], Any]:
    if nonlinearity not in _ACTIVATIONS:
        raise ValueError(located(f"nonlinearity is 'tanh' or 'relu', got {nonlinearity!r}"))
    return _ACTIVATIONS[nonlinearity]


def _added(b_ih: Any, b_hh: Any) -> Any:
    return None if b_ih is None else b_ih + b_hh


def _gru_biases(b_ih: Any, b_hh: Any) -> tuple[Any, Any]:
    """(bias of all gates, bias of the last gate for the state)."""
    if b_ih is None:
        return None, None
    size = 2 * b_ih.shape[0] // 3
    return xp.concat([b_ih[:size] + b_hh[:size], b_ih[size:]]), b_hh[size:]


Step = Callable[[tuple[Any, ...], Any], tuple[tuple[Any, ...], Any]]
"""(states, projected input) -> (new states, output)."""
_GATES = {"RNN_TANH": 1, "RNN_RELU": 1, "GRU": 3, "LSTM": 4}


class RNNBase(Module):
    """Layers and directions of one kind of cell, "RNN_TANH", "RNN_RELU", "GRU" or "LSTM": its parameters, and the way
    through them. `RNN`, `GRU` and `LSTM` have a forward too.
    """

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        dtype: npt.DTypeLike = "float32",
    ) -> None:
        if mode not in _GATES:
            raise ValueError(located(f"mode is one of {', '.join(_GATES)}, got {mode!r}"))
        if min(input_size, hidden_size, num_layers) < 1:
            sizes = f"input_size {input_size}, hidden_size {hidden_size}, num_layers {num_layers}"
            raise ValueError(located(f"sizes and the number of layers are 1 or more, got {sizes}"))
        if not 0 <= proj_size < hidden_size:
            raise ValueError(located(f"proj_size is from 0 to hidden_size - 1 = {hidden_size - 1}, got {proj_size}"))
        if not 0 <= dropout <= 1:
            raise ValueError(located(f"the probability of dropout is from 0 to 1, got {dropout}"))
        self.mode = mode
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = dropout
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        draw = init.uniform(-1 / math.sqrt(hidden_size), 1 / math.sqrt(hidden_size))
        rows, output = _GATES[mode] * hidden_size, self.output_size
        for layer in range(num_layers):
            width = output * self.directions if layer else input_size
            for suffix in self._suffixes(layer):
                shapes: dict[str, Any] = {"weight_ih": (rows, width), "weight_hh": (rows, output)}
                if bias:
                    shapes.update(bias_ih=rows, bias_hh=rows)
                if proj_size:
                    shapes["weight_hr"] = (proj_size, hidden_size)
                for name, shape in shapes.items():
                    setattr(self, f"{name}_{suffix}", Parameter(shape, dtype, draw))

    @property
    def directions(self) -> int:
        """2 where the sequence is read backwards too."""
        return 2 if self.bidirectional else 1

    @property
    def output_size(self) -> int:
        """The length of a hidden state in one direction."""
        return self.proj_size or self.hidden_size

    def flatten_parameters(self) -> None:
        """Nothing: where parameters lie in memory is planned with the step."""

    def _suffixes(self, layer: int) -> list[str]:
        return [f"l{layer}", f"l{layer}_reverse"][: self.directions]

    def _parameter(self, name: str, suffix: str) -> Any:
        return getattr(self, f"{name}_{suffix}", None)

    def _biases(self, suffix: str) -> tuple[Any, Any]:
        return self._parameter("bias_ih", suffix), self._parameter("bias_hh", suffix)

    def _sequence(self, input: Any) -> tuple[Any, bool]:
        """The input as (length, batch, features), and whether it came with a batch."""
        x = as_arraylike(input)
        layout = "(N, L, H)" if self.batch_first else "(L, N, H)"
        if x.ndim not in (2, 3) or x.shape[-1] != self.input_size:
            expected = f"{layout} or (L, H) with H = input_size = {self.input_size}"
            raise ShapeError(located(f"{type(self).__name__}: expected {expected}, got {described(x)}"))
        if x.ndim == 2:
            return xp.expand_dims(x, 1), False
        return (xp.permute_dims(x, (1, 0, 2)) if self.batch_first else x), True

    def _padded(self, packed: PackedSequence) -> Any:
        x = as_arraylike(packed.padded)
        if x.ndim != 3 or x.shape[-1] != self.input_size:
            expected = f"packed sequences (L, N, H) with H = input_size = {self.input_size}"
            raise ShapeError(located(f"{type(self).__name__}: expected {expected}, got {described(x)}"))
        return x

    def _state(self, name: str, state: Any, x: Any, batched: bool, size: int, dtype: DType) -> list[Any]:
        """The initial state of every layer and direction, (batch, size) each, of `dtype`."""
        count = self.num_layers * self.directions
        if state is None:
            return [_zeros((x.shape[1], size), dtype)] * count
        expected = (count, x.shape[1], size) if batched else (count, size)
        if tuple(state.shape) != expected:
            what = f"{name} is {described(state)}, expected {expected}: (num_layers * directions, N, size)"
            raise ShapeError(located(f"{type(self).__name__}: {what}, without N for an input without a batch"))
        state = xp.astype(state, dtype)
        return [state[i] if batched else xp.expand_dims(state[i], 0) for i in range(count)]

    def _run(self, input: Any, states: list[tuple[str, Any, int]]) -> tuple[Any, list[Any]]:
        """The output, and the final states, each for all layers and directions."""
        if isinstance(input, PackedSequence):
            x, batched, kept = self._padded(input), True, xp.expand_dims(input.kept(), -1)
        else:
            (x, batched), kept = self._sequence(input), None
        given = [None if state is None else as_arraylike(state) for _, state, _ in states]
        dtype = _dtype_of_states(x, *given, *(getattr(self, name) for name in self._parameters))
        starts = [self._state(name, state, x, batched, size, dtype) for (name, _, size), state in zip(states, given)]
        ends: list[list[Any]] = [[] for _ in states]
        for layer in range(self.num_layers):
            if layer and self.training:
                x = F.dropout(x, self.dropout)
            outputs: list[Any] = []
            for direction, suffix in enumerate(self._suffixes(layer)):
                place = layer * self.directions + direction
                start = tuple(of_layers[place] for of_layers in starts)
                # The projection of all steps is one product.
                projected = _projected(x, self._parameter("weight_ih", suffix))
                step, xs = self._step(suffix), projected
                if kept is not None:
                    step, xs = _over_padding(step), (projected, kept)
                end, output = scan(step, start, xs, reverse=direction == 1)
                outputs.append(output)
                for of_layers, final in zip(ends, end):
                    of_layers.append(final)
            x = outputs[0] if len(outputs) == 1 else xp.concat(outputs, axis=-1)
        finals = [xp.stack(of_layers) for of_layers in ends]
        if isinstance(input, PackedSequence):
            return input._replace(padded=x), finals
        if not batched:
            return xp.squeeze(x, 1), [xp.squeeze(final, 1) for final in finals]
        return (xp.permute_dims(x, (1, 0, 2)) if self.batch_first else x), finals

    def _step(self, suffix: str) -> Step:
        """A step: (states, projected input) -> (new states, output)."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        for name, usual in (("proj_size", 0), ("num_layers", 1), ("bias", True), ("batch_first", False)):
            if getattr(self, name) != usual:
                text += f", {name}={getattr(self, name)}"
        if self.dropout:
            text += f", dropout={self.dropout}"
        return text + (", bidirectional=True" if self.bidirectional else "")


def _over_padding(step: Step) -> Step:
    """A step that leaves the states as they are, and gives zeros, where its input does not count."""

    def masked(states: tuple[Any, ...], xs: Any) -> tuple[tuple[Any, ...], Any]:
        x, kept = xs
        others, output = step(states, x)
        return tuple(xp.where(kept, b, a) for a, b in zip(states, others)), xp.where(kept, output, 0)

    return masked


class RNN(RNNBase):
    """Layers of h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or relu, over the steps of a sequence. Elman 1990.

    For layer k the parameters are weight_ih_lk (hidden, in), weight_hh_lk (hidden, hidden), bias_ih_lk and bias_hh_lk
    (hidden,), with `_reverse` behind for the backward direction; all begin uniform in ±1/√hidden_size. Between the
    layers there is `dropout` in training.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        dtype: npt.DTypeLike = "float32",
    ) -> None:
        self.nonlinearity = nonlinearity
        self.activation = _activation(nonlinearity)
        options = (num_layers, bias, batch_first, dropout, bidirectional)
        super().__init__(f"RNN_{nonlinearity.upper()}", input_size, hidden_size, *options, dtype=dtype)

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        """(output, h_n). The input is (L, N, input_size), with `batch_first` (N, L, input_size), or (L, input_size). It
        may be a packed sequence of `nn.utils.rnn`, and so is the output then.

        The output has the hidden states of the last layer at all steps, both directions one behind the other; hx and
        h_n are (num_layers * directions, N, hidden_size). Without `hx` the states begin as zeros.
        """
        output, (h_n,) = self._run(input, [("hx", hx, self.hidden_size)])
        return output, h_n

    def _step(self, suffix: str) -> Step:
        weight, bias = self._parameter("weight_hh", suffix), _added(*self._biases(suffix))

        def step(states: tuple[Any, ...], x: Any) -> tuple[tuple[Any, ...], Any]:
            h = _rnn(self.activation, x, _projected(states[0], weight), bias)
            return (h,), h

        return step


class LSTM(RNNBase):
    """Layers of long short-term memory over the steps of a sequence. Hochreiter and Schmidhuber 1997.

    i, f, g, o = W_ih x + b_ih + W_hh h + b_hh in four parts; c' = σ(f) c + σ(i) tanh(g); h' = σ(o) tanh(c'). With
    `proj_size` h' is multiplied by weight_hr (proj_size, hidden). Parameters as in `RNN`, with 4 hidden rows.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        dtype: npt.DTypeLike = "float32",
    ) -> None:
        options = (num_layers, bias, batch_first, dropout, bidirectional, proj_size)
        super().__init__("LSTM", input_size, hidden_size, *options, dtype=dtype)

    def forward(self, input: Any, hx: tuple[Any, Any] | None = None) -> tuple[Any, tuple[Any, Any]]:
        """(output, (h_n, c_n)); shapes as in `RNN.forward`. `hx` is a pair (h_0, c_0).

        With `proj_size` outputs and h have that size.
        """
        if hx is not None and not (isinstance(hx, (tuple, list)) and len(hx) == 2):
            raise TypeError(located(f"LSTM: hx is a pair (h_0, c_0), got {type(hx).__name__}"))
        h_0, c_0 = (None, None) if hx is None else hx
        states = [("h_0", h_0, self.output_size), ("c_0", c_0, self.hidden_size)]
        output, (h_n, c_n) = self._run(input, states)
        return output, (h_n, c_n)

    def _step(self, suffix: str) -> Step:
        weight, bias = self._parameter("weight_hh", suffix), _added(*self._biases(suffix))
        projection = self._parameter("weight_hr", suffix)

        def step(states: tuple[Any, ...], x: Any) -> tuple[tuple[Any, ...], Any]:
            h, c = _lstm(x, _projected(states[0], weight), bias, states[1])
            h = h if projection is None else _projected(h, projection)
            return (h, c), h

        return step


class GRU(RNNBase):
    """Layers of gated recurrent units over the steps of a sequence. Cho et al. 2014, with the reset gate behind W_hn h.

    r, z = σ(W_ih x + b_ih + W_hh h + b_hh) of the first two parts; n = tanh(W_in x + b_in + r (W_hn h + b_hn));
    h' = (1 - z) n + z h. Parameters as in `RNN`, with 3 hidden rows.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        dtype: npt.DTypeLike = "float32",
    ) -> None:
        options = (num_layers, bias, batch_first, dropout, bidirectional)
        super().__init__("GRU", input_size, hidden_size, *options, dtype=dtype)

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        """(output, h_n); shapes as in `RNN.forward`."""
        output, (h_n,) = self._run(input, [("hx", hx, self.hidden_size)])
        return output, h_n

    def _step(self, suffix: str) -> Step:
        weight, biases = self._parameter("weight_hh", suffix), _gru_biases(*self._biases(suffix))

        def step(states: tuple[Any, ...], x: Any) -> tuple[tuple[Any, ...], Any]:
            h = _gru(x, _projected(states[0], weight), *biases, states[0])
            return (h,), activation(h)

        return step


class RNNCellBase(Module):
    """One step of a recurrent network of `num_chunks` gates: its parameters, and the check of what it is given."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool, num_chunks: int, dtype: npt.DTypeLike = "float32"
    ) -> None:
        if min(input_size, hidden_size) < 1:
            raise ValueError(located(f"sizes are 1 or more, got input_size {input_size}, hidden_size {hidden_size}"))
        self.input_size = input_size
        self.hidden_size = hidden_size
        draw = init.uniform(-1 / math.sqrt(hidden_size), 1 / math.sqrt(hidden_size))
        rows = num_chunks * hidden_size
        self.weight_ih = Parameter((rows, input_size), dtype, draw)
        self.weight_hh = Parameter((rows, hidden_size), dtype, draw)
        self.bias_ih = Parameter(rows, dtype, draw) if bias else None
        self.bias_hh = Parameter(rows, dtype, draw) if bias else None

    def _checked(self, input: Any, **states: Any) -> list[Any]:
        """The input and the states, (N, size) or (size,); zeros for states that are not given."""
        x = as_arraylike(input)
        if x.ndim not in (1, 2) or x.shape[-1] != self.input_size:
            expected = f"(N, input_size) or (input_size,) with input_size = {self.input_size}"
            raise ShapeError(located(f"{type(self).__name__}: expected {expected}, got {described(x)}"))
        results = [x]
        shape = (*x.shape[:-1], self.hidden_size)
        arrays = {name: None if given is None else as_arraylike(given) for name, given in states.items()}
        dtype = _dtype_of_states(x, *arrays.values(), self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        for name, state in arrays.items():
            state = _zeros(shape, dtype) if state is None else state
            if tuple(state.shape) != shape:
                raise ShapeError(located(f"{type(self).__name__}: {name} is {described(state)}, expected {shape}"))
            results.append(xp.astype(state, dtype))
        return results

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias_ih is not None else ", bias=False")


class RNNCell(RNNCellBase):
    """One step of `RNN`: h' for an input (N, input_size) and a state (N, hidden_size), or both without N."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        dtype: npt.DTypeLike = "float32",
    ) -> None:
        self.nonlinearity = nonlinearity
        self.activation = _activation(nonlinearity)
        super().__init__(input_size, hidden_size, bias, 1, dtype)

    def forward(self, input: Any, hx: Any = None) -> Any:
        x, h = self._checked(input, hx=hx)
        bias = _added(self.bias_ih, self.bias_hh)
        return _rnn(self.activation, _projected(x, self.weight_ih), _projected(h, self.weight_hh), bias)


class LSTMCell(RNNCellBase):
    """One step of `LSTM`: (h', c') for an input (N, input_size) and a pair (h, c) of (N, hidden_size), or without N."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, dtype: npt.DTypeLike = "float32") -> None:
        super().__init__(input_size, hidden_size, bias, 4, dtype)

    def forward(self, input: Any, hx: tuple[Any, Any] | None = None) -> tuple[Any, Any]:
        if hx is not None and not (isinstance(hx, (tuple, list)) and len(hx) == 2):
            raise TypeError(located(f"LSTMCell: hx is a pair (h, c), got {type(hx).__name__}"))
        x, h, c = self._checked(input, h=None if hx is None else hx[0], c=None if hx is None else hx[1])
        bias = _added(self.bias_ih, self.bias_hh)
        return _lstm(_projected(x, self.weight_ih), _projected(h, self.weight_hh), bias, c)


class GRUCell(RNNCellBase):
    """One step of `GRU`: h' for an input (N, input_size) and a state (N, hidden_size), or both without N."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, dtype: npt.DTypeLike = "float32") -> None:
        super().__init__(input_size, hidden_size, bias, 3, dtype)

    def forward(self, input: Any, hx: Any = None) -> Any:
        x, h = self._checked(input, hx=hx)
        biases = _gru_biases(self.bias_ih, self.bias_hh)
        return _gru(_projected(x, self.weight_ih), _projected(h, self.weight_hh), *biases, h)
