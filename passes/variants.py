"""The alternative pipelines of a step: each keeps other values for the backward, and may need fewer bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from ..ir import Graph, Node
from .autodiff.min_cut_remat import MinCutRemat, has_far_values
from .fusion.regions import compares_forward
from .graph.comparisons import compares
from .graph.rewrite import Pass, all_nodes, for_target
from .memory.overlap_messages import OverlapMessages
from .memory.plan import Plan, plan
from .pipeline import Stages, preparation, scheduling_of_all
from .ranks.loop_parts import LoopParts
from .ranks.regather import RegatherParameters
from .ranks.shard_gathers import begins_gather, is_regathered
from .ranks.shares import Shares
from .remat.accumulate_early import AccumulateEarly
from .remat.checkpoint_scans import CheckpointScans
from .remat.delay_comparisons import DelayComparisons
from .remat.from_plan import graph_problem
from .target import Target
from .tiling.batch import SmallerTile, TileBatch
from .tiling.parallel_loops import SerializeIterations, run_concurrently

_REACH = 1.5
"""Of the passes `MinCutRemat` and `FusePrologue`."""
_WORTH_COMPARING = 50
"""Comparisons are delayed where their booleans are more than this part of the bytes of the forward."""
_ENOUGH = 0.2
"""Where no unit needs more than this part of the arena, recomputation in the pipeline's own plan leads far enough."""
_UNDER_WAY = 0
"""Messages that may be behind what waits for one, where memory is scarce."""
_WORTH_SERIALIZING = 20
"""Concurrent iterations are serialized where one of them takes more than this part of the arena."""


def _as_it_is(step: Pass) -> Sequence[Pass]:
    return (step,)


def _gathering_once(step: Pass) -> Sequence[Pass]:
    return (RegatherParameters(again=False) if isinstance(step, RegatherParameters) else step,)


def _by_layers(step: Pass) -> Sequence[Pass]:
    if not isinstance(step, LoopParts):
        return (step,)
    # Before the loops, of which those of the backward may recompute what those of the forward computed.
    return MinCutRemat(target=step.target), replace(step, by_layers=True)


@dataclass(frozen=True)
class Variant:
    """An alternative pipeline: `passes` turn the prepared graph (see `preparation`) into a scheduled one.

    Its `name` stands in reports and in the folders of `GRADLOOM_DUMP`, `why` says what it saves, and `applies` whether
    it is worth a try. All variants give the bits of the pipeline, see `variant_plans`.
    """

    name: str
    why: str
    passes: tuple[Pass, ...]
    applies: Callable[[_Step], bool]
    prepares: Callable[[Pass], Sequence[Pass]] = _as_it_is
    """What stands in the preparation in place of each of its passes."""

    def preparation(self, before: Sequence[Pass]) -> list[Pass]:
        """The passes that prepare a graph for this variant, where `before` prepare it for the pipeline."""
        return [other for step in before for other in self.prepares(step)]

    def then(self, last: Pass) -> Variant:
        """This variant with one more pass at the end."""
        return replace(self, name=f"{self.name}+{last.name}", passes=(*self.passes, last))


class _Step:
    """What variants ask of a step: its `prepared` graph, and the plan of the pipeline without a budget."""

    def __init__(self, stages: Stages, before: tuple[Pass, ...], base: Plan) -> None:
        self.stages, self.base = stages, base
        self.before = tuple(for_target(before, base.target))
        self.prepared = stages.run(self.before)

    def scheduled(self, variant: Variant) -> Graph:
        """The scheduled graph of a variant."""
        passes = for_target(variant.passes, self.base.target)
        return self.stages.run((*variant.preparation(self.before), *passes), f"variants/{variant.name}")

    def has_loop_to_cut(self, way: CheckpointScans) -> bool:
        return way.applies(self.prepared)

    @cached_property
    def needs_other_values(self) -> bool:
        """Whether some unit needs so much that recomputation around it does not help: it reads or makes too much."""
        return graph_problem(self.base).floor() > _ENOUGH * self.base.arena_bytes

    @cached_property
    def compares_much(self) -> bool:
        """Whether booleans for the backward are many, made together with what they compare."""
        if not any(map(compares_forward, all_nodes(self.prepared))):
            return False
        return _compared_share(self.scheduled(_DELAY_COMPARISONS)) * _WORTH_COMPARING > 1

    @property
    def gathers_again(self) -> bool:
        """Whether the backward gathers what each rank has a shard of, as the forward does."""
        return RegatherParameters() in self.before and any(is_regathered(n) for n in self.prepared.nodes)

    @property
    def loops_around_layers(self) -> bool:
        """Whether loops over the parts of the batch of a rank read parameters that are gathered."""
        loops = (step for step in self.before if isinstance(step, LoopParts))
        inputs = set(self.prepared.inputs)
        return any(s.parts > s.ranks for s in loops) and any(begins_gather(n, inputs) for n in self.prepared.nodes)

    @cached_property
    def has_far_values(self) -> bool:
        return has_far_values(self.prepared, _REACH)


def _checkpointed(name: str, why: str, *passes: CheckpointScans) -> Variant:
    return Variant(name, why, (*passes, *scheduling_of_all()), lambda step: step.has_loop_to_cut(passes[0]))


DEFAULT = Variant("default", "the pipeline as it is", tuple(scheduling_of_all()), lambda step: True)
_DELAY_COMPARISONS = Variant(
    "delay-comparisons",
    "the booleans that the backward reads are computed as late as possible, after their operands' other readers",
    (*scheduling_of_all(separate_comparisons=True), DelayComparisons()),
    lambda step: step.needs_other_values and step.compares_much,
)
VARIANTS = (
    _checkpointed(
        "checkpoint-scans-keep-products",
        "loops over time are checkpointed: a segment of the backward recomputes its forward, but no matrix product",
        CheckpointScans(products=True),
    ),
    *(
        _checkpointed(
            f"checkpoint-scans-{share:.0%}".rstrip("%"),
            f"loops over time are checkpointed: of the first {share:.0%} of the steps all is recomputed, of the others "
            "no matrix product",
            CheckpointScans(share=share),
            CheckpointScans(products=True),
        )
        for share in (0.45, 0.7)
    ),
    _checkpointed(
        "checkpoint-scans",
        "loops over time are checkpointed: a segment of the backward recomputes its whole forward",
        CheckpointScans(),
    ),
    _DELAY_COMPARISONS,
    Variant(
        "keep-far-values",
        f"values whose recomputation reads more than {_REACH} times their own bytes are kept",
        tuple(scheduling_of_all(_REACH)),
        lambda step: not step.compares_much if step.needs_other_values else step.has_far_values,
    ),
    Variant(
        "share-gathers",
        "what is gathered of a parameter serves the forward, what recomputes it, and the backward, as far as there is "
        "room, and is gathered again where there is none; few gradients are under way to other ranks",
        tuple(scheduling_of_all(messages=OverlapMessages(under_way=_UNDER_WAY))),
        lambda step: step.gathers_again,
        _gathering_once,
    ),
    Variant(
        "parts-by-layers",
        "all parts of the batch that a rank has go through a layer before the next one, so that a few parameters and "
        "gradients are whole at a time; few gradients are under way to other ranks",
        tuple(scheduling_of_all(messages=OverlapMessages(under_way=_UNDER_WAY))),
        lambda step: step.loops_around_layers,
        _by_layers,
    ),
)
"""All of them, in the order in which they are tried."""

LAST_PASSES: dict[Pass, str] = {
    AccumulateEarly(): "terms of long sums are added as soon as they are computed",
    SerializeIterations(): "concurrent iterations of loops run one after the other, in one arena",
}
"""What a variant may end in besides, see `variant_plans`."""

_TILES = "smaller-tiles-"


def variant_named(name: str) -> Variant:
    """The variant of this name, with the passes that it ends in besides. Raises `KeyError` where there is none."""
    first, *last = name.split("+")
    found = {variant.name: variant for variant in (DEFAULT, *VARIANTS)}[first]
    for one in last:
        found = found.then({step.name: step for step in LAST_PASSES}[one])
    return found


def variant_words(name: str) -> str:
    """The name of a variant and what it does."""
    first, *last = name.split("+")
    known = {variant.name: variant.why for variant in (DEFAULT, *VARIANTS)}
    told = [known.get(first, ""), *(why for step, why in LAST_PASSES.items() if step.name in last)]
    if first.startswith(_TILES):
        told[0] = f"tiles of {first.removeprefix(_TILES)} of the batch, whose sums are in another order"
    return ": ".join(filter(None, (name, "; ".join(filter(None, told)))))


def variant_plans(stages: Stages, base: Plan, before: Sequence[Pass] = ()) -> dict[str, Plan]:
    """The plans of the variants of a step that may need fewer bytes than `base`, its plan without a budget, by name.

    `before` are the passes that prepare the graph of `stages`. A variant with another order of additions inside a
    matrix product or a convolution is left out, so that all plans give the same bits.
    """
    step = _Step(stages, tuple(before), base)
    stages.known[*step.before, *for_target(DEFAULT.passes, base.target)] = base.graph
    chosen = [variant for variant in VARIANTS if variant.applies(step)]
    # Where the sums of products are long, all variants add early, the pipeline itself too.
    if AccumulateEarly().applies(base.graph):
        chosen = [variant.then(AccumulateEarly()) for variant in (DEFAULT, *chosen)]
    found: dict[str, Plan] = {}
    kept, costly = [_kept(base)], _costly(base.graph)
    for variant in chosen:
        scheduled = step.scheduled(variant)
        # Products and convolutions that are cut into other pieces may add up in another order.
        if not _costly(scheduled) <= costly:
            continue
        made = plan(scheduled, base.threads, outputs_in_arena=True, target=base.target)
        if (keeps := _kept(made)) not in kept:
            kept.append(keeps)
            found[variant.name] = made
    # Concurrent iterations have an arena each; one after the other they share one.
    named = {variant.name: variant for variant in (DEFAULT, *chosen)}
    wide = [
        name for name, p in {DEFAULT.name: base, **found}.items() if _widest(p) * _WORTH_SERIALIZING > p.arena_bytes
    ]
    for variant in (named[name].then(SerializeIterations()) for name in wide):
        found[variant.name] = plan(step.scheduled(variant), base.threads, outputs_in_arena=True, target=base.target)
    return found


def tile_variant(tile: SmallerTile) -> str:
    """The name of the variant whose batch runs in these tiles."""
    return f"{_TILES}{tile.entries}"


def tile_preparation(tile: SmallerTile | None, target: Target, shares: Shares | None = None) -> list[Pass]:
    """The passes that prepare a graph in these tiles of the batch; up to the cut into tiles where there is none.

    Smaller tiles hold less than parts do, so that `Accumulate` has one part.
    """
    passes = preparation(target=target, tiles=True, shares=shares)
    at = next(i for i, step in enumerate(passes) if isinstance(step, TileBatch))
    return passes[:at] if tile is None else [*passes[:at], TileBatch(tile.entries, target), *passes[at + 1 :]]


def _compared_share(graph: Graph) -> float:
    """Bytes of what only compares, as a part of those that the forward makes; in the loop where they are most."""
    made = sum(v.type.nbytes for n in graph.nodes if n.origin.role == "forward" for v in n.outputs)
    compared = sum(v.type.nbytes for n in graph.nodes if compares(n) for v in n.outputs)
    inner = (_compared_share(body) for node in graph.nodes for body in node.bodies)
    return max([compared / max(made, 1), *inner])


def _widest(made: Plan) -> int:
    """The most bytes that one of several concurrent iterations takes."""
    found = (bodies for node, bodies in made.bodies.items() if run_concurrently(node, made.threads))
    return max((body.arena_bytes for bodies in found for body in bodies), default=0)


def _kept(made: Plan) -> Counter[tuple[int, ...]]:
    """How often a plan keeps an array of so many bytes for so many phases; plans in which that is equal differ in
    little.
    """
    found: Counter[tuple[int, ...]] = Counter((b.nbytes, b.birth, b.death) for b in made.blocks if b.unit is None)
    for body in (body for bodies in made.bodies.values() for body in bodies):
        found.update((*key, len(body.phases)) for key in _kept(body).elements())
    return found


def _costly(graph: Graph, inside: str = "") -> set[tuple[str, ...]]:
    """Products and convolutions by the regions that they are inside of.

    A convolution adds up in the same order whether or not it makes what it reads itself, and all do in any loop.
    """
    found: set[tuple[str, ...]] = set()
    for node in graph.nodes:
        for body in node.graphs:
            found |= _costly(body, f"{inside}/{node.op.name}" if node.op.is_region else inside)
        if not node.graphs and node.op.is_contraction:
            found.add(_described(node, inside))
    return found


def _described(node: Node, inside: str) -> tuple[str, ...]:
    types = (str(v.type) for v in (*node.inputs, *node.outputs))
    return (inside, node.op.name, *types, str(sorted(node.attrs.items(), key=lambda item: item[0])))
