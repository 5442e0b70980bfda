"""Groups: parameters that are trained with options of their own, chosen by name, by axes or by a predicate."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from ...ir import ArrayType
from ...ir.near_names import nearest_names
from ...ir.printable import brief
from ..nn import Module
from ..nn.name_patterns import chooses
from ..tracing.numbers import as_whole
from ..tracing.tracer import located
from .optimizer import Optimizer
from .parts import Part, Parts
from .schedules import Schedule
from .update_inputs import DEFAULT_GROUP

Key = str | tuple[str, ...] | Callable[[str, ArrayType], bool]


@dataclass(frozen=True)
class NDim:
    """The predicate of `ndim`."""

    counts: tuple[int, ...]

    def __call__(self, name: str, type: ArrayType) -> bool:
        return type.ndim in self.counts

    def __str__(self) -> str:
        return f"ndim({', '.join(map(str, self.counts))})"


def ndim(*counts: int) -> NDim:
    """A key of `groups`: the parameters of so many axes, `ndim(0, 1)` for biases and the weights of norms."""
    whole = [as_whole(count) for count in counts]
    if not counts or any(count is None or count < 0 for count in whole):
        raise ValueError(located(f"ndim takes numbers of axes, such as ndim(0, 1), got {', '.join(map(repr, counts))}"))
    return NDim(tuple(count for count in whole if count is not None))


@dataclass(frozen=True)
class Pattern:
    """A key of the mapping, the name of its group, and what it sets."""

    key: Key
    name: str
    optimizer: Optimizer | None
    options: tuple[tuple[str, Any], ...]

    def matches(self, name: str, type: ArrayType) -> bool:
        """Whether a parameter is of this group."""
        if callable(self.key):
            return bool(self.key(name, type))
        return any(chooses(pattern, [name]) for pattern in self.of_names)

    @property
    def of_names(self) -> tuple[str, ...]:
        """The patterns of names in the key."""
        if callable(self.key):
            return ()
        return (self.key,) if isinstance(self.key, str) else self.key

    @property
    def has_rate(self) -> bool:
        """Whether it sets the learning rate."""
        return self.optimizer is not None or "lr" in dict(self.options)

    def applied(self, optimizer: Optimizer) -> Optimizer:
        """The optimizer of a parameter of this group, which had `optimizer` before."""
        return (self.optimizer or optimizer).with_options(**dict(self.options))


@dataclass(frozen=True)
class Groups(Optimizer):
    """What `groups` gives: an optimizer whose parameters fall into groups once the model is known."""

    patterns: tuple[Pattern, ...]
    default: Optimizer
    lr: float | Schedule = field(init=False)
    may_be_a_part: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "lr", self.default.lr)

    def with_options(self, **options: Any) -> Optimizer:
        return Groups(patterns=self.patterns, default=self.default.with_options(**options))

    def resolved(
        self, parameters: Mapping[str, ArrayType], trained: Collection[str], model: Module | None = None
    ) -> Optimizer:
        matching = self._matching(parameters, model)
        found: dict[tuple[int, ...], Part] = {}
        members: dict[tuple[int, ...], list[str]] = {}
        for name in (name for name in parameters if name in trained):
            members.setdefault(matching[name], []).append(name)
            if matching[name] not in found:
                found[matching[name]] = self._part(name, [self.patterns[i] for i in matching[name]])
        parts = {places: members[places] for places in sorted(found)}
        rates: dict[str, float | Schedule | None] = {}
        for pattern in self.patterns:
            own = next((part.optimizer.lr for part in found.values() if part.group == pattern.name), None)
            if own is not None:
                rates[pattern.name] = own if pattern.has_rate else None
        if None in rates.values() or any(part.group == DEFAULT_GROUP for part in found.values()):
            rates = {DEFAULT_GROUP: self.default.lr, **rates}
        title = ", ".join(f"{p.name!r}: {(p.optimizer or self.default).title}" for p in self.patterns)
        return Parts(
            parts=tuple(found[places].of(own).resolved(parameters, model) for places, own in parts.items()),
            by_group=tuple(rates.items()),
            name=f"groups({{{title}}}, default={self.default.title})",
        )

    def _matching(self, parameters: Mapping[str, ArrayType], model: Module | None) -> dict[str, tuple[int, ...]]:
        """The patterns that each parameter matches, by number. Raises `ValueError` for one that none matches."""
        names = {name: [name] for name in parameters}
        for other, first in ({} if model is None else model.tied_names()).items():
            if first in names:
                names[first].append(other)
        matching = {
            name: tuple(
                i for i, pattern in enumerate(self.patterns) if any(pattern.matches(own, type) for own in names[name])
            )
            for name, type in parameters.items()
        }
        matched = {i for places in matching.values() for i in places}
        for i, pattern in enumerate(self.patterns):
            missing = [one for one in pattern.of_names if not any(chooses(one, own) for own in names.values())]
            if missing:
                raise ValueError(located(_no_match(missing[0], parameters)))
            if i not in matched:
                raise ValueError(located(_never_true(pattern.name, parameters)))
        return matching

    def _part(self, name: str, patterns: list[Pattern]) -> Part:
        """How parameters that match `patterns` are trained; `name` is the first of them."""
        optimizer = self.default
        for pattern in patterns:
            try:
                optimizer = pattern.applied(optimizer)
            except (TypeError, ValueError) as error:
                raise type(error)(located(f"groups: {name} is of the group {pattern.name!r}: {error}")) from None
        last = patterns[-1].name if patterns else DEFAULT_GROUP
        group = next((p.name for p in reversed(patterns) if p.has_rate), last)
        return Part(optimizer, group, ", ".join(p.name for p in patterns))

    @property
    def title(self) -> str:
        return f"groups(default={self.default.title})"


def groups(patterns: Mapping[Key, Mapping[str, Any] | Optimizer], default: Optimizer) -> Optimizer:
    """An optimizer that trains parameters in groups: `groups({"*.bias": dict(weight_decay=0), "head.*": dict(lr=1e-4)},
    default=AdamW(1e-3))`.

    A key says which parameters a group has: a pattern of their names, as in the shell (`*`, `?`, `[ab]`; `*` also
    stands for dots), or a tuple of such; `ndim(1)`, which are those of one axis; or a function of the name and the type
    (its `shape`, `dtype` and `ndim`) that is true of them. A tied parameter is meant by any of its names.

    A value is what they are trained with: a dict of options of the default optimizer, among which `lr` may be a
    schedule and `optimizer` another optimizer that the other options are for; or that optimizer alone, as in
    `groups({ndim(2): Muon(0.02)}, default=AdamW(3e-4))`. A parameter that several patterns match takes the options of
    all, and of two that disagree the later; an optimizer takes the place of all before.

    A group is named by its key. `step.learning_rates` has its rate, which is that of the last pattern that a parameter
    matches and that sets one; where none does, the last has a rate that follows the default's until it is set.
    Clipping by the norm is by that of all gradients together.

    Raises `TypeError` for what is no mapping, and for an option that the optimizer does not have; `ValueError` for
    options out of range. A pattern that matches no parameter of the model, frozen ones included, is a `ValueError`
    where the step is compiled.
    """
    if not isinstance(patterns, Mapping):
        raise TypeError(located(_no_mapping(patterns)))
    if not isinstance(default, Optimizer):
        got = f"the class {default.__name__}" if isinstance(default, type) else repr(default)
        raise TypeError(located(f"groups: default is an optimizer, such as gl.optim.AdamW(1e-3), got {got}"))
    _check_plain(default, "default")
    made: list[Pattern] = []
    for key, value in patterns.items():
        _check_key(key)
        name = _name_of(key)
        count = sum(p.name == name or p.name.startswith(f"{name} (") for p in made)
        made.append(_pattern(key, f"{name} ({count + 1})" if count else name, value))
    optimizers = [default, *(p.optimizer for p in made if p.optimizer is not None)]
    for pattern in made:
        _check_options(pattern, optimizers)
    return Groups(patterns=tuple(made), default=default)


def _check_key(key: Any) -> None:
    of_names = key if isinstance(key, tuple) and key else (key,)
    if not all(isinstance(one, str) for one in of_names) and not callable(key):
        instead = f"write gl.optim.ndim({key!r})" if as_whole(key) is not None else "write a pattern such as '*.bias'"
        raise TypeError(
            located(
                f"groups: a key is a pattern of names, a tuple of them, gl.optim.ndim(1), or a function of (name, "
                f"type), got {key!r}; {instead}"
            )
        )


def _pattern(key: Key, name: str, value: Any) -> Pattern:
    if name == DEFAULT_GROUP:
        raise ValueError(located(f"groups: {name!r} is the group of the default; write default={value!r}"))
    if isinstance(value, Optimizer):
        _check_plain(value, repr(name))
        return Pattern(key, name, value, ())
    if not isinstance(value, Mapping):
        got = f"the class {value.__name__}" if isinstance(value, type) else repr(value)
        raise TypeError(
            located(f"groups: {name!r} has a dict of options, such as dict(weight_decay=0), or an optimizer, got {got}")
        )
    options: dict[str, Any] = dict(value)
    optimizer = options.pop("optimizer", None)
    if optimizer is not None and not isinstance(optimizer, Optimizer):
        raise TypeError(located(f"groups: {name!r}: optimizer is one such as gl.optim.Muon(0.02), got {optimizer!r}"))
    if optimizer is not None:
        _check_plain(optimizer, repr(name))
    return Pattern(key, name, optimizer, tuple(options.items()))


def _check_plain(optimizer: Optimizer, where: str) -> None:
    if optimizer.evaluates_again:
        raise TypeError(
            located(
                f"groups: {where} is {optimizer.title}, which moves all parameters together along one direction; to "
                'train some of them alone write gl.compile_step(..., train="head.*")'
            )
        )
    if not optimizer.may_be_a_part:
        raise TypeError(
            located(
                f"groups: {where} is {optimizer.title}; groups hold optimizers of their own, and what wraps an "
                "optimizer goes around all groups: write gl.optim.EMA(gl.optim.groups(...))"
            )
        )


def _check_options(pattern: Pattern, optimizers: list[Optimizer]) -> None:
    """Raises for options that none of the optimizers has, or that are out of range for the one of this pattern."""
    own = optimizers[0] if pattern.optimizer is None else pattern.optimizer
    there = {f.name for f in fields(own) if f.init}
    elsewhere = {f.name for o in optimizers for f in fields(o) if f.init} if pattern.optimizer is None else set[str]()
    known = {name: value for name, value in pattern.options if name in there or name not in elsewhere}
    try:
        own.with_options(**known)
    except (TypeError, ValueError) as error:
        raise type(error)(located(f"groups: {pattern.name!r}: {error}")) from None


def _name_of(key: Any) -> str:
    if isinstance(key, (str, NDim)):
        return str(key)
    if isinstance(key, tuple):
        return ", ".join(key)
    return getattr(key, "__name__", type(key).__name__)


def _no_mapping(given: Any) -> str:
    what = f"groups takes a mapping from patterns to options, got {brief(repr(given))}"
    if isinstance(given, (list, tuple)) and any(isinstance(group, Mapping) and "params" in group for group in given):
        what = "groups takes a mapping from patterns of names to options, not torch's list of dicts with params"
    return (
        f'{what}; write gl.optim.groups({{"*.bias": dict(weight_decay=0), "head.*": dict(lr=1e-4)}}, '
        "default=gl.optim.AdamW(1e-3))"
    )


def _no_match(pattern: str, parameters: Mapping[str, ArrayType]) -> str:
    near = ", ".join(nearest_names(pattern, parameters, 6))
    return f"groups: the pattern {pattern!r} matches no parameter; near names are {near}"


def _never_true(name: str, parameters: Mapping[str, ArrayType]) -> str:
    some = ", ".join(f"{name} {list(type.shape)}" for name, type in list(parameters.items())[:6])
    more = f" and {len(parameters) - 6} more" if len(parameters) > 6 else ""
    return f"groups: {name} is true of no parameter; there are {some}{more}"
