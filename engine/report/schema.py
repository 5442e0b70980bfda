"""`MemoryReport`: every byte of a planned step, before anything is allocated."""

from __future__ import annotations

import json
import os
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ...ir import Graph
from ...ir.printable import printable
from ...passes.memory.plan import Plan
from ...passes.target import Target
from ...passes.verify.plan import check_plan
from ..tracing.errors import located
from .wording import numbers_out

if TYPE_CHECKING:
    from .critical_path import CriticalPath, Removal

SCHEMA = "gradloom.report/1"
"""Names the fields of `to_json`: they stay as they are under this name."""

KINDS = ("activation", "recomputed", "temporary", "gradient", "backward", "optimizer", "result", "scratch")
"""The kinds of a value in the arena, see `ValueReport`."""

KIND_WORDS = {
    "activation": "activations kept for the backward",
    "recomputed": "recomputed activations",
    "temporary": "temporaries of the forward",
    "gradient": "gradients of parameters",
    "backward": "temporaries of the backward",
    "optimizer": "temporaries of the update",
    "result": "results of the step",
    "scratch": "scratch of workers",
}


@dataclass(frozen=True)
class HeldReport:
    """An array that stays from step to step: `kind` is `parameter`, `buffer`, `state` or `scalar`."""

    name: str
    kind: str
    bytes: int
    on_host: bool = False
    """Whether it lies in the memory of a GPU's host, but for its updates."""

    @property
    def scope(self) -> str:
        """The module that owns the array, or of whose parameter it is the state."""
        if self.kind == "scalar" or self.name.endswith("]"):
            return ""  # of a group of parameters
        path = self.name.partition(".")[2] if self.kind == "state" else self.name
        return path.rpartition(".")[0]


@dataclass(frozen=True)
class UnitReport:
    """What runs as one: a fused loop or a lone operation. `phase` counts from 0; `flops` are those of one step.

    `role` is `forward`, `backward`, `recompute` or `optimizer`; `ops` lists the operations of a fused loop. It runs
    `times` times in a step: more than once in a loop. `nanoseconds` is the predicted time of all these runs on one
    core, or on a whole GPU; that of a loop is the time of all in it. `loop` is the number of the innermost loop that
    the unit is in, and `reads` are the numbers of the units, in the same loop, whose results it reads.
    """

    name: str
    scope: str
    source: str
    role: str
    phase: int
    flops: int
    ops: str
    times: int
    nanoseconds: float = 0.0
    loop: int | None = None
    reads: tuple[int, ...] = ()


@dataclass(frozen=True)
class LoopReport:
    """A loop over tiles of the batch or steps of a sequence: `length` iterations, each of which takes the phases
    `first` up to `end`.

    `lanes` iterations run concurrently, each in a part of the arena of its own; the others run one after the other.
    `in_turn` is true where iterations could run concurrently, and share one part of the arena to save memory.
    `unit` is the number of the loop's own unit. `kind` is the op: of a `while_loop`, whose iterations nobody can count
    beforehand, and of each branch of a `cond`, `length` is 1. Figures of the whole step count one of them.
    """

    first: int
    end: int
    length: int
    lanes: int
    scope: str
    source: str
    in_turn: bool = False
    unit: int | None = None
    kind: str = "scan"


@dataclass(frozen=True)
class TransferReport:
    """A value that moves between the memory of a GPU and that of its host, beside the units of the phases `begin` to
    `done`. Of state, `held` is its name.
    """

    name: str
    scope: str
    source: str
    bytes: int
    to_host: bool
    begin: int
    done: int
    held: str = ""


@dataclass(frozen=True)
class RoundedReport:
    """A value that the backward reads in two bytes because a budget allows it; `bytes` are those that it takes so, and
    half of what its `type` would take.
    """

    name: str
    scope: str
    source: str
    bytes: int
    type: str


@dataclass(frozen=True)
class ValueReport:
    """One value in the arena, or the scratch of one unit.

    `birth` and `death` are phases of the step, both included; `offset` and `bytes` are in bytes. `status` is `kept`
    (made in the forward and read in the backward), `recomputed`, or `temporary`; `why` says it in words. `kind` is one
    of `KINDS`. Values with the same `block` share its bytes one after the other, each written over the one before.
    `made_by` and `read_by` count the units of the report. What a loop needs is there once for each of its `lanes`.
    """

    name: str
    scope: str
    source: str
    bytes: int
    birth: int
    death: int
    offset: int
    status: str
    why: str
    kind: str
    type: str
    block: int
    made_by: int
    read_by: tuple[int, ...]

    @property
    def likeness(self) -> tuple[str, ...]:
        """The same for values that are there for the same reason in layers of one kind."""
        return numbers_out(self.scope), self.name, self.kind, self.source, numbers_out(self.why)


@dataclass(frozen=True)
class MemoryReport:
    """The memory of a training step, exactly as it is allocated, in bytes.

    `parameter_bytes` are all parameters; `state_bytes` the optimizer's state, running statistics, and the scalars that
    a step reads (learning rate, key); `constant_bytes` the arrays that the loss function closes over; `arena_bytes`
    everything else: activations, gradients, scratch of each thread. `total_bytes` is their sum; batches are the
    caller's. `lower_bound_bytes` is the most arena bytes live at once: no layout needs less. `no_recompute_arena_bytes`
    is the arena if nothing were recomputed. `flops` are those of one step, `recompute_flops` the part of them that only
    recomputes. `budget_bytes` is the bound on `total_bytes` that was asked for, if any. `slowdown` is the time that
    recomputing, or smaller tiles, are predicted to add, as a part of the time of the step without. `other_bits` says
    why the bits differ from those of the step without a bound; it is empty where they do not, as with all plans but
    those in smaller tiles of the batch, which are taken where nothing else fits.

    `planner` names what chose the values that are recomputed within the budget ("none" where nothing had to be), and
    `variant` the pipeline that the plan comes from, "default" or an alternative one; `str()` says what each of them
    does.

    `precision` is what the step rounds: "fp32" for nothing, "tf32", "bf16" or "fp16" of products and activations, or
    what it stores in two bytes, as in "kept=bf16,moments=bf16". It names `kept` where that makes the arena smaller, or
    where a budget needs it: then `rounded` are the values that are stored so, those first that save most for the work.

    `host_bytes` are those of a GPU's host in which values and state lie meanwhile; they are in no other figure, and
    `transfers` are what moves there and back. `exposed_nanoseconds`, a part of `slowdown`, are those for which units
    wait for them, as predicted.

    `messages` and `sent_bytes` are what this rank sends to others in a step, `message_nanoseconds` the time that takes
    as predicted from the target's latency and bandwidth, and `waiting_nanoseconds` the part of it for which units wait.

    `target` is the machine that the step was planned for; `None` in a report of before there were several.

    `phases` are the stretches between two barriers, in the order in which they run; of a loop those of one iteration.
    `prepared` is the graph before it was decided what to keep for the backward. It and `plan` are `None` in a report
    that was read from JSON.
    """

    parameter_bytes: int
    state_bytes: int
    constant_bytes: int
    arena_bytes: int
    lower_bound_bytes: int
    no_recompute_arena_bytes: int
    flops: int
    recompute_flops: int
    budget_bytes: int | None
    slowdown: float
    phases: int
    threads: int
    held: tuple[HeldReport, ...]
    units: tuple[UnitReport, ...]
    loops: tuple[LoopReport, ...]
    values: tuple[ValueReport, ...]
    plan: Plan | None
    other_bits: str = ""
    prepared: Graph | None = None
    planner: str = "none"
    variant: str = "default"
    target: Target | None = None
    precision: str = "fp32"
    host_bytes: int = 0
    exposed_nanoseconds: float = 0.0
    transfers: tuple[TransferReport, ...] = ()
    messages: int = 0
    sent_bytes: int = 0
    message_nanoseconds: float = 0.0
    waiting_nanoseconds: float = 0.0
    rounded: tuple[RoundedReport, ...] = ()

    def __repr__(self) -> str:
        from .notebook import report_line

        return f"<MemoryReport of {report_line(self)}>"

    def _repr_html_(self) -> str:
        from .notebook import report_html

        return report_html(self)

    def __reduce__(self) -> tuple[Any, ...]:
        """As its JSON: what is read back has no plan."""
        return type(self).from_json, (self.to_json(),)

    def __copy__(self) -> MemoryReport:
        return self  # a value, which nothing changes

    def __deepcopy__(self, memo: dict[int, Any]) -> MemoryReport:
        return self

    @property
    def total_bytes(self) -> int:
        """Parameters, state, constants and arena; of a GPU what is in its own memory."""
        return self.parameter_bytes + self.state_bytes + self.constant_bytes + self.arena_bytes

    @cached_property
    def charged(self) -> tuple[tuple[int, int], ...]:
        """For each value, the phases (first, past the last) for which its bytes count as its own.

        A value that is written over another takes over from the phase that makes it, so that every byte of the arena
        is counted once.
        """
        next_birth: dict[int, int] = {}
        spans: list[tuple[int, int]] = [(0, 0)] * len(self.values)
        for i in sorted(range(len(self.values)), key=lambda i: self.values[i].birth, reverse=True):
            value = self.values[i]
            end = next_birth.get(value.block, value.death + 1)
            spans[i] = (value.birth, min(end, max(self.phases, 1)))
            next_birth[value.block] = value.birth
        return tuple(spans)

    @cached_property
    def live_bytes(self) -> tuple[int, ...]:
        """The bytes of the arena that are live in each phase; the largest is `lower_bound_bytes`, or less where the
        values of a loop leave gaps between them.
        """
        change = [0] * (self.phases + 1)
        for value, (first, end) in zip(self.values, self.charged):
            change[first] += value.bytes
            change[end] -= value.bytes
        live: list[int] = []
        now = 0
        for phase in range(self.phases):
            now += change[phase]
            live.append(now)
        return tuple(live)

    @property
    def peak_phase(self) -> int:
        """The first phase with the most live bytes."""
        return max(range(len(self.live_bytes)), key=lambda p: self.live_bytes[p], default=0)

    @property
    def bytes_by_dtype(self) -> dict[str, int]:
        """The bytes that are live in the phase with the most, by dtypes as types print them ("bf16", "f32"), the most
        first; those of scratch, which has none, are under "scratch".
        """
        found: dict[str, int] = {}
        for value in self.live(self.peak_phase):
            dtype = value.type.partition("[")[0] if "[" in value.type else "scratch"
            found[dtype] = found.get(dtype, 0) + value.bytes
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    def live(self, phase: int) -> list[ValueReport]:
        """The values whose bytes are live in a phase, largest first."""
        found = [v for v, (first, end) in zip(self.values, self.charged) if first <= phase < end]
        return sorted(found, key=lambda v: -v.bytes)

    @cached_property
    def critical_path(self) -> CriticalPath:
        """The chain of units that takes longest, as predicted; networkx finds it."""
        from .critical_path import critical_path

        return critical_path(self)

    @cached_property
    def removals(self) -> tuple[Removal, ...]:
        """What the peak would be without some of the values that are live there, for all without which it would be
        lower; and how long it takes to compute them again, as predicted.
        """
        from .critical_path import removals

        return tuple(removals(self))

    def turns(self, loop: LoopReport) -> str:
        """What a loop runs over: `segments` of a loop over time, `tiles` of the batch or of rows, or `iterations`."""
        inside = (other for other in self.loops if loop.first <= other.first and other.end <= loop.end)
        if loop.scope and any(other.scope == loop.scope and other != loop for other in inside):
            return "segments"
        # Forward and backward in one iteration: the loop is no loop of the user's, but one over tiles of the step.
        roles = {unit.role for unit in self.units if loop.first <= unit.phase < loop.end}
        return "tiles" if {"forward", "backward"} <= roles else "iterations"

    def check(self) -> None:
        """Replay the plan independently, and compare what it takes with this report. Raises `PlanVerificationError` if
        anything in it is not as the report says, or does not compute what the step does, or the budget is not kept.
        What is predicted (`slowdown`), and what belongs to another plan (`no_recompute_arena_bytes`), is not replayed.

        Raises `ValueError` for a report that was read from JSON: it has no plan.
        """
        from .check import check_report

        if self.plan is None:
            raise ValueError(located("a report that was read from JSON has no plan to replay; plan the step again"))
        check_plan(self.plan, self.prepared)
        check_report(self, self.plan)

    def to_json(self) -> str:
        """All figures, held arrays, units and values as a JSON object, which `from_json` reads back."""
        # What a report without a budget has not is left out: the schema stays.
        plain = () if self.other_bits else ("other_bits",)
        if self.budget_bytes is None and (self.planner, self.variant) == ("none", "default"):
            plain += ("planner", "variant")
        if self.precision == "fp32":
            plain += ("precision",)
        if not self.transfers:
            plain += ("host_bytes", "exposed_nanoseconds", "transfers")
        if not self.rounded:
            plain += ("rounded",)
        if not self.messages:
            plain += ("messages", "sent_bytes", "message_nanoseconds", "waiting_nanoseconds")
        figures = {name: getattr(self, name) for name in _FIGURES if name not in plain}
        whole = {"schema": SCHEMA, **figures, "total_bytes": self.total_bytes}
        whole |= {name: [_as_dict(item) for item in getattr(self, name)] for name in _LISTS if name not in plain}
        if self.target is not None:
            # A CPU has no multiprocessors, nor what else a GPU has.
            whole["target"] = {name: value for name, value in asdict(self.target).items() if value is not None}
        whole |= {"critical_path": asdict(self.critical_path), "removals": [asdict(item) for item in self.removals]}
        return json.dumps(whole, indent=1)

    @staticmethod
    def from_json(text: str) -> MemoryReport:
        """The report that `to_json` wrote, without its plan. Raises `ValueError` where the text is no such thing.

        Text from anywhere may be read: nothing in it is run, and it costs memory in proportion to its length.
        """
        try:
            whole = json.loads(text)
            if not isinstance(whole, dict):
                raise ValueError(located(f"it is a {type(whole).__name__}, expected an object"))
            if whole["schema"] != SCHEMA:
                raise ValueError(located(f"its schema is {_shown(whole['schema'])}, expected {SCHEMA!r}"))
            figures = _read(whole, MemoryReport, _FIGURES)
            lists: dict[str, Any] = {
                name: tuple(item(**_read(entry, item, [f.name for f in fields(item)])) for entry in whole[name])
                for name, item in _LISTS.items()
                if name in whole or item not in (TransferReport, RoundedReport)
            }
            target = None
            if "target" in whole:
                target = Target(**_read(whole["target"], Target, [f.name for f in fields(Target)]))
            report = MemoryReport(**figures, **lists, plan=None, target=target)
            report._check_numbers()
        except RecursionError:
            raise ValueError(located("this is no memory report: lists are too deep within one another")) from None
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            what = f"it has no {error}" if isinstance(error, KeyError) else str(error)
            raise ValueError(located(f"this is no memory report: {what}")) from error
        return report

    def _check_numbers(self) -> None:
        """Raises `ValueError` where a unit, or a phase, is named by a number that there is none of, or a number cannot
        be of what it counts.
        """
        starts = [*(unit.phase for unit in self.units), *(value.birth for value in self.values)]
        units = [i for value in self.values for i in (value.made_by, *value.read_by)]
        for what, numbers, end in (
            ("phase", starts, self.phases),
            ("phase", [value.death for value in self.values], self.phases + 1),
            ("phase", [phase for one in self.transfers for phase in (one.begin, one.done)], self.phases),
            ("unit", units, len(self.units)),
        ):
            wrong = [number for number in numbers if not 0 <= number < end]
            if wrong:
                raise ValueError(located(f"it has no {what} {wrong[0]}"))
        for i, unit in enumerate(self.units):
            loop = None if unit.loop is None else self._loop(unit.loop)
            # What a unit reads, and the loop that it is in, stand before it: nothing goes round in a circle.
            before = [*unit.reads, *([] if loop is None or loop.unit is None else [loop.unit])]
            if any(not 0 <= number < i for number in before):
                raise ValueError(located(f"its unit {i} comes after none of the units {_shown(before)}"))
        # Each phase runs something, so that a few letters cannot claim a table of billions of them.
        if self.phases > len(self.units):
            raise ValueError(located(f"it has {_shown(self.phases)} phases, more than units that run in them"))
        own = [self], [self.target] if self.target else []
        for items in (*own, *(getattr(self, name) for name in _LISTS)):
            for item in items:
                for f in fields(item):
                    number = getattr(item, f.name)
                    if isinstance(number, (int, float)) and not 0 <= number <= _MOST:
                        raise ValueError(located(f"its {f.name} is {_shown(number)}, expected 0 to {_MOST}"))
        if self.budget_bytes == 0:
            raise ValueError(located("its budget is 0 bytes, within which there is no step"))
        for loop in self.loops:
            if not loop.first < loop.end <= self.phases:
                raise ValueError(located(f"it has no phases {loop.first} to {loop.end} of a loop"))
        for value in self.values:
            if value.kind not in KINDS:
                raise ValueError(
                    located(f"it has a value of the kind {_shown(value.kind)}, expected one of {', '.join(KINDS)}")
                )

    def _loop(self, number: int) -> LoopReport:
        if not 0 <= number < len(self.loops):
            raise ValueError(located(f"it has no loop {number}"))
        return self.loops[number]

    def to_html(self, path: str | os.PathLike[str], title: str = "", curve: Sequence[Mapping[str, Any]] = ()) -> None:
        """Write one page with the step over time, the arena and the graph; it needs no network.

        `curve` are points of memory against time to draw as well: mappings with `total_bytes`, `slowdown` (1.1 is a
        tenth slower than with all the memory it likes), and `measured` where it was really run. Raises `OSError` where
        the file cannot be written.
        """
        from .page import page

        text = page(self, title, curve)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)

    def __str__(self) -> str:
        from .text import report_text

        return report_text(self.printable())

    def printable(self) -> MemoryReport:
        """This report, with the control characters of all names as escapes of them: fit for a terminal."""
        lists = {name: tuple(map(_printable_item, getattr(self, name))) for name in _LISTS}
        same = all(new is old for name in _LISTS for new, old in zip(lists[name], getattr(self, name)))
        own = {name: printable(getattr(self, name)) for name in ("other_bits", "planner", "variant", "precision")}
        same = same and all(new == getattr(self, name) for name, new in own.items())
        return self if same else replace(self, **lists, **own)


def _printable_item(item: Any) -> Any:
    changed = {name: new for name, old in vars(item).items() if isinstance(old, str) and (new := printable(old)) != old}
    return replace(item, **changed) if changed else item


def _as_dict(item: Any) -> dict[str, Any]:
    """The fields of an item; what says that an array lies on the host is left out where it does not."""
    return {name: value for name, value in asdict(item).items() if name != "on_host" or value}


_LISTS: dict[str, Any] = {
    "held": HeldReport,
    "units": UnitReport,
    "loops": LoopReport,
    "values": ValueReport,
    "transfers": TransferReport,
    "rounded": RoundedReport,
}
_FIGURES = tuple(f.name for f in fields(MemoryReport) if f.name not in ("plan", "prepared", "target", *_LISTS))


_MOST = 2**63 - 1


def _shown(value: object) -> str:
    """A value of a damaged report, for a message."""
    return reprlib.repr(value)


_JSON_TYPES = {"bool": bool, "int": int, "float": (int, float), "str": str, "int | None": (int, type(None))}
_JSON_TYPES |= {"Literal['registers', 'blas', 'blocks']": str, "str | None": (str, type(None))}
_JSON_TYPES |= {"float | None": (int, float, type(None)), "Literal['fp32', 'tf32']": str}
_JSON_LISTS = {"tuple[int, ...]": int, "tuple[str, ...]": str}


def _read(entry: Mapping[str, Any], item: type[Any], names: Iterable[str]) -> dict[str, Any]:
    """The fields `names` of an `item`, as JSON has them. Raises `KeyError` or `ValueError` for any others."""
    read: dict[str, Any] = {}
    of_item = {f.name: f for f in fields(item)}
    for name in names:
        # What a report of before cannot have has a default.
        value: Any = entry[name] if name in entry or of_item[name].default is MISSING else of_item[name].default
        expected = str(of_item[name].type)
        if expected in _JSON_LISTS:
            value = tuple(value)
            fits = all(isinstance(each, _JSON_LISTS[expected]) and not isinstance(each, bool) for each in value)
        else:
            fits = isinstance(value, _JSON_TYPES[expected]) and (expected == "bool" or not isinstance(value, bool))
        if not fits:
            raise ValueError(located(f"its {name} is {_shown(value)}, expected {expected}"))
        read[name] = value
    return read
