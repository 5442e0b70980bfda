"""Compiled functions as methods: a program for each instance, and for what its attributes hold."""

from __future__ import annotations

import contextlib
import functools
import inspect
import weakref
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

from .program_key import exact_key
from .programs import Programs

Compiled = TypeVar("Compiled", bound=Callable[..., Any])


class CompiledMethods(Generic[Compiled]):
    """What one function was compiled to as the method of instances, by instance.

    The attributes of `self` are part of the program, numbers and strings by value and all else by identity, so that an
    instance whose attribute was assigned has another program. What is compiled for an instance goes with it.
    """

    def __init__(self, fn: Any, make: Callable[[Callable[..., Any]], Compiled]) -> None:
        self._fn = fn
        self._make = make
        self._made: dict[int, Programs[Compiled]] = {}

    def of(self, instance: Any, owner: type | None) -> Compiled:
        """The compiled method of `instance` as it is now."""
        programs = self._made.get(id(instance))
        if programs is None:
            programs = self._made[id(instance)] = Programs()
            with contextlib.suppress(TypeError):  # of slots alone: then it is kept, and so is its id
                weakref.finalize(instance, self._made.pop, id(instance), None)
        key = tuple((name, _attribute_key(value)) for name, value in getattr(instance, "__dict__", {}).items())
        found = programs.get(key)
        if found is None:
            found = self._make(_weakly_bound(self._fn, instance, owner))
            programs.add(key, found)
        return found


class BoundMethod:
    """A compiled function bound to an instance, which it keeps alive."""

    def __init__(self, methods: CompiledMethods[Any], instance: Any, owner: type | None, fn: Any) -> None:
        functools.update_wrapper(self, fn, updated=())
        self.__self__ = instance
        self._methods = methods
        self._owner = owner

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The result of the method, as NumPy arrays."""
        return self._methods.of(self.__self__, self._owner)(*args, **kwargs)


class _Same:
    """An object as a key, by identity."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __hash__(self) -> int:
        return id(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self._value is other._value


def _attribute_key(value: Any) -> Hashable:
    return exact_key(value) if value is None or isinstance(value, (bool, int, float, str)) else _Same(value)


def _weakly_bound(fn: Any, instance: Any, owner: type | None) -> Callable[..., Any]:
    """`fn` bound to an instance that this does not keep alive."""
    try:
        get: Callable[[], Any] = weakref.ref(instance)
    except TypeError:

        def get() -> Any:
            return instance

    def method(*args: Any, **kwargs: Any) -> Any:
        return fn.__get__(get(), owner)(*args, **kwargs)

    method.__name__ = method.__qualname__ = getattr(fn, "__name__", type(fn).__name__)
    with contextlib.suppress(TypeError, ValueError):
        method.__signature__ = inspect.signature(fn.__get__(instance, owner))  # pyright: ignore[reportFunctionMemberAccess]
    return method
