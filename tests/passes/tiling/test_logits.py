"""Logits and what becomes of them by rows, forward and backward in one loop: never whole in memory."""

from dataclasses import replace

import numpy as np
import pytest
from compiled import run_compiled
from gradloom import nn, optim
from gradloom.engine.step.compile_step import compile_step
from gradloom.engine.step.refusal import MemoryBudgetError
from gradloom.engine.step.step_graph import trace_step
from gradloom.ir import interpret, spec
from gradloom.nn import functional as F
from gradloom.passes.memory.plan import plan
from gradloom.passes.pipeline import pipeline, plan_graph, run_passes
from gradloom.passes.simplify.simplify import Simplify
from gradloom.passes.target import Target
from gradloom.passes.tiling.logits import TileLogits
from gradloom.passes.verify.plan import check_plan

ROWS, CLASSES, WIDTH = 1024, 4352, 64
WEIGHTS = np.linspace(0.5, 2.0, CLASSES, dtype=np.float32)


class Words(nn.Module):
    """Scores of all words for each place of a text; `tied` if they come from the words' own vectors."""

    def __init__(self, tied=True, width=WIDTH):
        self.words = nn.Embedding(CLASSES, width)
        self.mix, self.norm = nn.Linear(width, width), nn.LayerNorm(width)
        self.head = nn.Linear(width, CLASSES, bias=not tied)
        if tied:
            self.head.weight = self.words.weight

    def forward(self, x):
        return self.head(self.norm(np.tanh(self.mix(self.words(x)))))


def plain(scores, labels):
    return F.cross_entropy(scores, labels)


def weighted(scores, labels):
    return F.cross_entropy(scores, labels, weight=WEIGHTS, reduction="sum") / 1000


def smooth(scores, labels):
    return F.cross_entropy(scores, labels, label_smoothing=0.1)


def squared(scores, labels):
    return (np.tanh(scores) ** 2).mean()


def by_hand(scores, labels):
    """Its normalizers are kept near 1."""
    most = scores.max(axis=-1, keepdims=True)
    total = np.log(np.exp(scores - most).sum(axis=-1)) + most[:, 0]
    at_label = np.take_along_axis(scores, labels[:, None], axis=-1)[:, 0]
    return (total - at_label + 1e-3 * total**2).mean()


def perplexity(scores, labels):
    return np.exp(F.cross_entropy(scores, labels))


def graph_of(criterion, texts=1, metrics=False, **sizes):
    def loss(model, batch):
        scores = model(batch["x"]).reshape(-1, CLASSES)
        value = criterion(scores, batch["y"].reshape(-1))
        return (value, {"scores": scores}) if metrics else value

    batch = {name: spec((texts, ROWS), "int64") for name in "xy"}
    return trace_step(Words(**sizes), loss, optim.AdamW(1e-3), batch).graph


def inputs_for(graph, seed=0):
    rng = np.random.default_rng(seed)
    made = []
    for value in graph.inputs:
        t = value.type
        array = rng.integers(0, CLASSES, t.shape) if t.dtype.kind in "iu" else np.abs(rng.standard_normal(t.shape)) / 10
        made.append(np.asarray(array).astype(t.dtype))
    return made


def loops(graph):
    return [node for node in graph.nodes if node.op.name == "scan"]


@pytest.mark.parametrize("criterion", [plain, weighted, smooth, squared, by_hand])
@pytest.mark.parametrize("tied", [True, False])
def test_the_numbers_stay_and_the_logits_are_never_whole(criterion, tied):
    graph = Simplify()(graph_of(criterion, tied=tied))
    tiled = TileLogits()(graph)
    tiled.verify()
    (loop,) = loops(tiled)
    assert loop.attrs["length"] > 1
    whole = run_passes(graph, [step for step in pipeline() if not isinstance(step, TileLogits)])
    assert plan_graph(graph, 2, True).arena_bytes < 0.75 * plan(whole, 2, True).arena_bytes
    assert sum(n.op.name == "dot" for n in loop.attrs["body"].nodes) == 3, "logits once, and their two gradients"
    arrays = inputs_for(graph)
    for one, two in zip(interpret(graph, *arrays), interpret(tiled, *arrays), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-5)


def test_on_a_gpu_a_loss_runs_in_a_few_large_tiles():
    target = replace(Target.cuda("h100"), l3_bytes=1 << 20, launch_ns=1.0)
    graph = Simplify()(graph_of(plain, texts=4, width=256))
    (loop,) = loops(TileLogits(target)(graph))
    assert loop.attrs["length"] in (2, 4)
    arrays = inputs_for(graph)
    for one, two in zip(interpret(graph, *arrays), interpret(TileLogits(target)(graph), *arrays), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-5)
    check_plan(plan_graph(graph, target.workers, True, target))
    forward = trace_step(Words(), lambda m, b: m(b).max(), optim.SGD(0.1), spec((8, ROWS), "int64")).graph
    assert not [n for n in loops(TileLogits(target)(Simplify()(forward))) if n.origin.role == "forward"]


@pytest.mark.parametrize("texts", [1, 4])
def test_compiled_steps_agree_for_any_threads_and_plans_are_sound(texts):
    graph = graph_of(plain, texts)
    arrays = inputs_for(graph)
    wanted = interpret(graph, *arrays)
    first = None
    for threads in (1, 2, 4):
        planned = plan_graph(graph, threads, True)
        check_plan(planned)
        assert planned.arena_bytes < 0.75 * ROWS * CLASSES * 4 + 3 * CLASSES * WIDTH * 4
        results = run_compiled(graph, *arrays, threads=threads)
        first = first or results
        for one, two, three in zip(results, wanted, first, strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-5)
            assert one.tobytes() == three.tobytes()


def test_a_tied_weight_has_one_sum_which_all_of_its_gradients_continue():
    scheduled = run_passes(graph_of(plain, texts=4))
    (batch,) = loops(scheduled)
    body = batch.attrs["body"]
    consts, carries = batch.attrs["consts"], batch.attrs["carries"]
    shape = (CLASSES, WIDTH)
    assert [v.type.shape for v in body.inputs[consts : consts + carries]].count(shape) == 1
    made = [n.op.name for n in body.nodes for v in n.outputs if v.type.shape == shape and n.op.name != "transpose"]
    assert made == ["scan", "scatter_add"], "and it is copied nowhere"
    planned = plan_graph(graph_of(plain, texts=4), 2, True)
    ((inner,),) = [p for node, p in planned.bodies.items() if node.op.name == "scan"]
    assert inner.arena_bytes < 0.75 * ROWS * CLASSES * 4 + CLASSES * WIDTH * 4


@pytest.mark.parametrize(
    "options",
    [
        {"criterion": perplexity},  # the gradient to each row needs the sum over all
        {"criterion": plain, "metrics": True},  # the logits are wanted whole
        {"criterion": plain, "tied": False, "width": 1024},  # the gradient of the weight is larger than the logits
    ],
)
def test_there_is_no_loop_where_rows_wait_for_each_other_or_nothing_is_won(options):
    graph = Simplify()(graph_of(**options))
    assert not loops(TileLogits()(graph))


def test_what_is_kept_for_the_backward_is_not_cut():
    class Wide(nn.Module):
        def __init__(self):
            self.up, self.down = nn.Linear(WIDTH, CLASSES), nn.Linear(CLASSES, WIDTH)
            self.norm = nn.BatchNorm1d(WIDTH)

        def forward(self, x):
            return self.norm(self.down(F.gelu(self.up(x))))

    graph = trace_step(Wide(), lambda m, x: (m(x) ** 2).mean(), optim.SGD(0.1), spec((ROWS, WIDTH))).graph
    assert not loops(TileLogits()(Simplify()(graph)))


def test_all_budgets_give_the_same_bits():
    def loss(model, batch):
        return F.cross_entropy(model(batch["x"]).reshape(-1, CLASSES), batch["y"].reshape(-1))

    rng = np.random.default_rng(1)
    data = {name: rng.integers(0, CLASSES, (2, ROWS)) for name in "xy"}
    free = compile_step(Words(), loss, optim.SGD(0.1), data)
    wanted = [np.asarray(free(data)) for _ in range(2)]
    total, least = free.report.total_bytes, 0
    try:
        compile_step(Words(), loss, optim.SGD(0.1), data, memory=1)
    except MemoryBudgetError as error:
        least = error.least_bytes
    for memory in sorted({least, (least + total) // 2}):
        step = compile_step(Words(), loss, optim.SGD(0.1), data, memory=memory)
        step.report.check()
        assert step.report.total_bytes <= memory
        for want in wanted:
            assert np.asarray(step(data)).tobytes() == want.tobytes()
