"""Random numbers that are drawn while a program is traced: they are constants of it, and the user is told so.

The functions of `numpy.random`, `random` and torch are watched while a program is traced. Generators have methods that
nobody can watch: their states, as far as what is traced can reach them, are compared from before to after, and the
lines that draw are read from the code that was reached.
"""

from __future__ import annotations

import contextlib
import dis
import functools
import random
import sys
import threading
from collections.abc import Callable, Hashable, Iterator
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, cast

import numpy as np

from ...ir.users_line import frames, shown_file, source
from .errors import warn
from .tracer import current_trace

_LEGACY: Any = np.random.mtrand._rand  # pyright: ignore[reportAttributeAccessIssue]
_MODULES: dict[ModuleType, list[str]] = {
    module: [
        name
        for name in dir(module)
        if name == "seed" or (name[0] != "_" and getattr(getattr(module, name), "__self__", None) is own)
    ]
    for module, own in ((np.random, _LEGACY), (random, random._inst))
}
_NO_DRAWS = frozenset({"get_state", "set_state", "getstate", "setstate", "get_bit_generator", "set_bit_generator"})
_SEEDS = frozenset({"seed", "manual_seed"})
_OF_TORCH = (
    *("rand", "rand_like", "randint", "randint_like", "randn", "randn_like", "randperm"),
    *("bernoulli", "manual_seed", "multinomial", "normal", "poisson"),
)
_DRAWS = frozenset(
    name for kind in (np.random.Generator, np.random.RandomState, random.Random) for name in dir(kind) if name[0] != "_"
) - (_NO_DRAWS | _SEEDS | {"bit_generator", "spawn"})

_UNIFORM = frozenset({"rand", "rand_like", "random", "random_sample", "ranf", "sample", "uniform"})
_NORMAL = frozenset({"randn", "randn_like", "standard_normal", "normal", "gauss", "normalvariate"})

_OTHERS = {
    **dict.fromkeys(
        ("randint", "randint_like", "integers", "random_integers", "randrange"), "randint(shape, low, high)"
    ),
    **dict.fromkeys(("permutation", "shuffle", "randperm", "permuted"), "permutation(x)"),
    **dict.fromkeys(("choice", "choices"), "choice(a, shape)"),
    "multinomial": "categorical(logits, shape=shape)",
    "exponential": "exponential(shape)",
    "gamma": "gamma(a, shape)",
    "beta": "beta(a, b, shape)",
    "dirichlet": "dirichlet(alpha, shape)",
}

_MOST_OBJECTS = 20_000
"""Objects that are looked at for generators."""

_lock = threading.RLock()
_watching: list[_Watch] = []


class _Watch:
    """One trace of one thread, and what was drawn in it: names of functions by the lines that called them."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.drawn: dict[str, str] = {}
        self.meant: set[ModuleType] = set()
        """Modules whose draws are the same in every run of the Python code too, or are those of a constructor."""


@contextlib.contextmanager
def warn_of_draws(warned: set[str], *traced: Any) -> Iterator[None]:
    """Warn after the block, which traces the functions and models `traced`, of every line that drew a random number,
    but for the lines in `warned`, which has them all then. What the constructors of modules draw is meant to stay.
    """
    reached = _Reached(traced)
    before = [_state(generator) for generator in reached.generators]
    legacy = [_state(_LEGACY), random.getstate()]
    watch = _Watch()
    with _watched(watch):
        yield
    changed = {id(g) for g, state in zip(reached.generators, before) if _state(g) != state}
    for module, own, state in zip(_MODULES, (_LEGACY, random), legacy):
        now = random.getstate() if own is random else _state(own)
        if watch.drawn or module in watch.meant:
            changed.discard(id(own))  # warned of by name, or as it should be
        elif now != state:
            changed.add(id(own))
    if changed:
        watch.drawn = reached.lines(changed) | watch.drawn
    for line, name in watch.drawn.items():
        if line not in warned:
            warned.add(line)
            warn(_message(name, line))


def _message(name: str, line: str) -> str:
    function = name.rpartition(".")[2]
    instead = "gl.random.normal(shape)" if function in _NORMAL else "gl.random.uniform(shape)"
    if function in _OTHERS:
        instead = f"gl.random.{_OTHERS[function]}"
    elif function not in _NORMAL | _UNIFORM:
        instead += " or gl.random.bernoulli(p, shape)"
    where = f" at {line}" if line else ""
    return (
        f"{name} was called{where} while the program was traced: what it drew is a constant of it, the same in every "
        f"run. Write {instead}, which draws new numbers in every step of gl.compile_step; a function of gl.compile, "
        "which has no steps, is given what was drawn outside as an argument"
    )


# ---- functions of modules


@contextlib.contextmanager
def _watched(watch: _Watch) -> Iterator[None]:
    with _lock:
        if not _watching:
            _put_watches()
        _watching.append(watch)
    try:
        yield
    finally:
        with _lock:
            _watching.remove(watch)
            if not _watching:
                _take_watches()


_originals: dict[tuple[ModuleType, str], Any] = {}


def _put_watches() -> None:
    for module, names in _MODULES.items():
        for name in names:
            if name not in _NO_DRAWS:
                _originals[module, name] = getattr(module, name)
                setattr(module, name, _watching_function(module, name, getattr(module, name)))
    torch = sys.modules.get("torch")
    for name in _OF_TORCH if torch is not None else ():
        if torch is not None and hasattr(torch, name):
            _originals[torch, name] = getattr(torch, name)
            setattr(torch, name, _watching_function(torch, name, getattr(torch, name)))
    _originals[np.random, "default_rng"] = np.random.default_rng
    np.random.default_rng = _watching_function(np.random, "default_rng", np.random.default_rng)


def _take_watches() -> None:
    for (module, name), original in _originals.items():
        setattr(module, name, original)
    _originals.clear()


def _watching_function(module: ModuleType, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def watched(*args: Any, **kwargs: Any) -> Any:
        for watch in _watching if current_trace() is not None else ():
            if watch.thread == threading.get_ident():
                _note(watch, module, name, args, kwargs)
        return function(*args, **kwargs)

    return watched


def _note(watch: _Watch, module: ModuleType, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    given = next(iter((*args, *kwargs.values())), None)
    if name in _SEEDS:
        if given is not None:
            watch.meant.add(module)
    elif name == "default_rng" and given is not None:
        pass
    elif _in_constructor():
        watch.meant.add(module)
    elif module not in watch.meant:
        watch.drawn.setdefault(source(), f"{'np.random' if module is np.random else module.__name__}.{name}")


def _in_constructor() -> bool:
    from ..nn import Module

    for frame in frames():
        if frame.f_code.co_name == "__init__" and isinstance(frame.f_locals.get("self"), Module):
            return True
    return False


# ---- generators


def _state(generator: Any) -> Hashable:
    if isinstance(generator, random.Random):
        return generator.getstate()
    if isinstance(generator, np.random.RandomState):
        return _frozen(generator.get_state(legacy=False))
    return _frozen(generator.bit_generator.state)


def _frozen(state: Any) -> Hashable:
    if isinstance(state, dict):
        return tuple((key, _frozen(value)) for key, value in cast(dict[Any, Any], state).items())
    return state.tobytes() if isinstance(state, np.ndarray) else state


class _Reached:
    """The generators that functions and models can reach, and the user's code among what they can reach."""

    def __init__(self, roots: Any) -> None:
        self.generators: list[Any] = []
        self._codes: dict[CodeType, FunctionType] = {}
        self._classes: set[type] = set()
        seen: set[int] = set()
        waiting = list(roots)
        while waiting and len(seen) < _MOST_OBJECTS:
            value = waiting.pop()
            if id(value) not in seen:
                seen.add(id(value))
                waiting += self._beyond(value)

    def _beyond(self, value: Any) -> list[Any]:
        if isinstance(value, (np.random.Generator, np.random.RandomState, random.Random)):
            self.generators.append(value)
            return []
        if isinstance(value, FunctionType):
            return self._of_function(value)
        if isinstance(value, MethodType):
            return [value.__func__, value.__self__]
        if isinstance(value, functools.partial):
            return [value.func, *value.args, *value.keywords.values()]
        if isinstance(value, (list, tuple, set, frozenset)):
            return list(cast(Any, value)) if len(cast(Any, value)) < _MOST_OBJECTS else []
        if isinstance(value, dict):
            return list(cast(Any, value).values())
        if isinstance(value, (type, ModuleType, np.ndarray, np.generic, str, bytes, int, float)):
            return []
        held = getattr(value, "__dict__", None)
        if not isinstance(held, dict):
            return []
        if type(value) in self._classes:
            return list(cast(Any, held).values())
        self._classes.add(type(value))
        methods = [f for kind in type(value).__mro__ for f in vars(kind).values() if isinstance(f, FunctionType)]
        return [*cast(Any, held).values(), *methods]

    def _of_function(self, function: FunctionType) -> list[Any]:
        wrapped = [function.__wrapped__] if hasattr(function, "__wrapped__") else []
        cells = [cell.cell_contents for cell in function.__closure__ or () if _filled(cell)]
        if not shown_file(function.__code__.co_filename):
            return [*wrapped, *cells]
        beyond: list[Any] = [*wrapped, *cells, *(function.__defaults__ or ())]
        for code in _with_inner(function.__code__):
            self._codes[code] = function
            for name in code.co_names:
                found = function.__globals__.get(name)
                beyond.append(found)
                if isinstance(found, ModuleType) and shown_file(getattr(found, "__file__", None) or "<frozen>"):
                    beyond += [getattr(found, inner, None) for inner in code.co_names]
        return beyond

    def lines(self, changed: set[int]) -> dict[str, str]:
        """The lines that may have drawn from the generators with these ids, with the names of what they called."""
        found: dict[str, str] = {}
        for code, function in self._codes.items():
            if code.co_name == "__init__":
                continue
            for instruction in dis.get_instructions(code):
                name = instruction.argval
                if instruction.opname.startswith("LOAD_") and isinstance(name, str):
                    is_method = name in _DRAWS and _loads_method(instruction)
                    alone = getattr(function.__globals__.get(name), "__self__", None)
                    line = instruction.positions.lineno if instruction.positions else None
                    if is_method or (alone is not None and (id(alone) in changed or alone is _LEGACY)):
                        where = f"{shown_file(code.co_filename)}:{line or code.co_firstlineno}"
                        found.setdefault(where, name)
        return found or {"": "a random number generator"}


def _loads_method(instruction: dis.Instruction) -> bool:
    return instruction.opname == "LOAD_METHOD" or "NULL|self" in instruction.argrepr


def _filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False


def _with_inner(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _with_inner(constant)
