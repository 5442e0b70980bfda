"""`gradloom plan --cores N`: what a step takes on that many cores, by a replay of its tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import optree

from ..engine.report.values import unit_name
from ..engine.report.wording import human_time
from ..engine.step.compile_step import compile_step
from ..engine.step.core_times import CoreTimes, core_times
from ..engine.step.step import Step
from ..ir import ArrayType, Node, type_of
from ..runtime.cpu.replay import LINE_NANOSECONDS
from .bench.machine import bandwidth_of_core
from .find_recipe import make_recipe
from .training_data import RandomBatches

MOST_BANDWIDTH = 200.0
"""GB/s of the memory of a machine, however many cores it has, where nobody says otherwise."""

_COUNTS = (1, 2, 4, 8, 16, 32, 64)
_UNITS = 6
"""Units that are named for what they lose."""
_LEAST_LOSS = 0.01
"""The part of the time that a unit loses at least to be named."""


@dataclass(frozen=True)
class Memory:
    """GB/s, which are bytes a nanosecond: of one core, and of all together at most."""

    of_core: float
    most: float

    @staticmethod
    def of(bandwidth: float | None) -> Memory:
        """The bandwidth of the whole machine that was asked for; else what each of this machine's cores has while all
        of them copy, up to `MOST_BANDWIDTH`.
        """
        return Memory(1e-9 * bandwidth_of_core(), MOST_BANDWIDTH if bandwidth is None else bandwidth)

    def of_cores(self, cores: int) -> float:
        """What so many cores have together."""
        return min(cores * self.of_core, self.most)


@dataclass(frozen=True)
class Prediction:
    """What a step takes on each of several numbers of cores, the last of which it was asked for."""

    cores: int
    found: CoreTimes
    memory: Memory

    def __str__(self) -> str:
        found = self.found
        lines = [
            f"time on more cores, predicted: {found.tiles:,} tiles were timed here on one thread, in {found.rounds} "
            "steps, and replayed",
            f"  memory {self.memory.of_core:.3g} GB/s a core, {self.memory.most:.3g} at most; a cache line goes from "
            f"core to core in {LINE_NANOSECONDS:.0f} ns",
            "  cores        time  speed-up      work  too few parts  barriers  memory",
        ]
        one = found.times[0].nanoseconds
        for time in found.times:
            whole = max(time.nanoseconds, 1e-9)
            parts = (time.work, time.idle, time.barriers, time.memory)
            work, idle, barriers, memory = (f"{part / whole:.0%}" for part in parts)
            mark = " *" if time.cores == self.cores else ""
            lines.append(
                f"  {time.cores:>5}  {human_time(time.nanoseconds):>10}  {one / whole:>7.2f}x  {work:>8}  {idle:>13}  "
                f"{barriers:>8}  {memory:>6}{mark}"
            )
        return "\n".join([*lines, *self._lost()])

    def _lost(self) -> list[str]:
        """What bounds the time on the cores that were asked for: the units that lose most beside their work."""
        time = next(time for time in self.found.times if time.cores == self.cores)
        worst = sorted(time.lost.items(), key=lambda item: -item[1])[:_UNITS]
        named = [(node, lost) for node, lost in worst if lost >= _LEAST_LOSS * time.nanoseconds]
        if not named:
            return []
        rows = (f"  {human_time(lost):>10}  {_described(node)}" for node, lost in named)
        return [f"what {self.cores} cores lose beside the work, by units:", *rows]

    def to_json(self) -> dict[str, Any]:
        """All figures, times in seconds."""
        rows = [
            {
                "cores": time.cores,
                "seconds": 1e-9 * time.nanoseconds,
                "work": 1e-9 * time.work,
                "too_few_parts": 1e-9 * time.idle,
                "barriers": 1e-9 * time.barriers,
                "memory": 1e-9 * time.memory,
            }
            for time in self.found.times
        ]
        memory = {"gb_per_second_of_core": self.memory.of_core, "gb_per_second": self.memory.most}
        return {"cores": self.cores, **memory, "times": rows}


def predict(recipe: str, cores: int, bandwidth: float | None, **options: Any) -> Prediction:
    """Compile and time a recipe's step, and predict what it takes on `cores` cores, and on some other numbers.

    `options` are of `compile_step`; the batch is random, or the recipe's arrays. Raises what `make_recipe` and
    `compile_step` do.
    """
    ingredients = make_recipe(recipe)
    specs = optree.tree_map(lambda leaf: leaf if isinstance(leaf, ArrayType) else type_of(leaf), ingredients.batch)
    given = all(not isinstance(leaf, ArrayType) for leaf in optree.tree_leaves(ingredients.batch))
    batch = ingredients.batch if given else next(RandomBatches(specs, seed=0).epoch(0))
    memory = Memory.of(bandwidth)

    def make(threads: int) -> Step:
        made = make_recipe(recipe)
        return compile_step(made.model, made.loss_fn, made.optimizer, specs, threads=threads, cores=cores, **options)

    return Prediction(cores, core_times(make, batch, _counts(cores), memory.of_cores), memory)


def _counts(cores: int) -> Sequence[int]:
    return sorted({*_COUNTS, cores})


def _described(node: Node | None) -> str:
    """A unit in words."""
    if node is None:
        return "copies to where inputs are"
    shape = "×".join(map(str, node.outputs[0].type.shape))
    return " ".join(filter(None, (unit_name(node), f"[{shape}]", node.origin.scope, node.origin.role)))
