"""Steps that share parameters and buffers by name: what must agree, and how their live arrays become one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ...ir import Array, ArrayType
from ...runtime.backend import Backend
from ...runtime.codegen.deferred_signals import deferred_signals
from ...runtime.codegen.fork_lock import interrupted
from ..nn import Module
from ..nn.parameter import Parameter, Stored
from ..tracing.tracer import located
from .live_arrays import LiveArrays, own_memory
from .step_arrays import StepArrays

_LISTED = 8


def lives_of(share: StepArrays | Sequence[StepArrays] | None, backend: Backend) -> list[LiveArrays]:
    """The live arrays of the steps that are shared with. Raises `TypeError` for what is no step."""
    steps: list[Any] = [] if share is None else list(share) if isinstance(share, (list, tuple)) else [share]
    for step in steps:
        if not isinstance(step, StepArrays):
            kind = type(step).__name__
            what = f"share is a step of gl.compile_step, or a list of steps, got {kind}"
            raise TypeError(located(f"{what}; models need not be one: what has the same name in both is shared"))
        if step._backend is not backend:
            raise ValueError(located("share: the steps are for targets of other devices, which share no memory"))
    return list(dict.fromkeys(step._current() for step in steps))


def shared_names(model: Module, lives: Sequence[LiveArrays]) -> dict[Stored, str]:
    """For every parameter and buffer of a model that is shared, the name under which it lives.

    Raises `ValueError` that lists what does not agree, or where nothing at all is shared.
    """
    if not lives:
        return {}
    problems = [f"{name} is another array in each of two steps" for name in _in_several(lives)]
    found: dict[Stored, str] = {}
    came_as: dict[str, str] = {}
    for stored, names in _all_names(model).items():
        places = {live.names[name]: live for live in lives for name in names if name in live.names}
        if len(places) > 1:
            problems.append(f"{' and '.join(places)} are two arrays there, and one tied {stored.what} here")
            continue
        for place, live in places.items():
            problem = _misfit(names[0], stored, place, live)
            if problem is None and place in came_as:
                problem = f"{came_as[place]} and {names[0]} are one tied {stored.what} there, and two here"
            if problem is not None:
                problems.append(problem)
            came_as.setdefault(place, names[0])
            found[stored] = place
    if problems:
        more = [f"and {len(problems) - _LISTED} more"] if len(problems) > _LISTED else []
        raise ValueError(located("\n  ".join(["share: the models do not agree:", *problems[:_LISTED], *more])))
    if not found:
        here, there = _some(name for name, _ in model.all_stored()), _some(n for live in lives for n in live.names)
        raise ValueError(located(f"share: the models have no name in common; here are {here}, there {there}"))
    return found


def _misfit(name: str, stored: Stored, place: str, live: LiveArrays) -> str | None:
    """Why what lives under a name is not `stored`."""
    kind = "parameter" if place in live.parameters else "buffer"
    array = live.parameters[place] if kind == "parameter" else live.buffers[place]
    if kind != stored.what:
        return f"{name} is a {stored.what} here, and a {kind} there"
    if array.shape != stored.shape or array.dtype != stored.dtype:
        there = f"{array.dtype} of shape {array.shape}"
        return f"{name} is {stored.dtype} of shape {stored.shape} here, and {there} there"
    return None


def _in_several(lives: Sequence[LiveArrays]) -> list[str]:
    seen: set[str] = set()
    twice: list[str] = []
    for live in lives:
        twice += [name for name in live.names if name in seen]
        seen.update(live.names)
    return twice


def _all_names(model: Module) -> dict[Stored, list[str]]:
    names: dict[Stored, list[str]] = {}
    for name, stored in model.all_stored():
        names.setdefault(stored, []).append(name)
    return names


def _some(names: Iterator[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:4]) + (f" and {len(listed) - 4} more" if len(listed) > 4 else "")


@contextlib.contextmanager
def joined(lives: Sequence[LiveArrays], backend: Backend) -> Iterator[LiveArrays]:
    """Live arrays that take the place of `lives` when the block has ended; none of these runs meanwhile. Where it
    raises, they stay apart.
    """
    with contextlib.ExitStack() as stack:
        for live in lives:
            stack.enter_context(live.lock)
            if live.busy:
                raise interrupted("a step")
            live.busy = True
            stack.callback(live.__dict__.update, busy=False)
        try:
            one = LiveArrays(backend, lives)
            yield one
            with deferred_signals():
                for live in lives:
                    live.moved_to = one
                    live.arena = one.arena  # what it had is given back
        except BaseException:
            for live in lives:
                live.use_own_arena()
            raise


def taken_in(
    live: LiveArrays,
    model: Module,
    shared: Mapping[Stored, str],
    backend: Backend,
    seed: int,
    types: Mapping[str, ArrayType] | None = None,
    cut: Callable[[Array], Array] | None = None,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """The live arrays of a model's parameters, and of its buffers, by its own names: those that are shared as they are,
    and new ones with their initial values for the seed. `types` are those in memory of parameters that lie there in
    other types than the model says; `cut` gives of a parameter what is held of it.
    """
    types = types or {}
    named = [*model.stored_parameters(), *model.stored_buffers()]
    places = {name: shared.get(stored, name) for name, stored in named}
    there = live.parameters.keys() | live.buffers.keys()
    new: dict[str, tuple[str, Stored]] = {}
    for name, stored in named:
        if places[name] not in there:
            new.setdefault(places[name], (name, stored))
    arrays = own_memory(
        backend,
        [(place, types.get(name, stored.type)) for place, (name, stored) in new.items()],
        (_held(stored, name, seed, cut) for name, stored in new.values()),
    )
    names = _all_names(model)
    own: tuple[dict[str, Array], dict[str, Array]] = {}, {}
    for name, stored in named:
        which = 0 if isinstance(stored, Parameter) else 1
        held, place = (live.parameters, live.buffers)[which], places[name]
        if place in new:
            held[place] = arrays[place]
        live.names.update((other, place) for other in names[stored] if other not in live.names)
        own[which][name] = held[place]
    return own


def _held(stored: Stored, name: str, seed: int, cut: Callable[[Array], Array] | None) -> Array:
    whole = stored.initial(name, seed)
    return whole if cut is None or not isinstance(stored, Parameter) else cut(whole)
