"""The arguments of a compiled function that its programs are made for, value by value."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from .errors import located


class StaticArguments:
    """Which arguments of `fn` are static: by name, or by position from 0. A parameter is meant however it is given.

    Raises `TypeError` for what is neither, and `ValueError` for an argument that `fn` does not have.
    """

    def __init__(self, fn: Callable[..., Any], static: str | int | Sequence[str | int]) -> None:
        given: list[Any] = [static] if isinstance(static, (str, int)) else list(static)
        if any(isinstance(which, bool) or not isinstance(which, (str, int)) for which in given):
            raise TypeError(
                located(f"static names arguments by name or position, such as static=('axis', 2); got {static!r}")
            )
        self._positional: list[str] | None = None
        self._rest = self._more = ""
        keywords: list[str] = []
        try:
            parameters = list(inspect.signature(fn).parameters.values())
        except (TypeError, ValueError):
            pass  # a function written in C: what is said is taken as it is
        else:
            self._positional = []
            for p in parameters:
                if p.kind is p.VAR_POSITIONAL:
                    self._rest = p.name
                elif p.kind is p.VAR_KEYWORD:
                    self._more = p.name
                elif p.kind is p.KEYWORD_ONLY:
                    keywords.append(p.name)
                else:
                    self._positional.append(p.name)
        names = {which for which in given if isinstance(which, str)}
        places = {which for which in given if isinstance(which, int)}
        known = [*(self._positional or ()), *keywords, *filter(None, (self._rest, self._more))]
        if self._positional is not None:
            unknown = [] if self._more else sorted(names - set(known))
            unknown += [str(place) for place in sorted(places) if not self._has(place)]
            if unknown:
                name = getattr(fn, "__name__", type(fn).__name__)
                raise ValueError(
                    located(f"static: {name} has no argument {', '.join(unknown)}; it has {', '.join(known)}")
                )
            for place in places:
                if place < len(self._positional):
                    names.add(self._positional[place])
        self._names = frozenset(names)
        self._places = frozenset(places)

    def _has(self, place: int) -> bool:
        assert self._positional is not None
        return place >= 0 and (place < len(self._positional) or bool(self._rest))

    def places(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[int | str]:
        """Those of a call's arguments that are static: positions and keywords."""
        found: list[int | str] = [i for i in range(len(args)) if i in self._places or self._name(i) in self._names]
        for name in kwargs:
            own = self._positional is not None and name not in self._positional and self._more in self._names
            if name in self._names or own:
                found.append(name)
        return found

    def _name(self, place: int) -> str:
        if self._positional is None:
            return ""
        return self._positional[place] if place < len(self._positional) else self._rest


def split(
    args: tuple[Any, ...], kwargs: dict[str, Any], places: Sequence[int | str]
) -> tuple[tuple[Any, ...], dict[str, Any], dict[int | str, Any]]:
    """The arguments with `None` for those at `places`, and those."""
    taken = {place: args[place] if isinstance(place, int) else kwargs[place] for place in places}
    rest = tuple(None if i in taken else arg for i, arg in enumerate(args))
    return rest, {name: None if name in taken else arg for name, arg in kwargs.items()}, taken


def with_arguments(fn: Callable[..., Any], taken: dict[int | str, Any]) -> Callable[..., Any]:
    """`fn` with what `split` took put in its place."""
    if not taken:
        return fn

    @functools.wraps(fn, updated=())
    def whole(*args: Any, **kwargs: Any) -> Any:
        given = [taken.get(i, arg) for i, arg in enumerate(args)]
        return fn(*given, **{name: taken.get(name, arg) for name, arg in kwargs.items()})

    return whole
