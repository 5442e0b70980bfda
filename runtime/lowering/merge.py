"""Which launches of a plan for a GPU are merged, see `merged_launches`, and where the merged ones stand.

    merge_launches(phases, plan)

Launches of one stage of the units of a phase are independent: those of one kernel become one launch, and so do small
ones of other kernels. Before that, launches of one tile that follow one another become a chain in one block, through
stages that have few of them.

The launches of a phase then stand, in stages, with one of its units: with one that overwrites an input, if any does, so
that what guards such units guards them. Each launch names the units of its parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from ...ir import Node
from ...passes.memory.plan import Plan
from .launch import Launch, Transfer
from .merged_launches import Part, merge_others, merge_same

_FEW = 4
"""Launches of one tile in a stage that one block does in turn."""


@dataclass(eq=False)
class _Stage:
    """What the units of a phase run at one time: `parts` that may be merged and all `others`, behind `first` and before
    `last`, which are chains.
    """

    parts: list[Part] = field(default_factory=list[Part])
    others: list[Any] = field(default_factory=list[Any])
    first: Launch | None = None
    last: Launch | None = None
    changed: bool = False

    def small(self) -> list[Part]:
        """The launches of one tile, where they are few."""
        found = [part for part in self.parts if part.launch.tiles == 1]
        return found if len(found) <= _FEW else []


@dataclass(eq=False)
class _Chain:
    """Launches of one tile that follow one another, each with its stage, and whether it is before the rest of that."""

    links: list[tuple[Part, _Stage, bool]] = field(default_factory=list["tuple[Part, _Stage, bool]"])

    @property
    def parts(self) -> list[Part]:
        """Its launches in order."""
        return [part for part, _, _ in self.links]

    def takes(self, more: Sequence[Part]) -> bool:
        """Whether it may go on. What overwrites an input is not begun before it is known that nothing has trapped."""
        if any(part.traps for part in self.parts) and any(part.overwrites for part in more):
            return False
        return merge_others([*self.parts, *more], in_turn=True) is not None

    def close(self) -> None:
        """Puts one launch where the first of the parts stood that overwrites an input, or else the first one. Those of
        one stage alone are better merged with all else there.
        """
        if len({id(stage) for _, stage, _ in self.links}) < 2:
            return
        launch = merge_others(self.parts, in_turn=True)
        _, home, is_first = next((link for link in self.links if link[0].overwrites), self.links[0])
        if is_first:
            home.first = launch
        else:
            home.last = launch
        for part, stage, _ in self.links:
            stage.parts.remove(part)
            stage.changed = True


def merge_launches(phases: Sequence[list[Any]], plan: Plan) -> None:
    """Merges launches of the phases in place. A unit that is a list holds stages; others are left as they are."""
    stages = [_stages(units, nodes, plan) for units, nodes in zip_longest(phases, plan.phases, fillvalue=())]
    transfers = any(isinstance(unit, Transfer) for units in phases for unit in units)
    chains: list[_Chain] = []
    for units, found in zip(phases, stages):
        alone = transfers or not all(isinstance(unit, list) for unit in units)
        if alone:
            chains.append(_Chain())
        for stage in found:
            _go_on(chains, stage)
        if alone:
            chains.append(_Chain())
    for chain in chains:
        chain.close()
    for unit in (unit for units in phases for unit in units if not isinstance(unit, (list, Transfer))):
        unit.before[:] = [
            _merged([Part(item, unit.node, False) for item in stage], plan.threads) for stage in unit.before
        ]
    for number, (units, found) in enumerate(zip(phases, stages)):
        _place(units, plan.phases[number] if number < len(plan.phases) else (), found, plan)


def _stages(units: Sequence[Any], nodes: Sequence[Node], plan: Plan) -> list[_Stage]:
    """The stages of all units of a phase that have them."""
    found: list[_Stage] = []
    for unit, node in zip_longest(units, nodes):
        if not isinstance(unit, list):
            continue
        overwrites = _overwrites(node, plan)
        for number, items in enumerate(unit):
            found += [_Stage()] if number == len(found) else []
            for item in items:
                if not isinstance(item, Launch):
                    found[number].others.append(item)
                elif item.tiles:
                    found[number].parts.append(Part(item, node, overwrites))
    return found


def _overwrites(node: Node | None, plan: Plan) -> bool:
    """Whether a unit overwrites an input; none copies to where inputs are."""
    return node is None or any(plan.locations[value].place == "input" for value in node.outputs)


def _go_on(chains: list[_Chain], stage: _Stage) -> None:
    """Lets the last chain go on through a stage, or another begin there."""
    small = stage.small()
    rest = bool(stage.others) or len(small) < len(stage.parts)
    if not small:
        if rest:
            chains.append(_Chain())
        return
    goes_on = bool(chains and chains[-1].links) and chains[-1].takes(small)
    if not goes_on:
        chains.append(_Chain())
        if not chains[-1].takes(small):
            return
    chains[-1].links += [(part, stage, goes_on) for part in small]
    if goes_on and rest:
        chains.append(_Chain())


def _place(units: list[Any], nodes: Sequence[Node], stages: Sequence[_Stage], plan: Plan) -> None:
    """Puts what is left of the stages of a phase into one of its units, where anything was merged."""
    changed = any(stage.changed for stage in stages)
    placed: list[list[Any]] = []
    for stage in stages:
        items = _merged(stage.parts, plan.threads)
        changed = changed or len(items) < len(stage.parts)
        placed += [[stage.first]] if stage.first else []
        placed += [[*items, *stage.others]] if items or stage.others else []
        placed += [[stage.last]] if stage.last else []
    if not changed:
        return
    own = [i for i, unit in enumerate(units) if isinstance(unit, list)]
    home = next((i for i in own if _overwrites(nodes[i] if nodes else None, plan)), own[0])
    for i in own:
        units[i] = placed if i == home else []


def _merged(parts: Sequence[Part], workers: int) -> list[Launch]:
    """Launches of one stage as fewer."""
    same: dict[tuple[str, int], list[Part]] = {}
    for part in parts:
        same.setdefault((part.source, part.launch.threads), []).append(part)
    left: list[Part] = []
    for group in same.values():
        left += _in_pieces(group)
    small = sorted((part for part in left if part.launch.tiles <= workers), key=lambda part: -part.launch.threads)
    launches = [_named(part) for part in left if part.launch.tiles > workers]
    group: list[Part] = []
    for part in small:
        if group and merge_others([*group, part], in_turn=False) is None:
            launches.append(_together(group))
            group = []
        group.append(part)
    return [*launches, _together(group)] if group else launches


def _in_pieces(group: list[Part]) -> list[Part]:
    """Launches of one kernel as few launches, each no longer than a kernel's words."""
    if len(group) == 1:
        return group
    launch = merge_same(group)
    if launch is None and group[0].counts_blocks:
        return group
    if launch is None:
        half = len(group) // 2
        return [*_in_pieces(group[:half]), *_in_pieces(group[half:])]
    return [Part(launch, group[0].node, any(part.overwrites for part in group))]


def _together(group: list[Part]) -> Launch:
    launch = merge_others(group, in_turn=False) if len(group) > 1 else None
    return launch or _named(group[0])


def _named(part: Part) -> Launch:
    """The launch of a part with the units that it runs."""
    part.launch.units = part.units
    return part.launch
