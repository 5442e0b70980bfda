"""Layers and functions for JAX under the names of `torch.nn`, as far as the benchmark's models need them.

A module's parameters are values of Gradloom's until `bound` puts those of a step in their place, also while JAX traces.
Batch norm keeps no running statistics: JAX has less to do there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax  # pyright: ignore[reportMissingImports]
import jax.numpy as jnp  # pyright: ignore[reportMissingImports]

relu, silu, sigmoid, softplus = jax.nn.relu, jax.nn.silu, jax.nn.sigmoid, jax.nn.softplus


class Parameter:
    """A place for an array of a shape."""

    def __init__(self, *shape: int) -> None:
        self.shape = shape
        self.value: Any = None


class Module:
    """The base of all layers: parameters and modules are registered as they are assigned, in order."""

    weight: Any
    bias: Any

    def __init__(self) -> None:
        self.__dict__.update(_parameters={}, _modules={})

    def __setattr__(self, name: str, value: Any) -> None:
        kinds = {Parameter: self._parameters, Module: self._modules}
        registry = next((found for kind, found in kinds.items() if isinstance(value, kind)), self.__dict__)
        registry[name] = value

    def __getattr__(self, name: str) -> Any:
        if name in self.__dict__.get("_parameters", {}):
            parameter = self._parameters[name]
            return parameter if parameter.value is None else parameter.value
        if name in self.__dict__.get("_modules", {}):
            return self._modules[name]
        raise AttributeError(name)

    def __call__(self, *args: Any) -> Any:
        return self.forward(*args)

    def parameters(self) -> list[Parameter]:
        """All, each once, in the order of PyTorch."""
        return list(dict.fromkeys(self._found()))

    def _found(self) -> Iterator[Parameter]:
        yield from self._parameters.values()
        for module in self._modules.values():
            yield from module._found()


def bound(module: Module, values: Sequence[Any]) -> Module:
    """The module with these values as its parameters."""
    for parameter, value in zip(module.parameters(), values, strict=True):
        parameter.value = value
    return module


class ModuleList(Module):
    """Modules in order."""

    def __init__(self, modules: Sequence[Module] = ()) -> None:
        super().__init__()
        self._modules.update(enumerate(modules))

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())


class Sequential(ModuleList):
    """Modules, each of which reads what the one before makes."""

    def __init__(self, *modules: Module) -> None:
        super().__init__(modules)

    def forward(self, x: Any) -> Any:
        for module in self:
            x = module(x)
        return x


class _Function(Module):
    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.forward = function


def Identity() -> Module:
    """What it reads."""
    return _Function(lambda x: x)


def ReLU() -> Module:
    """max(x, 0)"""
    return _Function(relu)


def Tanh() -> Module:
    """tanh"""
    return _Function(jnp.tanh)


def GELU() -> Module:
    """x Φ(x)"""
    return _Function(lambda x: jax.nn.gelu(x, approximate=False))


def LeakyReLU(negative_slope: float) -> Module:
    """x, or that many times x where it is negative."""
    return _Function(lambda x: jax.nn.leaky_relu(x, negative_slope))


def Flatten() -> Module:
    """(n, ...) to (n, elements)"""
    return _Function(lambda x: x.reshape(len(x), -1))


def AdaptiveAvgPool2d(_: int) -> Module:
    """The mean over an image; `AdaptiveAvgPool3d` over a volume."""
    return _Function(lambda x: x.mean(tuple(range(2, x.ndim)), keepdims=True))


AdaptiveAvgPool3d = AdaptiveAvgPool2d


def MaxPool2d(size: int) -> Module:
    """The largest of each `size` x `size` window."""
    window = (1, 1, size, size)
    return _Function(lambda x: jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, window, "VALID"))


class Linear(Module):
    """x weightᵀ + bias"""

    def __init__(self, inner: int, outer: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = Parameter(outer, inner)
        if bias:
            self.bias = Parameter(outer)

    def forward(self, x: Any) -> Any:
        y = x @ self.weight.T
        return y + self.bias if "bias" in self._parameters else y


class Embedding(Module):
    """Rows of weight; JAX has no sparse gradients."""

    def __init__(self, rows: int, width: int, sparse: bool = False) -> None:
        super().__init__()
        self.weight = Parameter(rows, width)

    def forward(self, places: Any) -> Any:
        return self.weight[places]


class LayerNorm(Module):
    """(x - mean) / deviation * weight + bias over the last axis."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = Parameter(width), Parameter(width)

    def forward(self, x: Any) -> Any:
        mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        return (x - mean) * jax.lax.rsqrt(variance + 1e-5) * self.weight + self.bias


class RMSNorm(Module):
    """x / root of the mean square * weight over the last axis."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight, self.eps = Parameter(width), eps

    def forward(self, x: Any) -> Any:
        return x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + self.eps) * self.weight


class BatchNorm2d(Module):
    """As `LayerNorm`, over all axes but the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = Parameter(channels), Parameter(channels)

    def forward(self, x: Any) -> Any:
        axes, shape = (0, *range(2, x.ndim)), (-1, *(1,) * (x.ndim - 2))
        mean, variance = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
        scale = jax.lax.rsqrt(variance + 1e-5)
        return (x - mean) * scale * self.weight.reshape(shape) + self.bias.reshape(shape)


BatchNorm1d = BatchNorm3d = BatchNorm2d


class _Convolution(Module):
    axes = 2
    transposed = False

    def __init__(
        self,
        channels: int,
        out: int,
        kernel: int,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        first, second = (channels, out) if self.transposed else (out, channels)
        self.weight = Parameter(first, second // groups, *(kernel,) * self.axes)
        if bias:
            self.bias = Parameter(out)
        reach = dilation * (kernel - 1)
        before = (reach - padding) if self.transposed else padding
        self.options = {
            "window_strides": (1 if self.transposed else stride,) * self.axes,
            "padding": ((before, before),) * self.axes,
            "lhs_dilation": (stride if self.transposed else 1,) * self.axes,
            "rhs_dilation": (dilation,) * self.axes,
            "feature_group_count": groups,
        }

    def forward(self, x: Any) -> Any:
        weight = self.weight
        if self.transposed:
            weight = jnp.flip(weight, tuple(range(2, weight.ndim))).swapaxes(0, 1)
        places = "DHW"[-self.axes :]
        # Channels last, as XLA likes them on a CPU.
        y = jax.lax.conv_general_dilated(
            jnp.moveaxis(x, 1, -1),
            jnp.moveaxis(weight, (1, 0), (-2, -1)),
            dimension_numbers=(f"N{places}C", f"{places}IO", f"N{places}C"),
            **self.options,
        )
        y = y + self.bias if "bias" in self._parameters else y
        return jnp.moveaxis(y, -1, 1)


class Conv1d(_Convolution):
    """A convolution over one axis, of (n, channels, length)."""

    axes = 1


class Conv2d(_Convolution):
    """The same over two axes."""


class Conv3d(_Convolution):
    """The same over three axes."""

    axes = 3


class ConvTranspose2d(_Convolution):
    """The gradient of a convolution over two axes by its input."""

    transposed = True


class _Recurrent(Module):
    gates = 1

    def __init__(self, inputs: int, hidden: int, num_layers: int = 1, bidirectional: bool = False) -> None:
        super().__init__()
        self.hidden, self.directions = hidden, 1 + bidirectional
        self.layers = num_layers
        for layer in range(num_layers):
            wide = inputs if layer == 0 else hidden * self.directions
            for direction in range(self.directions):
                for name, shape in (("w", (wide,)), ("u", (hidden,)), ("b", ()), ("c", ())):
                    setattr(self, f"{name}_{layer}_{direction}", Parameter(self.gates * hidden, *shape))

    def forward(self, x: Any) -> Any:
        for layer in range(self.layers):
            made = [self._one(x, layer, direction) for direction in range(self.directions)]
            x = jnp.concatenate(made, -1)
        return x, None

    def _one(self, x: Any, layer: int, direction: int) -> Any:
        w, u, b, c = (getattr(self, f"{name}_{layer}_{direction}") for name in "wubc")
        state = self.first(jnp.zeros((x.shape[1], self.hidden), x.dtype))
        return jax.lax.scan(lambda h, z: self.cell(h, z, u, c), state, x @ w.T + b, reverse=bool(direction))[1]


class LSTM(_Recurrent):
    """Outputs (T, n, hidden) for (T, n, inputs)."""

    gates = 4

    def first(self, zeros: Any) -> Any:
        """The state before the first iteration."""
        return zeros, zeros

    def cell(self, state: Any, z: Any, u: Any, c: Any) -> Any:
        """One iteration."""
        hidden, memory = state
        i, f, g, o = jnp.split(z + hidden @ u.T + c, 4, -1)
        memory = sigmoid(f) * memory + sigmoid(i) * jnp.tanh(g)
        hidden = sigmoid(o) * jnp.tanh(memory)
        return (hidden, memory), hidden


class GRU(_Recurrent):
    """Outputs (T, n, hidden) for (T, n, inputs)."""

    gates = 3

    def first(self, zeros: Any) -> Any:
        """The state before the first iteration."""
        return zeros

    def cell(self, state: Any, z: Any, u: Any, c: Any) -> Any:
        """One iteration."""
        (r, i, n), (hr, hi, hn) = jnp.split(z, 3, -1), jnp.split(state @ u.T + c, 3, -1)
        r, i = sigmoid(r + hr), sigmoid(i + hi)
        hidden = (1 - i) * jnp.tanh(n + r * hn) + i * state
        return hidden, hidden


def gelu(x: Any, approximate: str) -> Any:
    """x Φ(x)"""
    return jax.nn.gelu(x, approximate=approximate == "tanh")


def scaled_dot_product_attention(q: Any, k: Any, v: Any, is_causal: bool = False, enable_gqa: bool = False) -> Any:
    """softmax(q kᵀ / √size) v over the last two axes; with `enable_gqa` queries in groups share keys and values."""
    rows, heads, length, size = q.shape
    q = q.reshape(rows, k.shape[1], heads // k.shape[1], length, size)
    scores = jnp.einsum("ngrld,ngmd->ngrlm", q, k) / math.sqrt(size)
    if is_causal:
        scores = jnp.where(jnp.tril(jnp.ones((length, length), bool)), scores, -jnp.inf)
    return jnp.einsum("ngrlm,ngmd->ngrld", jax.nn.softmax(scores), v).reshape(rows, heads, length, size)


def cross_entropy(logits: Any, labels: Any) -> Any:
    """The mean over (n, classes), or over (n, classes, T)."""
    picked = jnp.take_along_axis(jax.nn.log_softmax(logits, 1), jnp.expand_dims(labels, 1), 1)
    return -picked.mean()


def mse_loss(x: Any, y: Any) -> Any:
    """The mean squared difference."""
    return ((x - y) ** 2).mean()


def binary_cross_entropy_with_logits(logits: Any, targets: Any) -> Any:
    """The mean."""
    return (jax.nn.softplus(logits) - targets * logits).mean()
