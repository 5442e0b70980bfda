"""Which parameters of a model a step trains: all that are not frozen, or those of them that `train=` chooses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...ir import ArrayType
from ...ir.near_names import nearest_names
from ...ir.printable import brief
from ..nn import Module, Parameter
from ..nn.name_patterns import chooses
from ..nn.registration import arrays_held
from ..tracing.tracer import located

Train = str | Sequence[str] | Callable[[str, ArrayType], bool] | None


def trained_parameters(model: Module, train: Train) -> list[tuple[str, Parameter]]:
    """(name, parameter) of those that are trained, each once under its first name.

    `train` is a pattern of names, several, or a predicate on name and type; a tied parameter is meant by any of its
    names. Raises `ValueError` where nothing is left to train, or a pattern fits no name, `TypeError` for another
    `train`.
    """
    parameters = model.stored_parameters()
    meant = None if train is None else _chosen(model, train)
    trained = [(name, p) for name, p in parameters if p.requires_grad and (meant is None or p in meant)]
    if not trained:
        what = "the model has no parameters"
        held = next((path for path, _ in arrays_held(model)), None)
        if held is not None:
            what += f", and {held} is an array; write nn.Parameter(array), which is trained"
        if parameters:
            which = "all parameters of the model" if meant is None else f"all that train={_shown(train)} chooses"
            what = f"{which} are frozen"
        raise ValueError(located(f"there is nothing to train: {what}"))
    return trained


def _chosen(model: Module, train: Any) -> set[Parameter]:
    if isinstance(train, Module):
        path = next((path for path, module in model.named_modules() if module is train and path), None)
        instead = f"write train='{path}.*'" if path else "it is no part of the model"
        raise TypeError(located(f"train is a pattern of names, got a {type(train).__name__}; {instead}"))
    names: dict[Parameter, list[str]] = {}
    for name, stored in model.all_stored():
        if isinstance(stored, Parameter):
            names.setdefault(stored, []).append(name)
    if callable(train):
        chosen = {p for p, own in names.items() if any(train(name, p.type) for name in own)}
        if not chosen:
            some = ", ".join(f"{own[0]} {list(p.shape)}" for p, own in list(names.items())[:6])
            raise ValueError(located(f"train={_shown(train)} is true of no parameter; there are {some}"))
        return chosen
    patterns = [train] if isinstance(train, str) else train
    if not isinstance(patterns, (list, tuple, set, frozenset)) or not all(isinstance(p, str) for p in patterns):
        raise TypeError(
            located(
                f"train is a pattern of names such as 'generator.*', a list of them, or a function of (name, type), "
                f"got {brief(repr(train))}"
            )
        )
    if not patterns:
        raise ValueError(located("there is nothing to train: train is empty; None trains all parameters"))
    for pattern in patterns:
        if not any(chooses(pattern, own) for own in names.values()):
            every = [name for own in names.values() for name in own]
            inside = any(name.startswith(f"{pattern}.") for name in every)
            near = f"write '{pattern}.*'" if inside else f"near names are {', '.join(nearest_names(pattern, every, 6))}"
            raise ValueError(located(f"train: the pattern {pattern!r} fits no parameter; {near}"))
    return {p for p, own in names.items() if any(chooses(pattern, own) for pattern in patterns)}


def _shown(train: Any) -> str:
    return getattr(train, "__name__", type(train).__name__) if callable(train) else brief(repr(train))
