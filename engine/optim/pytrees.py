"""Optimizers on bare pytrees of parameters: the functions behind `Optimizer.init` and `Optimizer.update`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import optree

from ...ir import ArrayType, is_complex, is_float
from ..tracing.arrays import leaf_array
from ..tracing.numbers import as_rate
from ..tracing.tracer import Tracer, TracingError, located
from ..tracing.transforms import value_and_grad
from .schedules import ReduceOnPlateau, Schedule, rate
from .schedules.plateau import RATE
from .update_inputs import DEFAULT_GROUP, UpdateInputs, of_group

if TYPE_CHECKING:
    from .optimizer import Optimizer

Evaluate = Callable[[Any], Any]


def init(optimizer: Optimizer, parameters: Any) -> dict[str, Any]:
    """What `Optimizer.init` gives."""
    arrays, _ = _named(parameters, "parameters")
    optimizer, types = _resolved(optimizer, arrays)
    state: dict[str, Any] = {}
    for name, spec in optimizer.init_all(types).items():
        state[name] = np.full(spec.type.shape, spec.value, spec.type.dtype)
    for group, plateau in _plateaus(optimizer).items():
        state |= {of_group(name, group): np.asarray(value) for name, value in plateau.init().items()}
    return state | {"step": np.asarray(0)}


def update(
    optimizer: Optimizer, parameters: Any, gradients: Any, state: Any, lr: Any, loss: Any, loss_fn: Evaluate | None
) -> tuple[Any, dict[str, Any]]:
    """What `Optimizer.update` gives."""
    arrays, tree = _named(parameters, "parameters")
    optimizer, types = _resolved(optimizer, arrays)
    read = _gradients(arrays, tree, gradients)
    specs = optimizer.init_all(types)
    plateaus = _plateaus(optimizer)
    held = {group: {of_group(name, group): name for name in plateau.init()} for group, plateau in plateaus.items()}
    _check_state(state, {*specs, *(name for names in held.values() for name in names), "step"}, optimizer.title)
    if plateaus and loss is None and lr is None:
        raise ValueError(
            located(f"{optimizer.title}: ReduceOnPlateau follows the loss; write update(..., loss=loss), or give lr")
        )
    given = UpdateInputs(
        parameters=arrays,
        gradients=read,
        state={name: leaf_array(state[name]) for name in specs},
        step=leaf_array(state["step"]),
        rates=_rates(optimizer, state, lr),
        loss=loss,
        loss_at=None if loss_fn is None else _loss_at(loss_fn, arrays, tree),
        evaluate=None if loss_fn is None else _evaluate(loss_fn, arrays, tree),
    )
    new, new_state = optimizer.update_all(given)
    after = {name: new_state.get(name, array) for name, array in given.state.items()}
    for group, names in held.items():
        if loss is None:
            after |= {name: state[name] for name in names}
        else:
            followed = plateaus[group].advance(loss, {short: leaf_array(state[name]) for name, short in names.items()})
            after |= {name: followed[short] for name, short in names.items()}
    leaves = [leaf_array(new.get(name, array)) for name, array in arrays.items()]
    after |= {"step": given.step + 1}
    return optree.tree_unflatten(tree, leaves), {name: leaf_array(array) for name, array in after.items()}


def _named(tree: Any, what: str) -> tuple[dict[str, Any], optree.PyTreeSpec]:
    """The leaves of a pytree by their paths, such as `layers.0.weight`, and its structure."""
    paths, leaves, structure = optree.tree_flatten_with_path(tree)
    names = [".".join(map(str, path)) for path in paths]
    for name, leaf in zip(names, leaves):
        if hasattr(leaf, "named_parameters"):
            raise TypeError(
                located(
                    f"{what}: {name or 'this'} is a {type(leaf).__name__}, a module; give its arrays by name, as of "
                    "nn.init_parameters(model), or train it by gl.compile_step"
                )
            )
    arrays = dict(zip(names, map(leaf_array, leaves)))
    if len(arrays) < len(names):
        double = next(name for name in names if names.count(name) > 1)
        raise ValueError(located(f"two leaves of the {what} have the path {double}; give one of them another key"))
    if not arrays:
        raise ValueError(located(f"there is nothing to train: the {what} are a pytree without leaves"))
    for name, array in arrays.items():
        if not is_float(array.dtype):
            advice = "; train real and imaginary parts as two arrays" if is_complex(array.dtype) else ""
            words = f"{name or 'the array'} is {array.dtype}; what is trained is float32 or float64"
            raise TypeError(located(f"{what}: {words}{advice}"))
    return arrays, structure


def _resolved(optimizer: Optimizer, arrays: Mapping[str, Any]) -> tuple[Optimizer, dict[str, ArrayType]]:
    types = {name: ArrayType(tuple(array.shape), array.dtype) for name, array in arrays.items()}
    found = optimizer.resolved(types, list(types))
    if found.tapped is not None:
        raise TypeError(located(f"{found.title} reads the layers of a model; train that by gl.compile_step"))
    return found, types


def _plateaus(optimizer: Optimizer) -> dict[str, ReduceOnPlateau]:
    return {group: lr for group, lr in optimizer.rates.items() if isinstance(lr, ReduceOnPlateau)}


def _gradients(arrays: Mapping[str, Any], tree: optree.PyTreeSpec, gradients: Any) -> dict[str, Any]:
    """The gradients by name, without those that are `None`. Raises where they do not fit the parameters."""
    try:
        leaves = tree.flatten_up_to(gradients)
    except ValueError:
        raise TypeError(
            located(
                f"the gradients are {optree.tree_structure(gradients)}, the parameters {tree}; write "
                "update(parameters, gradients, state)"
            )
        ) from None
    found: dict[str, Any] = {}
    for (name, array), leaf in zip(arrays.items(), leaves):
        if leaf is None:
            continue
        gradient = leaf_array(leaf)
        if (gradient.shape, gradient.dtype) != (array.shape, array.dtype):
            got, wanted = (f"{a.dtype} of shape {tuple(a.shape)}" for a in (gradient, array))
            raise TypeError(located(f"the gradient of {name or 'the array'} is {got}, the parameter {wanted}"))
        found[name] = gradient
    return found


def _check_state(state: Any, names: set[str], title: str) -> None:
    if not isinstance(state, Mapping):
        raise TypeError(
            located(
                f"the state is a dict, as {title}.init(parameters) gives it, got {type(state).__name__}; write "
                "update(parameters, gradients, state)"
            )
        )
    missing, extra = sorted(names - state.keys()), sorted(state.keys() - names)
    if missing or extra:
        parts = [f"{what} {', '.join(some[:4])}" for what, some in (("without", missing), ("with", extra)) if some]
        raise ValueError(
            located(
                f"the state is of another optimizer, or of other parameters: it comes {' and '.join(parts)}; "
                f"{title}.init(parameters) gives one"
            )
        )


def _rates(optimizer: Optimizer, state: Mapping[str, Any], lr: Any) -> dict[str, Any]:
    """The learning rates by group, float64 scalars."""
    given = lr if isinstance(lr, Mapping) else {} if lr is None else {DEFAULT_GROUP: lr}
    found: dict[str, Any] = {}
    for group, own in optimizer.rates.items():
        if group in given:
            found[group] = _checked(given[group], group)
        elif own is None:
            found[group] = found[DEFAULT_GROUP]
        elif isinstance(own, ReduceOnPlateau):
            found[group] = leaf_array(state[of_group(RATE, group)])
        else:
            found[group] = _scheduled(own, leaf_array(state["step"]))
    unknown = [group for group in given if group not in found]
    if unknown:
        there = ", ".join(map(repr, found))
        raise KeyError(located(f"no parameter has its learning rate from a group {unknown[0]!r}; there are {there}"))
    return found


def _checked(value: Any, group: str) -> Any:
    if isinstance(value, Tracer):
        return value.astype("float64")
    number = as_rate(value)
    if number is None:
        raise ValueError(located(f"the learning rate of {group!r} is a number of 0 or more, got {value!r}"))
    return np.asarray(number)


def _scheduled(lr: float | Schedule, step: Any) -> Any:
    if not callable(lr) or not isinstance(step, Tracer):
        return np.asarray(rate(lr, int(step) if callable(lr) else 0))
    schedule: Any = lr
    try:
        found = schedule(step.copy())
    except TracingError as error:
        error.add_note(
            f"the schedule {getattr(lr, '__name__', type(lr).__name__)} is traced here, with the number of steps as an "
            "array; or give the rate: update(parameters, gradients, state, lr=rate)"
        )
        raise
    return found.astype("float64") if isinstance(found, Tracer) else np.asarray(rate(lambda _: found, 0))


def _loss_at(
    loss_fn: Evaluate, arrays: Mapping[str, Any], tree: optree.PyTreeSpec
) -> Callable[[Mapping[str, Any]], Any]:
    def loss_at(parameters: Mapping[str, Any]) -> Any:
        return loss_fn(optree.tree_unflatten(tree, [{**arrays, **parameters}[name] for name in arrays]))

    return loss_at


def _evaluate(
    loss_fn: Evaluate, arrays: Mapping[str, Any], tree: optree.PyTreeSpec
) -> Callable[[Mapping[str, Any]], tuple[Any, dict[str, Any]]]:
    both = value_and_grad(_loss_at(loss_fn, arrays, tree))
    return lambda parameters: both(dict(parameters))
