"""Initial values: functions that return initializers, and torch's names with an underscore that set them.

An initializer is a function `(generator, shape, dtype) -> array`. `kaiming_normal()` returns one, to be given to a
`Parameter`; `kaiming_normal_(layer.weight)` sets that of an existing parameter. Nothing is drawn before a step is
compiled.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ...ir import BFLOAT16, Array, DType
from ..tracing.errors import located
from ..tracing.missing_names import attributes_of
from ..tracing.numbers import as_real, as_whole
from .hyperparameters import take_plain_numbers
from .spelling import torch_arguments

if TYPE_CHECKING:
    from .module import Parameter

__all__ = [
    "calculate_gain",
    "constant",
    "constant_",
    "default_linear",
    "dirac",
    "dirac_",
    "eye",
    "eye_",
    "kaiming_normal",
    "kaiming_normal_",
    "kaiming_uniform",
    "kaiming_uniform_",
    "lecun_normal",
    "lecun_normal_",
    "lecun_uniform",
    "lecun_uniform_",
    "normal",
    "normal_",
    "ones",
    "ones_",
    "orthogonal",
    "orthogonal_",
    "sparse",
    "sparse_",
    "trunc_normal",
    "trunc_normal_",
    "uniform",
    "uniform_",
    "with_zero_row",
    "xavier_normal",
    "xavier_normal_",
    "xavier_uniform",
    "xavier_uniform_",
    "zeros",
    "zeros_",
]

Initializer = Callable[[np.random.Generator, tuple[int, ...], DType], Array]
Derive = Callable[[np.random.Generator, Array], Array]
FanMode = Literal["fan_in", "fan_out"]

_GAINS = {
    "linear": 1.0,
    "identity": 1.0,
    "conv1d": 1.0,
    "conv2d": 1.0,
    "conv3d": 1.0,
    "sigmoid": 1.0,
    "tanh": 5.0 / 3,
    "relu": math.sqrt(2.0),
    "selu": 3.0 / 4,
}


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor by which weights are scaled before `nonlinearity`, as `torch.nn.init.calculate_gain` gives it.

    `param` is the negative slope of "leaky_relu", 0.01 if not given. Raises `ValueError` for a name that is not known.
    """
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else _number("the slope of leaky_relu", param)
        return math.sqrt(2.0 / (1 + slope**2))
    if not isinstance(nonlinearity, str) or nonlinearity not in _GAINS:
        known = ", ".join([*_GAINS, "leaky_relu"])
        raise ValueError(located(f"no gain is known for the nonlinearity {nonlinearity!r}; use one of {known}"))
    return _GAINS[nonlinearity]


def _number(what: str, value: Any) -> float:
    number = as_real(value)
    if number is None:
        raise TypeError(located(f"{what} is a number, got {value!r}"))
    return float(number)


def fans(shape: Sequence[int]) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight of `shape` (out, in, ...kernel). Raises `ValueError` below two axes."""
    if len(shape) < 2:
        raise ValueError(
            located(f"fan_in and fan_out need a weight of two axes or more (out, in, ...), got shape {tuple(shape)}")
        )
    kernel = math.prod(shape[2:])
    return shape[1] * kernel, shape[0] * kernel


def _draw_uniform(rng: np.random.Generator, shape: tuple[int, ...], dtype: DType, low: float, high: float) -> Array:
    array = rng.random(shape, dtype=_drawn(dtype))
    array *= high - low
    array += low
    return array.astype(dtype, copy=False)


def _draw_normal(rng: np.random.Generator, shape: tuple[int, ...], dtype: DType, mean: float, std: float) -> Array:
    array = rng.standard_normal(shape, dtype=_drawn(dtype))
    array *= std
    array += mean
    return array.astype(dtype, copy=False)


def _drawn(dtype: DType) -> Any:
    """What NumPy draws for a dtype: bfloat16 is a float32 that is rounded."""
    return np.float32 if dtype == BFLOAT16 else dtype.type


def _fill(rng: np.random.Generator, shape: tuple[int, ...], dtype: DType, value: Any) -> Array:
    given = np.asarray(value)
    if given.ndim and given.shape != shape:
        raise ValueError(located(f"an array of shape {given.shape} cannot be the initial value of shape {shape}"))
    return np.full(shape, given, dtype)


def _draw_scaled(
    rng: np.random.Generator, shape: tuple[int, ...], dtype: DType, variance: float, mode: str, normal: bool
) -> Array:
    """`variance` is that of fan * weight; mode "average" takes the mean of both fans."""
    fan_in, fan_out = fans(shape)
    fan = {"fan_in": fan_in, "fan_out": fan_out, "average": (fan_in + fan_out) / 2}[mode]
    std = math.sqrt(variance / max(fan, 1))
    if normal:
        return _draw_normal(rng, shape, dtype, 0.0, std)
    bound = math.sqrt(3.0) * std
    return _draw_uniform(rng, shape, dtype, -bound, bound)


def _draw_orthogonal(rng: np.random.Generator, shape: tuple[int, ...], dtype: DType, gain: float) -> Array:
    if len(shape) < 2:
        raise ValueError(located(f"an orthogonal weight has two axes or more, got shape {shape}"))
    rows, columns = shape[0], math.prod(shape[1:])
    flat = rng.standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(flat)
    q *= np.sign(np.diagonal(r))  # makes the distribution uniform (Mezzadri 2007)
    if rows < columns:
        q = q.T
    return np.ascontiguousarray((gain * q).reshape(shape), dtype=dtype)


def _draw_truncated(
    rng: np.random.Generator, shape: tuple[int, ...], dtype: DType, mean: float, std: float, a: float, b: float
) -> Array:
    from scipy import special  # takes longer to import than all of this package

    low, high = special.ndtr((a - mean) / std), special.ndtr((b - mean) / std)
    drawn = special.ndtri(low + (high - low) * rng.random(shape))
    return np.clip(drawn * std + mean, a, b).astype(dtype)


def _draw_eye(rng: np.random.Generator, shape: tuple[int, ...], dtype: DType) -> Array:
    if len(shape) != 2:
        raise ValueError(located(f"eye is for matrices, got shape {shape}"))
    return np.eye(*shape, dtype=dtype)


def _draw_dirac(rng: np.random.Generator, shape: tuple[int, ...], dtype: DType, groups: int) -> Array:
    if len(shape) not in (3, 4, 5) or shape[0] % groups:
        raise ValueError(
            located(f"dirac is for kernels (out, in, ...) whose outputs {groups} divides, got shape {shape}")
        )
    array = np.zeros(shape, dtype)
    per_group = shape[0] // groups
    channels = np.arange(min(per_group, shape[1]))
    center = tuple(n // 2 for n in shape[2:])
    for group in range(groups):
        array[(group * per_group + channels, channels, *center)] = 1
    return array


def _draw_sparse(rng: np.random.Generator, shape: tuple[int, ...], dtype: DType, sparsity: float, std: float) -> Array:
    if len(shape) != 2:
        raise ValueError(located(f"sparse is for matrices, got shape {shape}"))
    array = _draw_normal(rng, shape, dtype, 0.0, std)
    zeros = rng.permuted(np.tile(np.arange(shape[0]), (shape[1], 1)), axis=1)[:, : math.ceil(sparsity * shape[0])]
    array[zeros, np.arange(shape[1])[:, None]] = 0
    return array


def constant(value: Any) -> Initializer:
    """`value` everywhere, or an array of exactly the shape of the parameter."""
    return partial(_fill, value=value)


def zeros() -> Initializer:
    """0 everywhere."""
    return constant(0)


def ones() -> Initializer:
    """1 everywhere."""
    return constant(1)


def uniform(a: float = 0.0, b: float = 1.0) -> Initializer:
    """Uniform in [a, b)."""
    return partial(_draw_uniform, low=a, high=b)


def normal(mean: float = 0.0, std: float = 1.0) -> Initializer:
    """Normal with `mean` and standard deviation `std`."""
    return partial(_draw_normal, mean=mean, std=std)


def trunc_normal(mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0) -> Initializer:
    """Normal, conditioned on lying in [a, b]: by the inverse of the distribution function."""
    return partial(_draw_truncated, mean=mean, std=std, a=a, b=b)


def eye() -> Initializer:
    """The identity, for a matrix."""
    return _draw_eye


def dirac(groups: int = 1) -> Initializer:
    """Kernels (out, in, ...) of convolutions whose outputs are their inputs, as far as there are as many channels; in
    `groups` those of each group. Raises `ValueError` below 1.
    """
    whole = as_whole(groups)
    if whole is None or whole < 1:
        raise ValueError(located(f"dirac: groups is 1 or more, got {groups!r}"))
    return partial(_draw_dirac, groups=whole)


def sparse(sparsity: float, std: float = 0.01) -> Initializer:
    """Normal of standard deviation `std` for a matrix, with that part `sparsity` of every column, chosen at random, 0.

    Martens 2010, "Deep learning via Hessian-free optimization". Raises `ValueError` unless it is from 0 to 1.
    """
    if not 0 <= _number("sparsity", sparsity) <= 1:
        raise ValueError(located(f"sparsity is from 0 to 1, got {sparsity}"))
    return partial(_draw_sparse, sparsity=sparsity, std=std)


def orthogonal(gain: float = 1.0) -> Initializer:
    """`gain` times a matrix with orthonormal rows or columns, whichever are fewer; axes after the first are one.

    Saxe, McClelland and Ganguli 2014, "Exact solutions to the nonlinear dynamics of learning in deep linear networks".
    """
    return partial(_draw_orthogonal, gain=gain)


def _scaled(variance: float, mode: str, normal: bool) -> Initializer:
    if mode not in ("fan_in", "fan_out", "average"):
        raise ValueError(located(f"mode is 'fan_in' or 'fan_out', not {mode!r}"))
    return partial(_draw_scaled, variance=variance, mode=mode, normal=normal)


def kaiming_normal(a: float = 0.0, mode: FanMode = "fan_in", nonlinearity: str = "leaky_relu") -> Initializer:
    """Normal of variance gain² / fan; `a` is the slope of "leaky_relu". 2 / fan_in by default.

    He, Zhang, Ren and Sun 2015, "Delving deep into rectifiers".
    """
    return _scaled(calculate_gain(nonlinearity, a) ** 2, mode, True)


def kaiming_uniform(a: float = 0.0, mode: FanMode = "fan_in", nonlinearity: str = "leaky_relu") -> Initializer:
    """Uniform of the variance of `kaiming_normal`: in ±gain √(3 / fan)."""
    return _scaled(calculate_gain(nonlinearity, a) ** 2, mode, False)


def lecun_normal() -> Initializer:
    """Normal of variance 1 / fan_in. LeCun, Bottou, Orr and Müller 1998, "Efficient backprop"."""
    return _scaled(1.0, "fan_in", True)


def lecun_uniform() -> Initializer:
    """Uniform of variance 1 / fan_in: in ±√(3 / fan_in)."""
    return _scaled(1.0, "fan_in", False)


def xavier_normal(gain: float = 1.0) -> Initializer:
    """Normal of variance gain² 2 / (fan_in + fan_out). Glorot and Bengio 2010."""
    return _scaled(_number("gain", gain) ** 2, "average", True)


def xavier_uniform(gain: float = 1.0) -> Initializer:
    """Uniform of the variance of `xavier_normal`: in ±gain √(6 / (fan_in + fan_out))."""
    return _scaled(_number("gain", gain) ** 2, "average", False)


def default_linear() -> Initializer:
    """torch's default for the weights of linear and convolutional layers: uniform in ±1/√fan_in."""
    return kaiming_uniform(a=math.sqrt(5))


def _draw_with_zero_row(
    rng: np.random.Generator, shape: tuple[int, ...], dtype: DType, draw: Initializer, row: int
) -> Array:
    array = np.array(draw(rng, shape, dtype))
    array[row] = 0
    return array


def with_zero_row(initializer: Initializer, row: int) -> Initializer:
    """As `initializer`, with zeros in one row: an embedding's padding."""
    return partial(_draw_with_zero_row, draw=initializer, row=row)


@torch_arguments
def uniform_(tensor: Parameter, a: float = 0.0, b: float = 1.0) -> Parameter:
    """`uniform` for an existing parameter."""
    return tensor.initialize(uniform(a, b))


@torch_arguments
def normal_(tensor: Parameter, mean: float = 0.0, std: float = 1.0) -> Parameter:
    """`normal` for an existing parameter."""
    return tensor.initialize(normal(mean, std))


@torch_arguments
def trunc_normal_(tensor: Parameter, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0) -> Parameter:
    """`trunc_normal` for an existing parameter."""
    return tensor.initialize(trunc_normal(mean, std, a, b))


def constant_(tensor: Parameter, val: Any) -> Parameter:
    """`constant` for an existing parameter: a number, or an array of its shape."""
    return tensor.initialize(constant(val))


def zeros_(tensor: Parameter) -> Parameter:
    """`zeros` for an existing parameter."""
    return tensor.initialize(zeros())


def ones_(tensor: Parameter) -> Parameter:
    """`ones` for an existing parameter."""
    return tensor.initialize(ones())


def eye_(tensor: Parameter) -> Parameter:
    """`eye` for an existing parameter."""
    return tensor.initialize(eye())


def dirac_(tensor: Parameter, groups: int = 1) -> Parameter:
    """`dirac` for an existing parameter."""
    return tensor.initialize(dirac(groups))


@torch_arguments
def sparse_(tensor: Parameter, sparsity: float, std: float = 0.01) -> Parameter:
    """`sparse` for an existing parameter."""
    return tensor.initialize(sparse(sparsity, std))


@torch_arguments
def orthogonal_(tensor: Parameter, gain: float = 1.0) -> Parameter:
    """`orthogonal` for an existing parameter."""
    return tensor.initialize(orthogonal(gain))


@torch_arguments
def kaiming_normal_(
    tensor: Parameter, a: float = 0.0, mode: FanMode = "fan_in", nonlinearity: str = "leaky_relu"
) -> Parameter:
    """`kaiming_normal` for an existing parameter."""
    return tensor.initialize(kaiming_normal(a, mode, nonlinearity))


@torch_arguments
def kaiming_uniform_(
    tensor: Parameter, a: float = 0.0, mode: FanMode = "fan_in", nonlinearity: str = "leaky_relu"
) -> Parameter:
    """`kaiming_uniform` for an existing parameter."""
    return tensor.initialize(kaiming_uniform(a, mode, nonlinearity))


def lecun_normal_(tensor: Parameter) -> Parameter:
    """`lecun_normal` for an existing parameter."""
    return tensor.initialize(lecun_normal())


def lecun_uniform_(tensor: Parameter) -> Parameter:
    """`lecun_uniform` for an existing parameter."""
    return tensor.initialize(lecun_uniform())


@torch_arguments
def xavier_normal_(tensor: Parameter, gain: float = 1.0) -> Parameter:
    """`xavier_normal` for an existing parameter."""
    return tensor.initialize(xavier_normal(gain))


@torch_arguments
def xavier_uniform_(tensor: Parameter, gain: float = 1.0) -> Parameter:
    """`xavier_uniform` for an existing parameter."""
    return tensor.initialize(xavier_uniform(gain))


take_plain_numbers(globals(), [name for name in globals() if not name.startswith("_")])


if not TYPE_CHECKING:
    __getattr__ = attributes_of(__name__, __all__, "nn.init")
__dir__ = __all__.copy
