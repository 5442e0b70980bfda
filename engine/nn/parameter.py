"""Parameters and buffers: what a model stores, as specs and initializers until a step is compiled."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Self, cast

import numpy as np
import numpy.typing as npt

from ...ir import Array, ArrayType, is_complex, is_float, spec, type_of
from ..tracing.missing_names import of_a_parameter
from ..tracing.numbers import as_whole
from ..tracing.tracer import located
from . import init
from .settings import settings_changed

_WHAT_TO_WRITE = (
    "a model is a description and holds no arrays; use step = gl.compile_step(model, ...) to train it, "
    "step.bind(lambda model, x: model(x)) to run it, or gl.nn.functional_call(model, parameters, x) with own arrays; "
    "inside a step it is no part of the step's model: make it an attribute of that, or of an nn.ModuleList there"
)


class Stored:
    """A type and an initializer; a value only inside `bind`, where the module's attribute gives it instead of this.

    `shape` is an int, a sequence of ints, an `ArrayType`, or an array that is the initial value itself.
    """

    what = "stored array"

    def __init__(
        self,
        shape: int | Sequence[int] | ArrayType | Array,
        dtype: npt.DTypeLike | None = None,
        initializer: init.Initializer | None = None,
    ) -> None:
        if isinstance(shape, np.ndarray):
            array = cast(Array, shape)
            self.type = type_of(array) if dtype is None else spec(array.shape, dtype)
            initializer = init.constant(array.copy()) if initializer is None else initializer
        elif isinstance(shape, ArrayType):
            self.type = shape if dtype is None else spec(shape.shape, dtype)
        else:
            self.type = spec(shape, "float32" if dtype is None else dtype)
        self.initializer = init.zeros() if initializer is None else _initializer(initializer)
        self._derivation: _Derivation | None = None
        self.label = ""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape."""
        return self.type.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype."""
        return self.type.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.type.ndim

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.type.size

    def cast(self, dtype: np.dtype[Any]) -> None:
        """Be of this dtype from now on."""
        self.type = spec(self.shape, dtype)

    def numel(self) -> int:
        """Number of elements."""
        return self.type.size

    def initialize(self, initializer: init.Initializer) -> Self:
        """Draw the initial value by `initializer` from now on; returns this."""
        self.initializer = _initializer(initializer)
        self._derivation = None
        return self

    def derive(self, source: Stored, levels: int, name: str, function: init.Derive) -> Self:
        """Compute the initial value as `function(generator, array)` of that of `source`, whose name is this one's with
        `name` in place of the last `levels` parts; what has the same source gets the same generator. Returns this.
        """
        self._derivation = _Derivation(source, levels, name, function)
        return self

    def initial(self, name: str, seed: int = 0) -> Array:
        """The initial value: it depends on `seed`, `name`, the shape and the dtype, and on nothing else in the model.

        Raises `ValueError` for a negative seed, or an initializer that gives another shape.
        """
        derived = self._derivation
        drawn = name if derived is None else derived.source_name(name)
        generator = _generator(seed, drawn)
        try:
            if derived is None:
                array = np.asarray(self.initializer(generator, self.shape, self.dtype))
            else:
                array = np.asarray(derived.function(generator, derived.source.initial(drawn, seed)))
        except ValueError as error:
            raise ValueError(located(f"{self.what} {name}: {error}")) from None
        if array.shape != self.shape:
            raise ValueError(
                located(f"{self.what} {name}: its initializer gave shape {array.shape}, expected {self.shape}")
            )
        return np.asarray(array, dtype=self.dtype, order="C")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.shape}, {str(self.dtype)!r})"

    def _refuse(self) -> str:
        return located(f"{self.what} {self.label or repr(self)} has no value here: {_WHAT_TO_WRITE}")

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        if hasattr(np.ndarray, name):
            raise AttributeError(self._refuse())
        said, instead = f"a {type(self).__name__} has no attribute {name!r}", of_a_parameter(name)
        raise AttributeError(located(f"{said}; {instead}") if instead else said)

    def __array__(self, dtype: Any = None, copy: Any = None) -> NoReturn:
        raise TypeError(self._refuse())

    def __array_ufunc__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(self._refuse())

    def __array_function__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(self._refuse())

    def _no_arithmetic(self, *args: Any) -> NoReturn:
        raise TypeError(self._refuse())

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __matmul__ = __rmatmul__ = _no_arithmetic
    __truediv__ = __rtruediv__ = __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __pow__ = __rpow__ = _no_arithmetic
    __lt__ = __le__ = __gt__ = __ge__ = __neg__ = __pos__ = __abs__ = __invert__ = _no_arithmetic
    __getitem__ = __len__ = __iter__ = __float__ = __int__ = __bool__ = _no_arithmetic


@dataclass(frozen=True)
class _Derivation:
    """How an initial value follows from that of `source`."""

    source: Stored
    levels: int
    name: str
    function: init.Derive

    def source_name(self, name: str) -> str:
        """The name of the source, beside what is called `name`."""
        return ".".join([*name.split(".")[: -self.levels], self.name])


def _initializer(given: init.Initializer) -> init.Initializer:
    """What was given. Raises `TypeError` for what is no initializer, also where it would make one."""
    name = getattr(given, "__name__", "")
    if name in init.__all__ and getattr(init, name) is given:
        raise TypeError(located(f"nn.init.{name} is no initializer itself; write nn.init.{name.rstrip('_')}(...)"))
    if not callable(given):
        like = "such as nn.init.normal(std=0.02), or a function (generator, shape, dtype) -> array"
        raise TypeError(located(f"an initializer is made by nn.init, {like}; got {given!r}"))
    return given


def _generator(seed: int, name: str) -> np.random.Generator:
    whole = as_whole(seed)
    if whole is None or whole < 0:
        raise ValueError(located(f"a seed is 0 or more, and whole, got {seed!r}"))
    digest = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([whole, digest])))


class Parameter(Stored):
    """What is trained: `Parameter((out, in), "float32", init.kaiming_normal())`, or `Parameter(array)`.

    With `requires_grad=False` it is frozen: it has no gradient and no optimizer state, and keeps its value.
    """

    what = "parameter"

    def __init__(
        self,
        shape: int | Sequence[int] | ArrayType | Array,
        dtype: npt.DTypeLike | None = None,
        initializer: init.Initializer | None = None,
        requires_grad: bool = True,
    ) -> None:
        super().__init__(shape, dtype, initializer)
        self._requires_grad = _flag(requires_grad)
        if not is_float(self.dtype):
            if is_complex(self.dtype):
                advice = "make two parameters, of the real and the imaginary parts, and compute with re + 1j * im"
            else:
                advice = "keep integers in a Buffer"
            raise TypeError(located(f"a parameter is float32 or float64, got {self.dtype}; {advice}"))

    @property
    def requires_grad(self) -> bool:
        """Whether it is trained by steps that are compiled from now on."""
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self._requires_grad = _flag(value)
        settings_changed()

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Train it in steps that are compiled from now on, or with `False` freeze it; returns this."""
        self.requires_grad = requires_grad
        return self


def _flag(value: Any) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(located(f"requires_grad is True or False, got {value!r}"))
    return bool(value)


class Buffer(Stored):
    """State that is not trained, such as running statistics; zeros if no initializer is given.

    Assigning to it in a traced `forward` in training, `self.running_mean = ...`, makes the value that the next step
    sees; a function of `step.bind` may assign it in evaluation too. A buffer that is not `persistent` is not part of
    state dicts.
    """

    what = "buffer"

    def __init__(
        self,
        shape: int | Sequence[int] | ArrayType | Array,
        dtype: npt.DTypeLike | None = None,
        initializer: init.Initializer | None = None,
        *,
        persistent: bool = True,
    ) -> None:
        super().__init__(shape, dtype, initializer)
        self.persistent = bool(persistent)
