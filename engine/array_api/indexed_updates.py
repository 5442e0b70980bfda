"""`x.at[index].set(v)` and its kin: arrays with some entries changed, as JAX writes what NumPy does in place."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...ir import Op, is_float
from ...ir.ops import dynamic_slice as slices
from ...ir.ops import elementwise as ew
from ...ir.ops import indexing, scatter
from ..tracing.tracer import ArrayLike, ShapeError, Tracer, TracingError, as_operand, emit, located
from . import elementwise as e
from .broadcasting import (
    as_arraylike,
    broadcasts_to,
    cast,
    described,
    dtype_of,
    exact_scalar,
    key_of,
    reshaped,
    shape_of,
    stretched,
    transposed,
)
from .comparison import less, less_equal, logical_and, where
from .dynamic_slices import read_slice, write_slice
from .indexing import (
    are_adjacent,
    basic_entries,
    broadcast_indices,
    getitem,
    index_entries,
    is_index_array,
    nonnegative,
)
from .manipulation import concatenate

_INT64 = np.dtype("int64")
Change = Callable[[ArrayLike, ArrayLike], ArrayLike]


def at(x: ArrayLike) -> At:
    """`x.at` of a traced array, for any array: `gl.numpy.at(x)[index].set(v)`; see `At`."""
    return At(as_arraylike(x))


class At:
    """What `x.at` gives: `x.at[index]` names entries as `x[index]` does, and its methods give arrays with these
    changed. `x` stays as it is.
    """

    def __init__(self, x: ArrayLike) -> None:
        self._x = x

    def __getitem__(self, index: Any) -> AtIndex:
        return AtIndex(self._x, index)

    def __repr__(self) -> str:
        return f"<at of {described(self._x)}>"


class AtIndex:
    """The entries of an array that an index names: slices, integers, index arrays, masks, as of NumPy.

    Of an entry that the index names several times `add`, `multiply`, `min` and `max` take all the values, and `set` the
    last. A value broadcasts to the shape of `x[index]` and takes the array's dtype, as in an assignment. A traced mask
    of the array's shape, or of its first axes, is an index for values without axes. `mode` says what happens to traced
    indices out of range: an `IndexError` (`None`, `"promise_in_bounds"`), the nearest entry (`"clip"`), or nothing
    (`"drop"`); `indices_are_sorted` and `unique_indices` are hints that nothing needs.

    Raises `IndexError` as `x[index]` does, `ShapeError` for values that do not broadcast, `TracingError` for floats
    into integers.
    """

    def __init__(self, x: ArrayLike, index: Any) -> None:
        self._x = x
        self._index = index

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        instead = "write x.at[index].set(f(x[index]))"
        raise AttributeError(located(f"x.at[index] has set, add, subtract, multiply, divide, min, max, get; {instead}"))

    def set(self, values: ArrayLike, **options: Any) -> Any:
        """`x[index] = values`; the derivative goes to what is there at the end."""
        return self._changed("set", scatter.scatter_set, lambda old, new: new, values, options)

    def add(self, values: ArrayLike, **options: Any) -> Any:
        """`x[index] += values`, once for each time that the index names an entry (`np.add.at`)."""
        return self._changed("add", indexing.scatter_add, _apart(ew.add), values, options)

    def subtract(self, values: ArrayLike, **options: Any) -> Any:
        """`x[index] -= values`, once for each time that the index names an entry."""
        return self._changed("add", indexing.scatter_add, _apart(ew.add), e.negative(as_arraylike(values)), options)

    def multiply(self, values: ArrayLike, **options: Any) -> Any:
        """`x[index] *= values`, once for each time that the index names an entry; `mul` in JAX too."""
        return self._changed("multiply", scatter.scatter_mul, _apart(ew.mul), values, options)

    mul = multiply

    def divide(self, values: ArrayLike, **options: Any) -> Any:
        """`x[index] /= values`: all factors of an entry are multiplied, and it is divided by the product."""
        ones = AtIndex(np.ones(shape_of(self._x), dtype_of(self._x)), self._index)
        return e.divide(self._x, ones.multiply(values, **options))

    def min(self, values: ArrayLike, **options: Any) -> Any:
        """The smaller of each entry and its values; equal ones share the derivative."""
        return self._changed("min", scatter.scatter_min, _apart(ew.minimum), values, options)

    def max(self, values: ArrayLike, **options: Any) -> Any:
        """The larger of each entry and its values; equal ones share the derivative."""
        return self._changed("max", scatter.scatter_max, _apart(ew.maximum), values, options)

    def get(self, **options: Any) -> Any:
        """`x[index]`; what is out of range is `fill_value` with `mode="fill"` (`"drop"`), NaN or 0 if not given."""
        fill = options.pop("fill_value", None)
        mode = _mode("get", options)
        entries, gap = index_entries(self._x, _key(self._index)) if mode else ([], 0)
        if not any(map(is_index_array, entries)):
            return getitem(self._x, self._index)
        places = _Places(self._x, entries, gap)
        index, inside = places.bounded()
        merged = reshaped(transposed(self._x, places.order), places.merged)
        got = reshaped(emit(indexing.gather, merged, index, axis=places.axis, batch=0), places.named)
        if mode == "clip":
            return got
        if fill is None:
            fill = math.nan if is_float(dtype_of(self._x)) else 0
        return where(reshaped(inside, places.inside_shape), got, cast(as_arraylike(fill), dtype_of(self._x)))

    def _changed(self, name: str, op: Op, change: Change, values: ArrayLike, options: dict[str, Any]) -> Any:
        mode = _mode(name, options)
        x, new = self._x, _as_values(self._x, values)
        if _is_traced_mask(self._index):
            return _where_mask(x, self._index, change, new)
        entries, gap = index_entries(x, _key(self._index))
        if not any(map(is_index_array, entries)):
            return _at_slices(x, entries, change, new)
        if mode is None and _is_window(x, entries):
            return _at_window(x, entries, change, new)
        return _at_arrays(x, entries, gap, op, new, mode)


def _key(index: Any) -> tuple[Any, ...]:
    return index if isinstance(index, tuple) else (index,)


def _apart(op: Op) -> Change:
    """An op on two arrays of one type."""
    return lambda old, new: emit(op, old, new)


def _mode(name: str, options: dict[str, Any]) -> str | None:
    mode = options.pop("mode", None)
    for hint in ("indices_are_sorted", "unique_indices", "wrap_negative_indices"):
        options.pop(hint, None)
    if options:
        raise TypeError(located(f"at[...].{name} has no argument {next(iter(options))!r}"))
    mode = getattr(mode, "name", mode)  # JAX's enumeration
    mode = mode.lower() if isinstance(mode, str) else mode
    known = {None: None, "promise_in_bounds": None, "clip": "clip", "drop": "drop", "fill": "drop"}
    known["fill_or_drop"] = "drop"
    if mode not in known:
        raise ValueError(located(f"at[...].{name}: mode is None, 'clip', 'drop', 'fill' or 'promise_in_bounds'"))
    return known[mode]


def _as_values(x: ArrayLike, values: ArrayLike) -> ArrayLike:
    """Values as the dtype of the array that takes them."""
    given = as_operand(values)
    dtype = dtype_of(x)
    key = key_of(given)
    weak = key is int or key is float  # a dtype is equal to the type of its numbers
    if not weak and not np.can_cast(dtype_of(given), dtype, "same_kind"):
        raise TracingError(located(f"{described(given)} do not go into {described(x)}; write .astype('{dtype}')"))
    if key is float and not is_float(dtype):
        raise TracingError(located(f"a float does not go into {described(x)}; write .astype('float64') of the array"))
    return cast(given, dtype) if isinstance(given, (Tracer, np.ndarray)) else exact_scalar(given, dtype)


def _fitted(x: ArrayLike, values: ArrayLike, shape: tuple[int, ...]) -> ArrayLike:
    given = shape_of(values)
    given = given[next((i for i, n in enumerate(given) if n != 1 or len(given) - i <= len(shape)), len(given)) :]
    if not broadcasts_to(given, shape):
        raise ShapeError(located(f"values of {described(values)} do not broadcast to the entries, {shape}"))
    return stretched(reshaped(values, given), shape)


# Masks.


def _is_traced_mask(index: Any) -> bool:
    return isinstance(index, Tracer) and index.dtype.kind == "b"


def _where_mask(x: ArrayLike, mask: Tracer, change: Change, new: ArrayLike) -> ArrayLike:
    shape = shape_of(x)
    if mask.shape != shape[: mask.ndim]:
        raise IndexError(located(f"a mask of shape {mask.shape} does not fit {described(x)}"))
    if shape_of(new):
        raise TracingError(
            located("how many entries a traced mask names depends on values; write np.where(mask, new, x)")
        )
    whole = reshaped(mask, (*mask.shape, *(1 for _ in shape[mask.ndim :])))
    return where(whole, change(x, stretched(new, shape)), x)


# Slices and integers.


def _at_slices(x: ArrayLike, entries: Sequence[Any], change: Change, new: ArrayLike) -> ArrayLike:
    old = basic_entries(x, entries)
    fitted = _fitted(x, new, shape_of(old))
    if 0 in shape_of(old):
        return x
    changed = change(old, fitted)
    windows = [part for part in entries if part is not None]
    ranges = [
        range(part, part + 1) if isinstance(part, int) else range(*part.indices(n))
        for part, n in zip(windows, shape_of(x))
    ]
    return _write(x, reshaped(changed, [len(r) for r in ranges]), ranges, 0)


def _write(x: ArrayLike, new: ArrayLike, ranges: Sequence[range], axis: int) -> ArrayLike:
    """`x` with `new` at the places `ranges` of the axes from `axis` on."""
    shape = shape_of(x)
    while axis < len(shape) and ranges[axis] == range(shape[axis]):
        axis += 1
    if axis == len(shape):
        return new
    along = ranges[axis]
    if any(ranges[a] != range(shape[a]) for a in range(axis + 1, len(shape))):
        rows = getitem(x, _along(axis, np.asarray(along) if along.step != 1 else slice(along.start, along.stop)))
        new = _write(rows, new, ranges, axis + 1)
    if along.step == 1:
        return emit(slices.dynamic_update_slice, x, np.asarray(along.start, _INT64), new, axis=axis, batch=0)
    return emit(scatter.scatter_set, x, np.asarray(along, _INT64), new, axis=axis, batch=0)


# Traced integers among slices: of these only what they name is written where nothing reads the old array later.


def _is_window(x: ArrayLike, entries: Sequence[Any]) -> bool:
    parts = zip((part for part in entries if part is not None), shape_of(x))
    return all(not shape_of(i) if is_index_array(i) else i.indices(n)[2] == 1 for i, n in parts)


def _at_window(x: ArrayLike, entries: Sequence[Any], change: Change, new: ArrayLike) -> ArrayLike:
    starts: list[Any] = []
    sizes: list[int] = []
    for part, n in zip((part for part in entries if part is not None), shape_of(x)):
        if isinstance(part, Tracer):
            starts.append(nonnegative(part, n))
        elif is_index_array(part):
            starts.append(int(part))
        else:
            starts.append(part.indices(n)[0])
        sizes.append(1 if is_index_array(part) else len(range(*part.indices(n))))
    lengths = iter(n for n, part in zip(sizes, (p for p in entries if p is not None)) if not is_index_array(part))
    named = tuple(1 if part is None else next(lengths) for part in entries if not is_index_array(part))
    fitted = _fitted(x, new, named)
    if 0 in sizes:
        return x
    changed = change(reshaped(read_slice(x, starts, sizes), named), fitted)
    return write_slice(x, reshaped(changed, sizes), starts)


# Index arrays.


class _Places:
    """Where index arrays reach: axes of `x`, transposed by `order` and merged to one, indexed by arrays of `shape`.

    The other `entries` are new axes and whole slices; `gap` is that of `index_entries`.
    """

    def __init__(self, x: ArrayLike, entries: Sequence[Any], gap: int) -> None:
        places = [i for i, part in enumerate(entries) if is_index_array(part)]
        self.indices = [entries[i] for i in places]
        self.shape = broadcast_indices(self.indices)
        axes = [sum(part is not None for part in entries[:i]) for i in places]
        adjacent = are_adjacent(places, gap)
        rest = (a for a in range(len(shape_of(x))) if a not in axes)
        self.order = tuple(range(len(shape_of(x)))) if adjacent else (*axes, *rest)
        self.axis = axes[0] if adjacent else 0
        self.moved = tuple(shape_of(x)[a] for a in self.order)
        self.lengths = self.moved[self.axis : self.axis + len(places)]
        before, after = self.moved[: self.axis], self.moved[self.axis + len(places) :]
        self.merged = (*before, math.prod(self.lengths), *after)
        self.gathered = (*before, *self.shape, *after)
        """The shape of what the index names, without new axes."""
        lengths = iter((*before, *after))
        first = places[0] if adjacent else 0
        others = [1 if part is None else next(lengths) for part in entries if not is_index_array(part)]
        self.named = (*others[:first], *self.shape, *others[first:])
        """The shape of `x[index]`."""
        self.inside_shape = (*(1 for _ in others[:first]), *self.shape, *(1 for _ in others[first:]))

    def index(self) -> ArrayLike:
        """The indices along the merged axis."""
        if len(self.indices) == 1:
            return self.indices[0]
        return self._flat([nonnegative(index, n) for index, n in zip(self.indices, self.lengths)])

    def bounded(self) -> tuple[ArrayLike, ArrayLike]:
        """The indices along the merged axis, each brought to the nearest entry, and which were in range."""
        clipped, inside = [], np.ones((), bool)
        for index, n in zip(self.indices, self.lengths):
            wide = cast(index, _INT64)
            wide = where(less(wide, 0), e.add(wide, n), wide)
            inside = logical_and(inside, logical_and(less_equal(0, wide), less(wide, n)))
            clipped.append(e.clip(wide, 0, max(n - 1, 0)))
        return self._flat(clipped), stretched(inside, self.shape)

    def _flat(self, indices: Sequence[ArrayLike]) -> ArrayLike:
        flat: ArrayLike = 0
        for index, n in zip(indices, self.lengths):
            flat = e.add(e.multiply(flat, n), index)
        return stretched(as_arraylike(flat), self.shape)


def _at_arrays(x: ArrayLike, entries: Sequence[Any], gap: int, op: Op, new: ArrayLike, mode: str | None) -> ArrayLike:
    windows = [slice(None) if is_index_array(part) else part for part in entries if part is not None]
    ranges = [range(*part.indices(n)) for part, n in zip(windows, shape_of(x))]
    if ranges != [range(n) for n in shape_of(x)]:
        part = basic_entries(x, windows)
        whole = [slice(None) if isinstance(entry, slice) else entry for entry in entries]
        changed = _at_arrays(part, whole, gap, op, new, mode)
        return _write(x, changed, ranges, 0) if 0 not in shape_of(part) else x
    places = _Places(x, entries, gap)
    new = reshaped(_fitted(x, new, places.named), places.gathered)
    merged = reshaped(transposed(x, places.order), places.merged)
    index = places.index() if mode is None else places.bounded()[0]
    if mode == "drop":
        # What is out of range goes to an entry of its own, which is cut off again.
        index = where(places.bounded()[1], index, places.merged[places.axis])
        merged = concatenate([merged, getitem(merged, _along(places.axis, slice(0, 1)))], axis=places.axis)
    changed = emit(op, merged, index, new, axis=places.axis, batch=0)
    if mode == "drop":
        changed = getitem(changed, _along(places.axis, slice(0, -1)))
    return transposed(reshaped(changed, places.moved), np.argsort(places.order).tolist())


def _along(axis: int, part: Any) -> tuple[Any, ...]:
    return (*(slice(None) for _ in range(axis)), part)
