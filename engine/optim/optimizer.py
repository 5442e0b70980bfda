"""What an optimizer is: the rule by which parameters are updated, written with traced arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from ...ir import ArrayType, DType
from ...ir.html import block, table
from ...ir.near_names import similar
from .. import array_api as xp
from ..nn import Embedding, EmbeddingBag, Module
from ..nn.taps import Tapped
from ..tracing.numbers import as_rate, as_real
from ..tracing.tracer import located
from . import pytrees
from .rule_copies import RuleCopies
from .schedules import Schedule, rate
from .schedules.combined import momentum_of
from .update_inputs import DEFAULT_GROUP, Scalars, StateSpec, UpdateInputs

_OF_SPEED = ("foreach", "fused", "capturable", "differentiable")
"""Arguments of torch's optimizers that choose how an update runs."""


class Within(NamedTuple):
    """The range of a hyper-parameter: `high` belongs to it only where it is `closed`."""

    low: float
    high: float = math.inf
    closed: bool = False

    def __contains__(self, value: Any) -> bool:
        return self.low <= value < self.high or (self.closed and value == self.high)

    def __str__(self) -> str:
        if self.low == ABOVE_ZERO.low:
            return "above 0" + (f" and at most {self.high:g}" if self.closed else "")
        if self.closed:
            return f"from {self.low:g} to {self.high:g}"
        return f"{self.low:g} or more" + ("" if self.high == math.inf else f" and below {self.high:g}")


NOT_NEGATIVE = Within(0.0)
ABOVE_ZERO = Within(float(np.finfo(np.float64).tiny))
PART = Within(0.0, 1.0)


@dataclass(frozen=True)
class Optimizer:
    """A value: hyper-parameters and an update rule, no arrays.

    A subclass is a rule for one parameter, or a rule for all of them. The laws of a rule for one parameter:

    - `init_parameter(type)` names the state arrays of a parameter of `type`. Parameters of other shapes may have
      others: a matrix may have the factors of its rows and of its columns where a vector has one array. It raises
      `ValueError` for a parameter that the rule is not for.
    - `scalars(step, lr, dtype)` computes from the int64 scalar `step` (steps done before this one) and the float64
      scalar `lr` all that is the same for every element, in float64, and gives it in `dtype`. It runs once a step for
      each dtype.
    - `update_parameter(parameter, gradient, state, scalars)` gives the new parameter and the new state, in the types of
      the old. It sees one parameter as a whole: it may take sums over it, multiply matrices, or cut it into blocks.
      What is element by element runs as one loop with all that it reads and writes.
    - `init_shared()` and `advance` are for numbers that one step hands to the next and that all parameters share. Most
      rules have none.

    A rule for all parameters defines instead:

    - `init_all(types)`, which names every state array: of a parameter, or of none and of any shape.
    - `update_all(given)`, which has all parameters, gradients and state at once. It may evaluate the loss again at
      other parameters, also in the body of a loop, and read what flows through the model's layers.
    - `tapped` if it reads that: a function that chooses the calls of modules whose arrays `given.taps` has.
    """

    lr: float | Schedule

    def __init_subclass__(cls) -> None:
        for name in ("init", "update"):
            if name in cls.__dict__:
                raise TypeError(
                    located(
                        f"{cls.__name__}.{name}: init(parameters) and update(parameters, gradients, state) are for "
                        f"pytrees, and are made of the rule; write {name}_parameter for the rule of one parameter, or "
                        f"{name}_all for that of all"
                    )
                )

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        # Before `__init__`, which would say that lr came twice where the parameters stand first, as in torch.
        # A subclass of the user's has arguments of its own.
        if cls.__module__.partition(".")[0] != __name__.partition(".")[0]:
            return super().__new__(cls)
        there = [field.name for field in fields(cls) if field.init]
        if "lr" in there and ((args and _is_of_a_model(args[0])) or "params" in kwargs):
            given = f"a {type(args[0]).__name__}" if args else "params"
            raise TypeError(
                located(
                    f"{cls.__name__}: lr is a number of 0 or more or a schedule, and comes first; got {given}. An "
                    "optimizer here is a value without parameters: gl.compile_step(model, loss_fn, optimizer, batch) "
                    f"gives it those of the model; write {_instead(cls.__name__, args)}"
                )
            )
        unknown = [name for name in kwargs if name not in there]
        if unknown:
            advice = similar(unknown[0], there) or f"there are {', '.join(there)}"
            if unknown[0] in _OF_SPEED:
                advice = "it says how torch runs an update, which is always fused here; leave it out"
            raise TypeError(located(f"{cls.__name__} has no argument {unknown[0]!r}; {advice}"))
        return super().__new__(cls)

    def init_parameter(self, type: ArrayType) -> dict[str, StateSpec]:
        """The state of one parameter of `type`, by kind."""
        raise NotImplementedError(self._lacks("init_parameter"))

    def scalars(self, step: Any, lr: Any, dtype: DType) -> Scalars:
        """What all elements of all parameters of `dtype` share in this step."""
        return {}

    def update_parameter(
        self, parameter: Any, gradient: Any, state: Mapping[str, Any], scalars: Scalars
    ) -> tuple[Any, dict[str, Any]]:
        """The new parameter and its new state."""
        raise NotImplementedError(self._lacks("update_parameter"))

    def _lacks(self, method: str) -> str:
        return located(
            f"{type(self).__name__} has no {method}: a rule for one parameter defines init_parameter and "
            "update_parameter, one for all of them init_all and update_all"
        )

    def init_shared(self) -> dict[str, StateSpec]:
        """The state that all parameters share, by name: scalars, which stand under these names beside `step`."""
        return {}

    def advance(self, step: Any, lr: Any, shared: Mapping[str, Any]) -> tuple[Scalars, dict[str, Any]]:
        """What the updates of this step read beside `scalars`, as float64 scalars, and the new shared state.

        It runs once a step; each dtype of parameters gets the scalars in its own.
        """
        return {}, {}

    def init_all(self, types: Mapping[str, ArrayType]) -> dict[str, StateSpec]:
        """The state for trained parameters of these `types`: every array by its own name.

        That of a parameter is `kind.parameter`, kind by kind. Raises `ValueError` that names a parameter that the rule
        is not for.
        """
        specs = {name: self._state_of(name, type) for name, type in types.items()}
        kinds = dict.fromkeys(kind for own in specs.values() for kind in own)
        found = {state_name(kind, name): own[kind] for kind in kinds for name, own in specs.items() if kind in own}
        return {**found, **self.init_shared()}

    def _state_of(self, name: str, type: ArrayType) -> dict[str, StateSpec]:
        try:
            return self.init_parameter(type)
        except ValueError as error:
            raise ValueError(located(f"{name}: {error}")) from None

    def update_all(self, given: UpdateInputs) -> tuple[dict[str, Any], dict[str, Any]]:
        """The new parameters and the new state, by name and in the types of the old. What it leaves out stays as it
        is: so do a parameter that the loss does not read and its state.
        """
        held = {name: given.state[name] for name in self.init_shared()}
        added, new_state = self.advance(given.step, given.lr, held)
        scalars: dict[DType, Scalars] = {}
        update = RuleCopies(self.update_parameter)
        new: dict[str, Any] = {}
        for name, gradient in given.gradients.items():
            parameter = given.parameters[name]
            dtype = parameter.dtype
            if dtype not in scalars:
                own = self.scalars(given.step, given.lr, dtype)
                scalars[dtype] = {**own, **{key: xp.astype(value, dtype) for key, value in added.items()}}
            kinds = self.init_parameter(ArrayType(parameter.shape, dtype))
            state = {kind: given.state[state_name(kind, name)] for kind in kinds}
            path = name.rpartition(".")[0]
            new[name], updated = update(path, parameter, gradient, state, scalars[dtype])
            new_state |= {state_name(kind, name): updated[kind] for kind in kinds}
        return new, new_state

    def init(self, parameters: Any) -> dict[str, Any]:
        """The state of the optimizer for a pytree of float arrays: a dict of arrays, with `step`, the number of updates
        done. Groups match the paths of leaves, such as `layers.0.weight`.

        Raises `TypeError` for leaves that are no floats.
        """
        return pytrees.init(self, parameters)

    def update(
        self,
        parameters: Any,
        gradients: Any,
        state: Mapping[str, Any],
        *,
        lr: Any = None,
        loss: Any = None,
        loss_fn: Callable[[Any], Any] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """The parameters and the state after one update, without a model or a step: `parameters, state =
        optimizer.update(parameters, gradients, state)`.

        `gradients` is a pytree like `parameters`; a leaf that is `None` is left alone. Inside `gl.compile` it becomes
        part of the program, as fast as a step's where parameters and state are donated, `gl.compile(train,
        donate_argnums=(0, 1))`; outside it computes with NumPy. `lr` is the learning
        rate, or a dict by group, in place of the optimizer's own. Inside a program a schedule is traced, with the
        number of steps in the state: those here can be, but for `Chained` and `Multiplicative`; for a function of one's
        own with branches give `lr`. `loss` is what `ReduceOnPlateau` follows; `loss_fn(parameters)` is for a rule that
        evaluates the loss again.

        Raises `TypeError` or `ValueError` that names the leaf where gradients or state do not fit.
        """
        return pytrees.update(self, parameters, gradients, state, lr, loss, loss_fn)

    def resolved(
        self, parameters: Mapping[str, ArrayType], trained: Collection[str], model: Module | None = None
    ) -> Optimizer:
        """This for a model: `parameters` has the types of all, `trained` the names of those that are not frozen. Bare
        pytrees have no `model`. Raises `ValueError` where they do not fit.
        """
        if model is not None and not self.keeps_unread_rows:
            self._check_tables(model, trained)
        return self

    def _check_tables(self, model: Module, trained: Collection[str]) -> None:
        """Raises `ValueError` where a table is to be trained row by row."""
        for path, module in model.named_modules():
            name = f"{path}.weight" if path else "weight"
            if isinstance(module, (Embedding, EmbeddingBag)) and module.sparse and name in trained:
                kind = type(self).__name__
                raise ValueError(
                    located(
                        f"{name} is of a table with sparse=True, and {kind} changes rows that no look-up reads; "
                        "take SGD or Adagrad without weight_decay or SparseAdam, for it alone by gl.optim.groups, or "
                        "leave sparse out"
                    )
                )

    @property
    def keeps_unread_rows(self) -> bool:
        """Whether a table with `sparse=True` may be trained by it."""
        return False

    def with_options(self, **options: Any) -> Optimizer:
        """This with other hyper-parameters. Raises `TypeError` for one that it does not have."""
        there = [field.name for field in fields(self) if field.init]
        for name in options:
            if name not in there:
                raise TypeError(
                    located(f"{type(self).__name__} has no argument {name!r}; there are {', '.join(there)}")
                )
        return replace(self, **options) if options else self

    def settings(self) -> dict[str, Any]:
        """The hyper-parameters by words for people, without the learning rates."""
        kind = type(self).__name__
        return {f"{kind}'s {field.name}": getattr(self, field.name) for field in fields(self) if field.name != "lr"}

    def _repr_html_(self) -> str:
        rows = [(field.name, repr(getattr(self, field.name))) for field in fields(self) if field.repr]
        return block(type(self).__name__, table(rows))

    @property
    def title(self) -> str:
        """What it is, in a word: checkpoints of steps with other titles are refused."""
        return type(self).__name__

    may_be_a_part: ClassVar[bool] = True
    """Whether a group of parameters may be trained by it."""

    @property
    def tapped(self) -> Tapped | None:
        """Which calls of modules `given.taps` has; none where it is `None`."""
        return None

    @property
    def evaluates_again(self) -> bool:
        """Whether an update evaluates the loss again: the gradients that it is given are then those of the loss alone,
        neither clipped nor in parts.
        """
        return False

    @property
    def averaged(self) -> str | None:
        """The kind of the state that is an average of the parameters; `None` where there is none."""
        return None

    @property
    def rates(self) -> dict[str, float | Schedule | None]:
        """The learning rates by group, the default's first where a parameter has it; `None` of a group that has the
        default's.
        """
        return {DEFAULT_GROUP: self.lr}

    def learning_rate(self, step: int) -> float:
        """The rate for the update after `step` steps were done: `lr`, or what it returns if it is a schedule.

        Raises `ValueError` where a schedule gives a rate that is negative, infinite or no number.
        """
        return rate(self.lr, step)

    @property
    def momentum_schedule(self) -> Callable[[Any], Any] | None:
        """The momentum by the number of steps done, where the schedule of the learning rate says it; else `None`."""
        own = getattr(self, "betas", (0.0,))[0]
        return momentum_of(self.lr, getattr(self, "momentum", own))

    def check(self, **limits: Within) -> None:
        """Make hyper-parameters Python's numbers. Raises `ValueError` for one outside its range, for a learning rate
        that is negative or infinite, for a flag that is neither `True` nor `False`, and for a schedule that cycles the
        momentum of a rule without.
        """
        kind = type(self).__name__
        if not callable(self.lr):
            if as_rate(self.lr) is None:
                raise ValueError(located(f"{kind}: lr is a number of 0 or more or a schedule, got {self.lr!r}"))
            object.__setattr__(self, "lr", as_real(self.lr))
        self.check_numbers(**limits)
        there = {field.name: field for field in fields(self)}
        for name, field in there.items():
            value = getattr(self, name)
            if field.type == "bool" and not isinstance(value, (bool, np.bool_)):
                raise ValueError(located(f"{kind}: {name} is True or False, got {value!r}"))
        if self.momentum_schedule is not None and not {"momentum", "betas"} & there.keys():
            raise ValueError(
                located(
                    f"{kind} has no momentum that {type(self.lr).__name__} could cycle; write cycle_momentum=False "
                    "there"
                )
            )

    def check_numbers(self, **limits: Within) -> None:
        """Make hyper-parameters Python's numbers. Raises `ValueError` for one outside its range."""
        for name, within in limits.items():
            given = getattr(self, name)
            numbers = [as_real(value) for value in (given if isinstance(given, tuple) else (given,))]
            if any(value is None or value not in within for value in numbers):
                raise ValueError(located(f"{type(self).__name__}: {name} is {within}, got {given!r}"))
            object.__setattr__(self, name, tuple(numbers) if isinstance(given, tuple) else numbers[0])

    def check_tuple(self, name: str, count: int) -> None:
        """Make a hyper-parameter of several numbers a tuple. Raises `ValueError` where they are not so many."""
        given = getattr(self, name)
        if np.ndim(given) != 1 or len(given) != count:
            many = {2: "two", 3: "three"}[count]
            raise ValueError(located(f"{type(self).__name__}: {name} are {many} numbers, got {given!r}"))
        object.__setattr__(self, name, tuple(given))

    def check_choice(self, name: str, *choices: Any) -> None:
        """Raises `ValueError` where a hyper-parameter is none of `choices`."""
        given = getattr(self, name)
        if not isinstance(given, (str, type(None))) or given not in choices:
            listed = " or ".join(map(repr, choices))
            raise ValueError(located(f"{type(self).__name__}: {name} is {listed}, got {given!r}"))


def _is_of_a_model(value: Any) -> bool:
    """Whether something is a model, its parameters, or groups of them."""
    return isinstance(value, (Iterator, list, tuple, dict)) or any(
        hasattr(value, name) for name in ("requires_grad", "forward")
    )


def _instead(kind: str, args: tuple[Any, ...]) -> str:
    """What to write where torch takes parameters, or a list of groups of them."""
    one = f"gl.optim.{kind}(1e-3)"
    if args and isinstance(args[0], (list, tuple)) and any(isinstance(group, dict) for group in args[0]):
        return f'gl.optim.groups({{"*.bias": dict(weight_decay=0), "head.*": dict(lr=1e-4)}}, default={one})'
    return one


def state_name(kind: str, parameter: str) -> str:
    """The name of a state array of a parameter, which has no name where it is all there is."""
    return f"{kind}.{parameter}" if parameter else kind
