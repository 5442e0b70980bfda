"""Activations, most of which are functions of `nn.functional`."""

from __future__ import annotations

from typing import Any

from .....ir import is_float
from .... import array_api as xp
from ....nn import functional as F
from ..operator import Call, operator


@operator("Relu")
def relu(call: Call, x: Any) -> Any:
    return F.relu(x) if is_float(x.dtype) else xp.maximum(x, 0)


@operator("Sigmoid")
def sigmoid(call: Call, x: Any) -> Any:
    return F.sigmoid(x)


@operator("HardSigmoid")
def hard_sigmoid(call: Call, x: Any, *, alpha: float = 0.2, beta: float = 0.5) -> Any:
    return xp.clip(alpha * x + beta, 0, 1)


@operator("HardSwish")
def hard_swish(call: Call, x: Any) -> Any:
    return F.hardswish(x)


@operator("Softplus")
def softplus(call: Call, x: Any) -> Any:
    return xp.logaddexp(x, xp.zeros_like(x))


@operator("Softsign")
def softsign(call: Call, x: Any) -> Any:
    return x / (1 + xp.abs(x))


@operator("Gelu")
def gelu(call: Call, x: Any, *, approximate: str = "none") -> Any:
    if approximate not in ("none", "tanh"):
        raise call.refuse(f"approximate is 'none' or 'tanh', got {approximate!r}")
    return F.gelu(x, "tanh" if approximate == "tanh" else "none")


@operator("Elu")
def elu(call: Call, x: Any, *, alpha: float = 1.0) -> Any:
    return F.elu(x, alpha)


@operator("Selu")
def selu(call: Call, x: Any, *, alpha: float = 1.6732632, gamma: float = 1.0507) -> Any:
    return gamma * F.elu(x, alpha)


@operator("Celu")
def celu(call: Call, x: Any, *, alpha: float = 1.0) -> Any:
    return F.celu(x, alpha)


@operator("LeakyRelu")
def leaky_relu(call: Call, x: Any, *, alpha: float = 0.01) -> Any:
    return F.leaky_relu(x, alpha)


@operator("PRelu")
def prelu(call: Call, x: Any, slope: Any) -> Any:
    return xp.where(x < 0, slope * x, x)


@operator("ThresholdedRelu")
def thresholded_relu(call: Call, x: Any, *, alpha: float = 1.0) -> Any:
    return xp.where(x > alpha, x, 0)


@operator("Swish")
def swish(call: Call, x: Any, *, alpha: float = 1.0) -> Any:
    return x * F.sigmoid(x if alpha == 1 else alpha * x)


@operator("Mish")
def mish(call: Call, x: Any) -> Any:
    return F.mish(x)


@operator("Shrink")
def shrink(call: Call, x: Any, *, bias: float = 0.0, lambd: float = 0.5) -> Any:
    if not is_float(x.dtype):
        bias = int(bias)
    return xp.where(x < -lambd, x + bias, xp.where(x > lambd, x - bias, 0))
