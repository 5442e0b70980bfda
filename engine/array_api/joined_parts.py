"""`r_` and `c_`: arrays, numbers and ranges joined by indexing."""

from __future__ import annotations

from typing import Any

from ..tracing.errors import UnsupportedError
from ..tracing.promotion import result_dtype
from ..tracing.tracer import located
from .broadcasting import as_arraylike, cast, key_of, shape_of
from .creation import arange, linspace
from .manipulation import concatenate, expand_dims


class JoinedRows:
    """`r_[x, 0, 1:5, 0:1:3j]`: arrays, numbers, the range 1, 2, 3, 4 and 3 numbers from 0 to 1, joined along the first
    axis. Raises `UnsupportedError` for a string, which says an axis in NumPy.
    """

    name = "r_"

    def __getitem__(self, key: Any) -> Any:
        given = [self._part(part) for part in (key if isinstance(key, tuple) else (key,))]
        dtype = result_dtype(*map(key_of, given))
        return self._joined([cast(as_arraylike(x), dtype) for x in given])

    def _part(self, part: Any) -> Any:
        if isinstance(part, str):
            raise UnsupportedError(located(f"np.{self.name}[{part!r}, ...]: write np.concatenate(arrays, axis)"))
        if not isinstance(part, slice):
            return part if isinstance(part, (int, float)) else as_arraylike(part)
        start, step = part.start or 0, 1 if part.step is None else part.step
        if isinstance(step, complex):
            return linspace(start, part.stop, int(abs(step)))
        return arange(start, part.stop, step)

    def _joined(self, parts: list[Any]) -> Any:
        return concatenate([x if shape_of(x) else expand_dims(x, 0) for x in parts])


class JoinedColumns(JoinedRows):
    """`c_[x, y]`: vectors as columns, and other arrays, joined along the last axis."""

    name = "c_"

    def _joined(self, parts: list[Any]) -> Any:
        parts = [x if shape_of(x) else expand_dims(x, 0) for x in parts]
        return concatenate([expand_dims(x, -1) if len(shape_of(x)) == 1 else x for x in parts], axis=-1)


r_ = JoinedRows()
c_ = JoinedColumns()
