"""The plan verifier accepts what the planner makes, and finds every fault that is planted in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from gradloom.ir import OPS, Builder, Graph, Node, Value, parse, spec
from gradloom.ir.ops import elementwise as ew
from gradloom.passes.memory.plan import Block, Location, Plan, plan
from gradloom.passes.memory.schedule import extra_dependencies
from gradloom.passes.pipeline import pipeline, run_passes
from gradloom.passes.verify.errors import PlanVerificationError
from gradloom.passes.verify.plan import check_plan
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from random_steps import step_graphs
from small_target import SMALL_TARGET

F32 = spec((40, 30), "float32")


def planned(graph: Graph, threads: int = 2, outputs_in_arena: bool = False) -> Plan:
    made = plan(run_passes(graph, pipeline(target=SMALL_TARGET)), threads, outputs_in_arena, target=SMALL_TARGET)
    check_plan(made)
    return made


def move(made: Plan, block: Block, offset: int) -> Plan:
    """The plan with a block, and all that lies in it, elsewhere."""
    locations = {**made.locations, **{v: Location("arena", 0, offset) for v in block.values}}
    scratch = {**made.scratch, **({block.unit: offset} if block.unit else {})}
    blocks = [replace(b, offset=offset) if b is block else b for b in made.blocks]
    return replace(made, locations=locations, scratch=scratch, blocks=blocks)


def with_phases(made: Plan, phases: Sequence[Sequence[Node]]) -> Plan:
    """The plan with other phases; blocks live as long as they must then, so that nothing is wrong but the order."""
    phase_of = {node: i for i, phase in enumerate(phases) for node in phase}
    lives: dict[Value | Node, list[int]] = {node: [now] for node, now in phase_of.items()}
    for node, now in phase_of.items():
        for value in node.outputs:
            lives.setdefault(value, []).append(now)
        for value in node.inputs:
            lives.setdefault(made.views[value].base, []).append(now)
    for value in made.graph.outputs:
        lives.setdefault(value, []).append(len(phases))
    blocks: list[Block] = []
    for block in made.blocks:
        found = [now for what in (*block.values, block.unit) if what is not None for now in lives.get(what, [0])]
        blocks.append(replace(block, birth=min(found), death=max(found)))
    return replace(made, phases=phases, blocks=blocks)


# ---- faults, each made at a place that a random number picks; None where a plan has no such place

Fault = Callable[[Plan, int], "Plan | None"]


def block_on_another(made: Plan, at: int) -> Plan | None:
    pairs = [(a, b) for a in made.blocks for b in made.blocks
             if a is not b and a.birth <= b.death and b.birth <= a.death]  # fmt: skip
    if not pairs:
        return None
    one, other = pairs[at % len(pairs)]
    return move(made, one, other.offset + other.nbytes - 1)


def block_beyond_the_end(made: Plan, at: int) -> Plan | None:
    if not made.blocks:
        return None
    block = made.blocks[at % len(made.blocks)]
    return move(made, block, made.arena_bytes - block.nbytes + 1)


def value_outside_its_block(made: Plan, at: int) -> Plan | None:
    values = [v for b in made.blocks for v in b.values]
    if not values:
        return None
    value = values[at % len(values)]
    place = made.locations[value]
    return replace(made, locations={**made.locations, value: replace(place, offset=place.offset + 64)})


def short_block(made: Plan, at: int) -> Plan | None:
    if not made.blocks:
        return None
    at %= len(made.blocks)
    blocks = [replace(b, nbytes=b.nbytes - 1) if i == at else b for i, b in enumerate(made.blocks)]
    return replace(made, blocks=blocks)


def needed_barrier(made: Plan, at: int) -> int | None:
    """The number of a phase that the next one waits for, not only because both together would take more memory."""
    if len(made.phases) < 2 or made.copied_back:  # with that, a barrier may stand for nothing
        return None
    at %= len(made.phases) - 1
    extra = extra_dependencies(made.graph, made.views)
    awaited = {s for node in made.phases[at + 1] for s in (*extra.get(node, ()), *_sources(made, node))}
    return None if awaited.isdisjoint(made.phases[at]) else at


def _sources(made: Plan, node: Node) -> list[Node]:
    return [source for v in node.inputs if (source := made.views[v].base.node) is not None]


def missing_barrier(made: Plan, at: int) -> Plan | None:
    if (found := needed_barrier(made, at)) is None:
        return None
    at = found
    before, after = made.phases[:at], made.phases[at + 2 :]
    return with_phases(made, [*before, [*made.phases[at], *made.phases[at + 1]], *after])


def swapped_phases(made: Plan, at: int) -> Plan | None:
    if (found := needed_barrier(made, at)) is None:
        return None
    at = found
    phases = list(made.phases)
    phases[at : at + 2] = reversed(phases[at : at + 2])
    return with_phases(made, phases)


def missing_unit(made: Plan, at: int) -> Plan | None:
    if not made.phases:
        return None
    at %= len(made.phases)
    phases = list(made.phases)
    phases[at] = phases[at][1:]
    return with_phases(made, phases)


def unit_run_twice(made: Plan, at: int) -> Plan | None:
    return with_phases(made, [*made.phases, made.phases[at % len(made.phases)][:1]]) if made.phases else None


def low_bound(made: Plan, at: int) -> Plan | None:
    return replace(made, lower_bound_bytes=made.lower_bound_bytes - 1 - at % 7)


def high_bound(made: Plan, at: int) -> Plan | None:
    return replace(made, lower_bound_bytes=made.lower_bound_bytes + 1 + at % 7)


def unsaid_writing_in_place(made: Plan, at: int) -> Plan | None:
    """A unit overwrites an input without saying so."""
    nodes = [n for n, pairs in made.in_place.items()
             if any(n.outputs[o].type.nbytes for o in pairs)]  # fmt: skip
    if not nodes:
        return None
    node = nodes[at % len(nodes)]
    return replace(made, in_place={n: pairs for n, pairs in made.in_place.items() if n is not node})


def wrong_output(made: Plan, at: int) -> Plan | None:
    i = at % len(made.graph.outputs)
    place = Location("output", len(made.graph.outputs))
    return replace(made, locations={**made.locations, made.graph.outputs[i]: place})


def forgotten_copy_back(made: Plan, at: int) -> Plan | None:
    if not made.copied_back:
        return None
    forgotten = list(made.copied_back)[at % len(made.copied_back)]
    return replace(made, copied_back={v: j for v, j in made.copied_back.items() if v is not forgotten})


ORDER = "before an earlier phase|overwrites input|read by another unit|may stop the run|lives from"
FAULTS: dict[Fault, str] = {
    block_on_another: "share bytes|lies at|which lies elsewhere",
    block_beyond_the_end: "lies at .* bytes|lies elsewhere",
    value_outside_its_block: "is not in the block|lies elsewhere",
    short_block: "is not in the block|bytes of scratch",
    missing_barrier: ORDER,
    swapped_phases: f"{ORDER}|share bytes|are live at once",
    missing_unit: "is in no phase",
    unit_run_twice: "which has run",
    low_bound: "the plan says",
    high_bound: "the plan says",
    unsaid_writing_in_place: "share bytes|destroys input",
    wrong_output: "lies at|not written to input|lies elsewhere",
    forgotten_copy_back: "not written to input",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.__name__)
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much])
@given(graph=step_graphs(), outputs_in_arena=st.booleans(), at=st.integers(0, 10**6))
def test_a_planted_fault_is_found(fault: Fault, graph: Graph, outputs_in_arena: bool, at: int):
    faulty = fault(planned(graph, outputs_in_arena=outputs_in_arena), at)
    assume(faulty is not None)
    assert faulty is not None
    with pytest.raises(PlanVerificationError, match=FAULTS[fault]):
        check_plan(faulty)


# ---- graphs made by hand


def matmul(b: Builder, x: Value, y: Value) -> Value:
    return OPS["dot"](b, x, y, contract=((1,), (0,)), batch=((), ()))


def units(made: Plan, op: str) -> list[Node]:
    return [n for phase in made.phases for n in phase if n.op.name == op]


def test_an_input_overwritten_before_its_last_reader_is_found():
    b = Builder()
    w, g = b.input(F32), b.input(spec((30, 30), "float32"))
    product = matmul(b, w, g)
    made = planned(b.graph([ew.add(b, w, b.full_like(w, 1)), product], {0: 0}))
    assert [[n.op.name for n in phase] for phase in made.phases] == [["dot"], ["region"]]
    with pytest.raises(PlanVerificationError, match="over input 0: it is read by another unit"):
        check_plan(with_phases(made, made.phases[::-1]))
    with pytest.raises(PlanVerificationError, match="over input 0: it is read by another unit"):
        check_plan(with_phases(made, [[*made.phases[0], *made.phases[1]]]))


def test_what_may_stop_the_run_after_an_input_is_overwritten_is_found():
    b = Builder()
    w, x, at = b.input(F32), b.input(F32), b.input(spec((7,), "int64"))
    rows = OPS["gather"](b, x, at, axis=0, batch=0)
    made = planned(b.graph([ew.neg(b, w), rows], {0: 0}))
    assert [[n.op.name for n in phase] for phase in made.phases] == [["gather"], ["region"]]
    with pytest.raises(PlanVerificationError, match="may stop the run"):
        check_plan(with_phases(made, made.phases[::-1]))
    with pytest.raises(PlanVerificationError, match="may stop the run"):
        check_plan(with_phases(made, [[*made.phases[0], *made.phases[1]]]))


def test_an_index_checked_once_does_not_hold_up_the_updates():
    b = Builder()
    w, at = b.input(F32), b.input(spec((7,), "int64"))
    v = b.input(F32)
    total = OPS["reduce_sum"](b, OPS["gather"](b, w, at, axis=0, batch=0), axes=(0, 1))
    scale = OPS["broadcast"](b, ew.exp(b, total), shape=(7, 30), axes=())
    gradient = OPS["scatter_add"](b, b.full_like(w, 0), at, scale, axis=0, batch=0)
    made = planned(b.graph([ew.neg(b, v), ew.add(b, w, gradient)], {0: 2, 1: 0}))
    update, (scatter,), (gather,) = made.graph.outputs[0].node, units(made, "scatter_add"), units(made, "gather")
    phases = [[n for n in phase if n is not update] for phase in made.phases]

    def with_update_before(node: Node) -> Plan:
        at = next(i for i, phase in enumerate(phases) if node in phase)
        return with_phases(made, [*phases[:at], [update], *phases[at:]])

    early, too_early = with_update_before(scatter), with_update_before(gather)
    check_plan(early)
    with pytest.raises(PlanVerificationError, match="may stop the run"):
        check_plan(too_early)


def chain_of_products(n: int) -> Graph:
    """x @ w @ w ... with a tanh after each, so that products are overwritten in place."""
    b = Builder()
    x, w = b.input(F32), b.input(spec((30, 30), "float32"))
    for _ in range(n):
        x = ew.tanh(b, matmul(b, x, w))
    return b.graph([x])


def test_writing_over_an_input_that_is_read_again_is_found():
    b = Builder()
    x, w = b.input(F32), b.input(spec((30, 30), "float32"))
    y = matmul(b, x, w)
    z = ew.exp(b, y)
    made = planned(b.graph([matmul(b, z, w), matmul(b, y, w)]))
    exp = next(n for n in units(made, "region") if any(m.op.name == "exp" for m in n.attrs["body"].nodes))
    source = exp.inputs[0]
    locations = {**made.locations, exp.outputs[0]: made.locations[source]}
    with pytest.raises(PlanVerificationError, match="read by another unit"):
        check_plan(replace(made, in_place={exp: {0: 0}}, locations=locations))


def test_writing_over_an_input_that_is_read_transposed_is_found():
    b = Builder()
    x, w = b.input(spec((30, 30), "float32")), b.input(spec((30, 30), "float32"))
    y = matmul(b, x, w)
    z = ew.add(b, OPS["transpose"](b, y, perm=(1, 0)), b.full_like(y, 1))
    made = planned(b.graph([matmul(b, z, w)]))
    (region,) = units(made, "region")
    assert region not in made.in_place
    locations = {**made.locations, region.outputs[0]: made.locations[units(made, "dot")[0].output]}
    with pytest.raises(PlanVerificationError, match="not laid out alike"):
        check_plan(replace(made, in_place={region: {0: 0}}, locations=locations))


def test_writing_over_a_row_before_it_is_reduced_is_found():
    b = Builder()
    x, w = b.input(F32), b.input(spec((30, 30), "float32"))
    y = matmul(b, x, w)
    top = OPS["broadcast"](b, OPS["reduce_max"](b, y, axes=(1,)), shape=(40, 30), axes=(0,))
    z = ew.exp(b, y)
    made = planned(b.graph([matmul(b, z, w), matmul(b, ew.mul(b, ew.sub(b, y, top), z), w)]))
    (region,) = units(made, "region")
    assert len(region.outputs) == 2
    first = next(o for o, v in enumerate(region.attrs["body"].outputs) if made.nests[region].sweep_of[v] == 0)
    assert first not in made.in_place[region]
    locations = {**made.locations, region.outputs[first]: made.locations[units(made, "dot")[0].output]}
    with pytest.raises(PlanVerificationError, match="read after it is written"):
        check_plan(replace(made, in_place={region: {first: 0}}, locations=locations))


def test_scattering_over_an_array_that_is_also_added_is_not_done_in_place():
    b = Builder()
    x, w, at = b.input(F32), b.input(spec((30, 30), "float32")), b.input(spec((40,), "int64"))
    y = matmul(b, x, w)
    made = planned(b.graph([matmul(b, OPS["scatter_add"](b, y, at, y, axis=0, batch=0), w)]))
    (scatter,) = units(made, "scatter_add")
    assert scatter not in made.in_place
    location = made.locations[y if y in made.locations else units(made, "dot")[0].output]
    with pytest.raises(PlanVerificationError, match="read in two ways"):
        check_plan(replace(made, in_place={scatter: {0: 0}}, locations={**made.locations, scatter.output: location}))


def test_row_buffers_for_fewer_workers_than_there_are_are_found():
    b = Builder()
    x = b.input(F32)
    z = ew.exp(b, x)
    total = OPS["broadcast"](b, OPS["reduce_sum"](b, z, axes=(1,)), shape=(40, 30), axes=(0,))
    made = planned(b.graph([ew.div(b, ew.neg(b, z), ew.add(b, total, total))]), threads=2)
    assert made.lower_bound_bytes > 0
    with pytest.raises(PlanVerificationError, match="bytes of scratch"):
        check_plan(replace(made, threads=3))


def test_a_long_chain_lives_in_two_blocks():
    made = planned(chain_of_products(20))
    assert made.lower_bound_bytes == made.arena_bytes == 2 * F32.nbytes


@pytest.mark.parametrize(
    "after",
    [
        """region(%y, %x) {body=graph(%in0: f32[4,3], %in1: f32[4,3]) {
      %0: f32[4,3] = mul(%in0, %in1)
      return %0
    }, domain=(4,3), rows=-1}""",
        "gather(%y, %i) {axis=0, batch=0}",
    ],
)
def test_an_input_is_kept_for_what_comes_later_in_an_order_that_was_chosen_elsewhere(after: str):
    graph = parse(f"""graph(%x: f32[4,3], %y: f32[4,3], %i: i64[4]) {{
  %0: f32[4,3] = region(%y) {{body=graph(%in0: f32[4,3]) {{
      %0: f32[4,3] = mul(%in0, %in0)
      return %0
    }}, domain=(4,3), rows=-1}}
  %1: f32[4,3] = region(%0) {{body=graph(%in0: f32[4,3]) {{
      %0: f32[4,3] = neg(%in0)
      return %0
    }}, domain=(4,3), rows=-1}}
  %2: f32[4,3] = {after}
  return %0 -> %x, %1, %2
}}""")
    for outputs_in_arena in (False, True):
        made = plan(graph, 2, outputs_in_arena, target=SMALL_TARGET)
        check_plan(made)
        assert made.copied_back == {graph.outputs[0]: 0}
