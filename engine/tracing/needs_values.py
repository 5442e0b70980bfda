"""What Python asks of an array that has no values while it is traced: each says what to write instead."""

from __future__ import annotations

from typing import Any, NoReturn

from ...ir import Array
from .array_methods import ArrayMethods, array_namespace
from .errors import TracingError, located
from .misuse import needs_value


class NeedsValues(ArrayMethods):
    """The methods of a traced array by which Python asks for its values, and item assignment: all raise
    `TracingError`, but for formatting and rounding that can be traced.
    """

    __slots__ = ()

    def __bool__(self) -> bool:
        needs_value(
            "a branch (if, while, and, or, not)",
            "write np.where(condition, a, b) instead of if, or gl.cond(condition, f, g) where only one may run, "
            "gl.while_loop(condition, body, x) instead of while, & | ~ instead of and, or, not, and (a < x) & (x < b) "
            "instead of a < x < b",
            self,
        )

    def __float__(self) -> float:
        needs_value("float(x)", "keep it as an array, or return it from the traced function and convert it there", self)

    def __int__(self) -> int:
        needs_value("int(x)", "keep it as an array with x.astype('int64'), or return it from the traced function", self)

    def __complex__(self) -> complex:
        needs_value("complex(x)", "keep it as an array of floats", self)

    def __index__(self) -> int:
        needs_value(
            "use as a Python integer (a length, an index into a list, range)",
            "index arrays with x[i], a list of them as np.stack(arrays)[i], and derive lengths from x.shape",
            self,
        )

    def __format__(self, spec: str) -> str:
        if spec:
            instead = "return it from the traced function and format it there, or write f'{x}'"
            needs_value(f"formatting with {spec!r}", instead, self)
        return repr(self)

    def __pow__(self, other: Any, modulo: Any = None) -> Any:
        if modulo is not None:
            raise TracingError(located("pow(x, y, n) is not traced; write x ** y % n"))
        return super().__pow__(other)

    def __round__(self, ndigits: int | None = None) -> Any:
        if ndigits is None:
            needs_value("round(x), a Python integer,", "write np.round(x), or np.round(x).astype('int64')", self)
        return array_namespace().round(self, ndigits)

    def __floor__(self) -> int:
        needs_value("math.floor(x), a Python integer,", "write np.floor(x)", self)

    def __ceil__(self) -> int:
        needs_value("math.ceil(x), a Python integer,", "write np.ceil(x)", self)

    def __trunc__(self) -> int:
        needs_value("math.trunc(x), a Python integer,", "write np.trunc(x)", self)

    def item(self, *args: Any) -> NoReturn:
        """Not traceable."""
        needs_value("x.item()", "keep it as an array, or return it from the traced function and convert it there", self)

    def tolist(self) -> NoReturn:
        """Not traceable."""
        needs_value("x.tolist()", "return it from the traced function and convert it there", self)

    def __array__(self, *args: Any, **kwargs: Any) -> Array:
        needs_value(
            "np.array(x), np.asarray(x) (or a list of traced arrays)",
            "use x as it is, np.stack([...]) for a list, or return it from the traced function",
            self,
        )

    def __contains__(self, item: Any) -> bool:
        needs_value("'in'", "write np.any(x == item)", self)

    def __setitem__(self, key: Any, value: Any) -> NoReturn:
        raise TracingError(
            located(
                "a traced array cannot be written to; write x = x.at[index].set(new), and x = np.where(mask, new, x) "
                "for a mask"
            )
        )

    def __delitem__(self, key: Any) -> NoReturn:
        raise TracingError(
            located("a traced array cannot be written to; write np.concatenate([x[:i], x[i + 1:]]) instead of del x[i]")
        )
