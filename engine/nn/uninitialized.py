"""Parameters and buffers without a shape: it follows from what their layer is first given."""

from __future__ import annotations

from typing import Any, NoReturn, TypeGuard

import numpy as np
import numpy.typing as npt

from ...ir import ArrayType, as_dtype, spec
from ..tracing.tracer import located
from .parameter import Buffer, Parameter, Stored
from .settings import settings_changed


class _Uninitialized(Stored):
    """What has a dtype and no shape."""

    initialized: type[Stored]

    def __init__(self, dtype: npt.DTypeLike = "float32") -> None:
        self._dtype = as_dtype(dtype)
        self.initializer = None  # pyright: ignore[reportAttributeAccessIssue]
        self._derivation = None
        self.label = ""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype."""
        return self._dtype

    def cast(self, dtype: np.dtype[Any]) -> None:
        """Be of this dtype."""
        self._dtype = dtype

    @property
    def type(self) -> ArrayType:  # pyright: ignore[reportIncompatibleVariableOverride]
        """There is none. Raises `TypeError` that says where the shape comes from."""
        self._refuse_shape()

    def _refuse_shape(self) -> NoReturn:
        what = f"{self.what} {self.label}" if self.label else f"an uninitialized {self.what}"
        where = "gl.compile_step and gl.plan_step find it from the batch, and load_state_dict from the array"
        raise TypeError(located(f"{what} has no shape yet, which follows from what its layer is first given; {where}"))

    def materialize(self, like: Stored) -> None:
        """Be initialized from here on, with the shape of `like`, and its initial value where none was chosen."""
        chosen, dtype = self.initializer, self._dtype
        self.__class__ = self.initialized  # pyright: ignore[reportAttributeAccessIssue]
        self.__dict__.pop("_dtype")
        self.__dict__["type"] = spec(like.shape, dtype)
        self.initializer = chosen or like.initializer
        settings_changed()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._dtype)!r})"


class UninitializedParameter(_Uninitialized, Parameter):
    """A parameter without a shape, of a lazy layer."""

    initialized = Parameter

    def __init__(self, requires_grad: bool = True, device: None = None, dtype: npt.DTypeLike = "float32") -> None:
        _Uninitialized.__init__(self, "float32" if dtype is None else dtype)
        self._requires_grad = bool(requires_grad)


class UninitializedBuffer(_Uninitialized, Buffer):
    """A buffer without a shape, of a lazy layer."""

    initialized = Buffer

    def __init__(
        self,
        requires_grad: bool = False,
        device: None = None,
        dtype: npt.DTypeLike = "float32",
        persistent: bool = True,
    ) -> None:
        _Uninitialized.__init__(self, "float32" if dtype is None else dtype)
        self.persistent = bool(persistent)


def is_uninitialized(stored: Any) -> TypeGuard[_Uninitialized]:
    """Whether this has no shape yet."""
    return isinstance(stored, _Uninitialized)
