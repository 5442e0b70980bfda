"""Compiled `scan` nodes: carries in place, sequences in slices, loops within loops and concurrent ones."""

import numpy as np
import pytest
from compiled import run_compiled
from gradloom.ir import OPS, Array, Builder, Graph, Value, interpret, spec
from gradloom.ir.ops import elementwise as ew
from gradloom.passes.memory.plan import plan
from gradloom.passes.pipeline import run_passes
from gradloom.passes.verify.errors import PlanVerificationError
from gradloom.passes.verify.plan import check_plan
from gradloom.runtime.cpu.tables import Tables
from gradloom.runtime.lowering.launch_list import lower

PLAIN = ((1,), (0,)), ((), ())


def dot(b: Builder, x: Value, y: Value) -> Value:
    (contract, batch) = PLAIN
    return b.emit(OPS["dot"], x, y, contract=contract, batch=batch)


def recurrence(rows: int, width: int, dtype: str = "float32") -> Graph:
    """(w, h, x) -> (h', h' + x) with h' = tanh(h w + x)."""
    b = Builder()
    w, h, x = (b.input(spec(s, dtype)) for s in ((width, width), (rows, width), (rows, width)))
    new = ew.tanh(b, ew.add(b, dot(b, h, w), x))
    return b.graph([new, ew.add(b, new, x)])


def swapping(shape: tuple[int, ...]) -> Graph:
    """(a, b, x) -> (b, a + x, b, b): the carries change places, and a result is a carry."""
    builder = Builder()
    a, b, x = (builder.input(spec(shape, "float32")) for _ in range(3))
    return builder.graph([b, ew.add(builder, a, x), b, b])


def scan(b: Builder, body: Graph, *inputs: Value, consts: int, carries: int, length: int, reverse: bool = False):
    attrs = {"body": body, "consts": consts, "carries": carries, "length": length, "reverse": reverse}
    return b.emit_node(OPS["scan"], *inputs, **attrs).outputs


def check(graph: Graph) -> None:
    graph.verify()
    rng = np.random.default_rng(0)
    arrays: list[Array] = [0.2 * rng.standard_normal(v.type.shape).astype(v.type.dtype) for v in graph.inputs]
    expected = interpret(graph, *arrays)
    scheduled = run_passes(graph)
    check_plan(plan(scheduled, 2))
    check_plan(plan(scheduled, 3, outputs_in_arena=True))
    results = [run_compiled(graph, *arrays, threads=n) for n in (1, 2, 4)]
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(one, two)
    for actual, wanted in zip(results[0], expected, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [0, 1, 7])
@pytest.mark.parametrize(("rows", "width"), [(3, 5), (64, 48), (1, 1), (0, 4)])
def test_a_recurrence(rows, width, length, reverse):
    b = Builder()
    w, h, x = (b.input(spec(s, "float32")) for s in ((width, width), (rows, width), (length, rows, width)))
    body = recurrence(rows, width)
    check(b.graph(scan(b, body, w, h, x, consts=1, carries=1, length=length, reverse=reverse)))


def test_views_are_read_in_place_or_copied():
    b = Builder()
    w, h, x = (b.input(spec(s, "float32")) for s in ((4, 4), (2, 3, 4), (9, 4, 3)))
    first = b.emit(
        OPS["reshape"], b.emit(OPS["slice"], h, start=(1, 0, 0), stop=(2, 3, 4), step=(1, 1, 1)), shape=(3, 4)
    )
    steps = b.emit(OPS["transpose"], x, perm=(0, 2, 1))
    some = b.emit(OPS["slice"], steps, start=(2, 0, 0), stop=(8, 3, 4), step=(1, 1, 1))
    turned = b.emit(OPS["transpose"], w, perm=(1, 0))
    check(b.graph(scan(b, recurrence(3, 4), turned, first, some, consts=1, carries=1, length=6)))


def test_carries_that_change_places_and_one_start_for_two():
    b = Builder()
    x = b.input(spec((5, 130), "float32"))
    zero = b.full(0, spec((130,), "float32"))
    check(b.graph(scan(b, swapping((130,)), zero, zero, x, consts=0, carries=2, length=5)))


def test_a_start_that_dies_is_carried_in_place():
    b = Builder()
    x = b.input(spec((5, 130), "float32"))
    start, other = ew.exp(b, b.emit(OPS["reduce_sum"], x, axes=(0,))), b.full(0, spec((130,), "float32"))
    results = scan(b, swapping((130,)), start, other, x, consts=0, carries=2, length=5)
    graph = b.graph([ew.add(b, results[0], results[1])])
    check(graph)
    planned = plan(run_passes(graph), 2)
    (node,) = (n for n in planned.graph.nodes if n.op.name == "scan")
    assert planned.in_place[node] == {0: 0, 1: 1}


def test_two_loops_run_concurrently():
    b = Builder()
    w, h, x = (b.input(spec(s, "float32")) for s in ((6, 6), (4, 6), (8, 4, 6)))
    body = recurrence(4, 6)
    forward = scan(b, body, w, h, x, consts=1, carries=1, length=8)
    backward = scan(b, body, w, h, x, consts=1, carries=1, length=8, reverse=True)
    graph = b.graph([*forward, *backward])
    check(graph)
    assert [len(phase) for phase in plan(run_passes(graph)).phases] == [2]


def test_loops_within_loops():
    inner = recurrence(3, 5)
    middle = Builder()
    w, h, x = (middle.input(spec(s, "float32")) for s in ((5, 5), (3, 5), (4, 3, 5)))
    last, ys = scan(middle, inner, w, h, x, consts=1, carries=1, length=4)
    outer = Builder()
    body = middle.graph([ew.mul(middle, last, last), middle.emit(OPS["reduce_sum"], ys, axes=(0,))])
    w, h, x = (outer.input(spec(s, "float32")) for s in ((5, 5), (3, 5), (6, 4, 3, 5)))
    top = outer.graph(scan(outer, body, w, h, x, consts=1, carries=1, length=6, reverse=True))
    check(top)
    b = Builder()
    w, h, x = (b.input(spec(s, "float32")) for s in ((5, 5), (3, 5), (2, 6, 4, 3, 5)))
    thrice = Graph(top.inputs, top.nodes, top.outputs[:1])
    check(b.graph(scan(b, thrice, w, h, x, consts=1, carries=1, length=2)))


@pytest.mark.parametrize("iterations", [2, 3, 5])
@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_iterations_without_carries_are_parallel(iterations, depth):
    graph, shape = recurrence(3, 5), [3, 5]
    for length in (2, 3, 4)[:depth]:
        b = Builder()
        shape.insert(0, length)
        w, h, x = (b.input(spec(s, "float32")) for s in ((5, 5), (3, 5), shape))
        last, _ = scan(b, graph, w, h, x, consts=1, carries=1, length=length, reverse=length == 3)
        graph = b.graph([ew.tanh(b, last), ew.add(b, last, h)])
    iteration = Builder()
    w, h, x = (iteration.input(spec(s, "float32")) for s in ((5, 5), (3, 5), shape))
    graph = iteration.graph(iteration.inline(graph, [w, ew.neg(iteration, h), x]))
    b = Builder()
    w, h, x = (b.input(spec(s, "float32")) for s in ((5, 5), (iterations, 3, 5), (iterations, *shape)))
    check(b.graph(scan(b, graph, w, h, x, consts=1, carries=0, length=iterations)))


def test_a_body_may_hold_constants_reductions_and_lookups():
    body = Builder()
    table, s, i = (body.input(spec(*t)) for t in (((7, 40), "float32"), ((40,), "float32"), ((3,), "int64")))
    rows = body.emit(OPS["gather"], table, i, axis=0, batch=0)
    total = body.emit(OPS["reduce_sum"], rows, axes=(0,))
    weights = body.constant(np.linspace(0, 1, 40).astype(np.float32))
    b = Builder()
    graph = body.graph([ew.add(body, s, ew.mul(body, total, weights))])
    table, s = b.input(spec((7, 40), "float32")), b.input(spec((40,), "float32"))
    indices = b.constant(np.arange(15).reshape(5, 3) % 7)
    check(b.graph(scan(b, graph, table, s, indices, consts=1, carries=1, length=5)))


def test_a_longer_loop_has_more_launches_and_no_more_calls():
    sizes = []
    for length in (3, 300):
        b = Builder()
        w, h, x = (b.input(spec(s, "float32")) for s in ((6, 6), (4, 6), (length, 4, 6)))
        graph = b.graph(scan(b, recurrence(4, 6), w, h, x, consts=1, carries=1, length=length))
        lowered = lower(plan(run_passes(graph)))
        tables = Tables(lowered, dict.fromkeys(lowered.sources(), 1)).arrays()
        sizes.append([len(tables[name]) for name in ("calls", "args", "launches")])
    assert sizes[0][:2] == sizes[1][:2]
    assert sizes[1][2] - sizes[0][2] == 297 * 2


def test_a_planted_fault_in_a_body_is_found():
    b = Builder()
    w, h, x = (b.input(spec(s, "float32")) for s in ((6, 6), (4, 6), (8, 4, 6)))
    planned = plan(run_passes(b.graph(scan(b, recurrence(4, 6), w, h, x, consts=1, carries=1, length=8))))
    ((body,),) = planned.bodies.values()
    check_plan(planned)
    object.__setattr__(body, "phases", body.phases[::-1])
    with pytest.raises(PlanVerificationError):
        check_plan(planned)
