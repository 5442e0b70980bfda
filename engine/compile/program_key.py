"""Keys of what is fixed in a program: equal only for values that make the same program."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Mapping, Sequence
from enum import Enum
from functools import lru_cache
from types import MemberDescriptorType
from typing import Any, cast

import numpy as np
import optree

_OTHERWISE_EQUAL = (bool, int, str, bytes, type(None), type(Ellipsis))
"""Types whose equal values, of the same type, are the same in all else too."""


def exact_key(value: Any) -> Hashable:
    """A key of `value` that equals another's only where both values are the same to every reader.

    Python holds 1, 1.0 and True equal, and 0.0 and -0.0, and so whatever is compared by such parts: dataclasses,
    tuples, frozensets, the keys of dicts; and dicts in another order. Here types, bits and order count, at every depth.
    Objects that are compared by identity are their own key. What has no hash may be a list, dict, set or array inside.
    """
    return _key(value, ())


def _key(value: Any, around: tuple[int, ...]) -> Hashable:
    kind = type(value)
    if kind in _OTHERWISE_EQUAL:
        return kind, value
    if kind is float:
        return kind, _bits(value)
    if kind is complex:
        return kind, _bits(value.real), _bits(value.imag)
    if isinstance(value, (type, Enum)) or id(value) in around:
        return kind, _Same(value)
    around = (*around, id(value))
    if isinstance(value, np.generic):
        return kind, value.dtype.str, value.tobytes()
    if isinstance(value, np.ndarray):
        array = cast(Any, value)
        return kind, array.dtype.str, array.shape, array.tobytes()
    if isinstance(value, (int, float, complex, str, bytes)):
        base = next(b for b in (int, float, complex, str, bytes) if isinstance(value, b))
        return kind, _key(base(cast(Any, value)), around), _attributes(value, around)
    if isinstance(value, (tuple, list)):
        return kind, *[_key(part, around) for part in cast(Any, value)], _attributes(value, around)
    if isinstance(value, (frozenset, set)):
        return kind, frozenset(_key(part, around) for part in cast(Any, value)), _attributes(value, around)
    if isinstance(value, Mapping):
        pairs = [(_key(k, around), _key(v, around)) for k, v in cast(Any, value).items()]
        return kind, *pairs, _attributes(value, around)
    if kind.__eq__ is object.__eq__:
        return kind, _Same(value)
    if dataclasses.is_dataclass(value):
        return kind, _attributes(value, around)
    if _members(kind) or hasattr(value, "__dict__"):
        return kind, _equal(value), _attributes(value, around)
    # Of a type written in C, such as Decimal or range: its text tells apart what its == does not.
    return kind, _equal(value), repr(value)


def structure_key(tree: optree.PyTreeSpec) -> Hashable:
    """A key of the structure of a pytree: optree compares keys of dicts and metadata of nodes by ==, and no order."""
    if _is_plain(tree):
        return tree
    parts = [_seen_by(node[2:5], node[7:]) for node in _nodes(tree) if node[2] is not None or node[3] is not None]
    return tree, *parts


def _nodes(tree: optree.PyTreeSpec) -> Sequence[tuple[Any, ...]]:
    """As they are pickled: kind, number of children, keys or metadata, names of children, class, two counts, and the
    keys of a dict in its own order.
    """
    return cast(Any, tree).__getstate__()[0]


@lru_cache(maxsize=1024)
def _is_plain(tree: optree.PyTreeSpec) -> bool:
    """Whether the structure is of tuples, lists, None and empty dicts alone, which are equal to nothing else."""
    return all(not any(part for part in (*node[2:5], *node[7:])) for node in _nodes(tree))


_NAMES = {str}


def _seen_by(said: tuple[Any, ...], order: tuple[Any, ...]) -> Hashable:
    names = said[0]
    if type(names) is list and said[1] is None and set(map(type, names)) <= _NAMES:
        return tuple(order[0]) if order[0] else ()  # a dict with names for keys, as nearly all are
    return exact_key((said, order))


class _Same:
    """A value that is equal to itself alone; it lives as long as the key."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.value is self.value

    def __hash__(self) -> int:
        return id(self.value)


def _equal(value: Any) -> Hashable:
    """The value, to be compared by its own == beside what is seen of it."""
    try:
        hash(value)
    except TypeError:
        return None
    return value


def _bits(value: float) -> bytes:
    return np.float64(value).tobytes()


@lru_cache(maxsize=1024)
def _members(kind: type) -> tuple[str, ...]:
    """Names of the attributes that the classes of `kind` keep in slots."""
    found = [name for c in kind.__mro__ for name, a in vars(c).items() if isinstance(a, MemberDescriptorType)]
    return tuple(dict.fromkeys(found))


def _attributes(value: Any, around: tuple[int, ...]) -> Hashable:
    """Keys of what an object holds, by name."""
    held = dict(getattr(value, "__dict__", None) or {})
    for name in _members(type(value)):
        try:
            held[name] = getattr(value, name)
        except AttributeError:
            continue
    return tuple((name, _key(held[name], around)) for name in sorted(held))
