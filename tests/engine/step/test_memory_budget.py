"""A memory budget is kept to the byte, changes no bit, and is refused with advice where it cannot be kept."""

from __future__ import annotations

import functools
import pickle
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn, optim
from gradloom.engine.step.budget import budget_of
from gradloom.engine.step.largest_batch import LONGEST_BATCH
from gradloom.engine.step.plans import StepPlans

ROWS, WIDTH, TOKENS = 4, 16, 12


class Transformer(nn.Module):
    """A few layers with dropout, over tokens."""

    def __init__(self) -> None:
        self.embedding = nn.Embedding(TOKENS, WIDTH)
        self.layers = nn.ModuleList(
            [
                nn.TransformerEncoderLayer(WIDTH, 2, 48, dropout=0.2, activation="gelu", batch_first=True)
                for _ in range(2)
            ]
        )
        self.out = nn.Linear(WIDTH, TOKENS)

    def forward(self, x: Any) -> Any:
        h = self.embedding(x)
        for layer in self.layers:
            h = layer(h)
        return self.out(h)


def loss_fn(model: Any, batch: Any) -> Any:
    return nn.cross_entropy(model(batch["x"]).reshape(-1, TOKENS), batch["y"].reshape(-1))


def make_batch(seed: int, rows: int = ROWS) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {name: rng.integers(0, TOKENS, (rows, 20)) for name in ("x", "y")}


@functools.cache
def free_plan(rows: int) -> gl.StepPlan:
    model, optimizer, batch = Transformer(), optim.AdamW(1e-2), make_batch(0, rows)
    return gl.plan_step(model, loss_fn, optimizer, batch, threads=2, clip_norm=1.0)


def plan(memory: Any = None, rows: int = ROWS) -> gl.StepPlan:
    """A plan within a budget; what all budgets have in common is done once."""
    return free_plan(rows)._plans.within(budget_of(memory))


def test_every_budget_gives_the_bits_of_the_run_without():
    batches = [make_batch(seed) for seed in range(4)]

    def run(memory: Any, threads: int) -> tuple[list[bytes], dict[str, bytes], gl.Step]:
        model, optimizer = Transformer(), optim.AdamW(1e-2)
        step = gl.compile_step(model, loss_fn, optimizer, batches[0], memory=memory, threads=threads, clip_norm=1.0)
        losses = [step(batches[i % 4]).tobytes() for i in range(100)]
        return losses, {name: array.tobytes() for name, array in step.parameters().items()}, step

    losses, parameters, free = run(None, 2)
    points = plan().curve(6)
    assert len(points) >= 4
    for point, threads in ((points[len(points) // 2], 1), (points[-1], 2)):
        now, trained, step = run(point.total_bytes, threads)
        step.report.check()
        assert step.report.total_bytes <= point.total_bytes < free.report.total_bytes
        assert step.report.recompute_flops > 0
        assert any(value.status == "recomputed" for value in step.report.values)
        assert now == losses
        assert trained == parameters


def test_more_memory_is_never_slower_and_less_always_fits_down_to_the_least():
    free = plan()
    plans = free._plans
    least = plans.least().report.total_bytes
    slowest = np.inf
    for budget in np.linspace(least, free.report.total_bytes + 1000, 5).astype(int):
        fitting = plan(int(budget))
        fitting.report.check()
        assert fitting.report.total_bytes <= budget
        assert fitting.slowdown <= slowest
        slowest = fitting.slowdown
    assert slowest == 0.0
    assert plans.planner.fastest_within(least - 1 - plans.held_bytes) is None


def test_half_of_the_activations_costs_little():
    free = plan(rows=16)
    held = free.report.total_bytes - free.report.arena_bytes
    half = plan(held + free.report.arena_bytes // 2, rows=16)
    assert half.report.arena_bytes <= free.report.arena_bytes // 2
    assert half.report.no_recompute_arena_bytes == free.report.arena_bytes
    assert 0 < half.slowdown < 0.2


class Centered(nn.Module):
    """Layers that need the whole batch; `mark` marks the products that are 48 wide."""

    def __init__(self, mark: Callable[[Any], Any]) -> None:
        self.layers = nn.ModuleList([nn.Linear(*((48, 32) if i % 2 else (32, 48))) for i in range(8)])
        self.mark = mark

    def forward(self, x: Any) -> Any:
        for i, layer in enumerate(self.layers):
            x = np.sin(layer(x) if i % 2 else self.mark(layer(x)))
            x = x - x.mean(axis=0)
        return x


def all_nodes(graph: gl.Graph) -> list[Any]:
    inner = [all_nodes(node.attrs["body"]) for node in graph.nodes if "body" in node.attrs]
    return [*graph.nodes, *(node for nodes in inner for node in nodes)]


@pytest.mark.parametrize("mark", [gl.save, lambda x: x], ids=["saved", "plain"])
def test_what_is_saved_is_computed_once_under_every_budget(mark: Callable[[Any], Any]):
    batch = {"x": np.random.default_rng(1).standard_normal((512, 32)).astype("float32")}
    model, optimizer = Centered(mark), optim.SGD(0.1)

    def loss(model: Any, batch: Any) -> Any:
        return (model(batch["x"]) ** 2).mean()

    with pytest.raises(gl.MemoryBudgetError) as error:
        gl.plan_step(model, loss, optimizer, batch, memory=1)
    least = gl.plan_step(model, loss, optimizer, batch, memory=error.value.least_bytes).report
    least.check()
    nodes = all_nodes(least.plan.graph)
    again = [n.output.type.shape[1] for n in nodes if n.op.name == "dot" and n.origin.role == "recompute"]
    assert set(again) == ({32} if mark is gl.save else {32, 48})
    assert sum(node.op.name == "save" for node in nodes) == (4 if mark is gl.save else 0)


def test_a_curve_goes_from_the_fastest_plan_to_the_smallest():
    free = plan()
    points = free.curve(5)
    assert 2 <= len(points) <= 5
    assert points[0] == (free.report.total_bytes, free.report.arena_bytes, 0, 0.0)
    for before, after in pairwise(points):
        assert after.total_bytes < before.total_bytes
        assert after.slowdown > before.slowdown
        assert after.total_bytes - after.arena_bytes == before.total_bytes - before.arena_bytes
    again = plan(points[-1].total_bytes)
    assert again.report.total_bytes == points[-1].total_bytes
    assert again.report.recompute_flops == points[-1].recompute_flops


def test_curve_and_refusal_say_what_a_budget_of_their_bytes_takes():
    """Not what a slower plan of as many bytes takes: arenas are larger than what is alive by more or less."""
    made = gl.plan_step(Transformer(), loss_fn, optim.AdamW(1e-2), make_batch(0))
    frontier = made._plans.planner.frontier
    last = frontier.last
    frontier._plans[last] = frontier.planned(last - 1)
    point = made.curve(2)[-1]
    within = made.fitting(point.total_bytes)
    assert within is not None
    assert (within.total_bytes, within.slowdown) == (point.total_bytes, point.slowdown)
    assert within.slowdown <= frontier.choice(last - 1).slowdown < frontier.choice(last).slowdown
    with pytest.raises(gl.MemoryBudgetError, match=rf"memory={point.total_bytes} .*: {within.slowdown:.1%} more time"):
        made._plans.within(budget_of(1))


def regression(rows: int, norm: bool, memory: Any = None) -> gl.StepPlan:
    layers = [nn.Linear(16, 24), nn.BatchNorm1d(24) if norm else nn.Tanh(), nn.Linear(24, 1)]
    batch = {"x": gl.spec((rows, 16), "float32"), "y": gl.spec((rows, 1), "float32")}

    def loss(model: Any, batch: Any) -> Any:
        return nn.mse_loss(model(batch["x"]), batch["y"])

    return gl.plan_step(nn.Sequential(*layers), loss, optim.SGD(0.1), batch, memory=memory)


@pytest.mark.parametrize(("rows", "norm"), [(48, True), (64, False), (7, False)])
@pytest.mark.parametrize("share", [0.7, 1.5, 20.0])
def test_the_largest_batch_fits_and_the_next_does_not(rows: int, norm: bool, share: float):
    free = regression(rows, norm)
    held = free.report.total_bytes - free.report.arena_bytes
    budget = held + int(share * free.report.arena_bytes)
    largest = free.largest_batch(budget)
    assert largest >= (rows if share > 1 else 0)
    if largest:
        assert regression(largest, norm, budget).report.total_bytes <= budget
    if largest < LONGEST_BATCH:
        with pytest.raises(gl.MemoryBudgetError):
            regression(largest + 1, norm, budget)


def test_few_lengths_are_looked_at_where_bytes_grow_in_line(monkeypatch: pytest.MonkeyPatch):
    free = regression(64, norm=True)
    looked_at: list[int] = []
    for_batch = StepPlans.for_batch

    def counted(plans: StepPlans, length: int) -> StepPlans:
        looked_at.append(length)
        return for_batch(plans, length)

    monkeypatch.setattr(StepPlans, "for_batch", counted)
    largest = free.largest_batch(3 * free.report.total_bytes)
    assert looked_at[-1] in (largest, largest + 1)
    assert len(looked_at) <= 6


def test_the_largest_batch_splits_as_the_step_does():
    model = nn.Sequential(nn.Linear(6, 32), nn.Tanh(), nn.Linear(32, 3))
    specs = {"x": gl.spec((64, 6)), "y": gl.spec(64, "int64")}

    def loss(model: Any, batch: Any) -> Any:
        return nn.cross_entropy(model(batch["x"]), batch["y"])

    free = gl.plan_step(model, loss, optim.SGD(0.1), specs, accumulate=2)
    largest = free.largest_batch(free.report.total_bytes)
    assert largest % 2 == 0
    assert largest >= 64


def test_no_batch_fits_what_the_parameters_alone_exceed():
    assert plan().largest_batch("10kB") == 0


@pytest.mark.parametrize("spare", [0, 1000, 100_000])
def test_a_batch_that_the_model_refuses_is_no_answer(spare: int):
    model = nn.Sequential(nn.Linear(6, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 3))
    specs = {"x": gl.spec((64, 6)), "y": gl.spec(64, "int64")}

    def loss(model: Any, batch: Any) -> Any:
        return nn.cross_entropy(model(batch["x"]), batch["y"])

    plan = gl.plan_step(model, loss, optim.SGD(0.1), specs)
    held = plan.report.total_bytes - plan.report.arena_bytes
    assert plan.largest_batch(held + spare) != 1
    with pytest.raises(gl.MemoryBudgetError, match="at least"):
        gl.plan_step(model, loss, optim.SGD(0.1), specs, memory=held + 1)


def test_a_share_is_of_the_total_without_a_bound():
    free = plan()
    part = plan("90%")
    assert part.report.total_bytes <= 0.9 * free.report.total_bytes
    assert plan("100%").report.total_bytes == free.report.total_bytes


@pytest.mark.parametrize(
    ("text", "size"),
    [
        *(("200MB", 200 * 10**6), ("1.5 GB", 15 * 10**8), ("2GiB", 2 << 30), ("64 kb", 64_000), ("7", 7)),
        *(("1e9", 10**9), (".5 GB", 5 * 10**8), (12, 12), (2e9, 2 * 10**9), (np.int32(5), 5), (np.float32(1024), 1024)),
    ],
)
def test_budgets_in_bytes(text: Any, size: int):
    assert budget_of(text).nbytes == size


@pytest.mark.parametrize(
    "text",
    [
        *("0%", "101%", "-5%", "50 %%", "%", "half", "1.5.GB", "", "-3", "nan", "inf", "1e999", "2E", "1e9e9"),
        *(1.5, 0, -3, -2e9, np.nan, np.inf, True, np.True_, [], (1,), np.ones(2)),
    ],
)
def test_what_is_no_budget(text: Any):
    with pytest.raises(ValueError, match=r"memory is a number of bytes or text such as '200MB', '1\.5GiB' or '50%'"):
        budget_of(text)


def test_a_refusal_is_one_where_the_loss_takes_batches_of_one_length_alone():
    def loss(model: Any, graph: Any) -> Any:
        source, target = graph["edges"]  # Python's ValueError for another length
        return ((model(graph["x"])[source] - graph["x"][target]) ** 2).mean()

    specs = {"edges": gl.spec((2, 500), "int64"), "x": gl.spec((300, 6))}
    free = gl.plan_step(nn.Linear(6, 6), loss, optim.SGD(0.1), specs)
    with pytest.raises(gl.MemoryBudgetError, match="no batch is small enough") as error:
        gl.plan_step(nn.Linear(6, 6), loss, optim.SGD(0.1), specs, memory=free.report.total_bytes // 8)
    assert error.value.least_bytes <= free.report.total_bytes


def test_a_refusal_says_what_would_help():
    free = plan()
    held = free.report.total_bytes - free.report.arena_bytes
    with pytest.raises(gl.MemoryBudgetError) as error:
        plan(held + 45_000)
    least, largest = error.value.least_bytes, error.value.largest_batch
    assert max(map(len, str(error.value).splitlines())) <= 80
    text = " ".join(str(error.value).split())
    assert f"the budget is {held + 45_000:,}" in text
    assert 0 < largest < ROWS
    assert plan(held + 45_000, rows=largest).report.total_bytes <= held + 45_000
    assert f"the largest batch that would fit is {largest}, this one is 4" in text
    assert "what is alive when the smallest plan needs the most" in text
    assert " smaller values, " in text
    assert f"memory={free.report.total_bytes} " in text
    assert "0.0% more time" in text
    assert f"the least that fits is memory={least};" in text
    assert plan(least).report.total_bytes == least
    copied = pickle.loads(pickle.dumps(error.value))
    assert (str(copied), copied.least_bytes, copied.largest_batch) == (str(error.value), least, largest)


def test_a_refusal_says_where_no_batch_is_small_enough():
    with pytest.raises(gl.MemoryBudgetError, match=r"optimizer\s+state\s+and\s+constants\s+alone\s+take") as error:
        plan("1kB")
    assert error.value.largest_batch == 0


def test_compiling_is_refused_before_anything_is_allocated():
    with pytest.raises(gl.MemoryBudgetError, match="the step needs"):
        gl.compile_step(
            nn.Linear(100_000, 100_000),
            lambda model, batch: model(batch).sum(),
            optim.AdamW(1e-3),
            gl.spec((8, 100_000)),
            memory="64GB",
        )


@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU, nn.RNN])
def test_a_batch_that_nobody_could_hold_is_planned_in_little_memory(cell: Any):
    def loss(model: Any, batch: Any) -> Any:
        return model(batch)[0].sum()

    tracemalloc.start()
    plan = gl.plan_step(cell(8, 512, batch_first=True), loss, optim.SGD(1e-3), gl.spec((1 << 20, 6, 8)))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert plan.report.check() is None
    assert most < 20_000_000  # a state of zeros alone would take 2 GB


_CHILD = """
import resource, sys
import numpy as np
import gradloom as gl
from gradloom import nn, optim

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

def loss_fn(model, batch):
    return (model(batch) ** 2).mean()

model = nn.Sequential(*[layer for _ in range(5) for layer in (nn.Linear(1024, 1024), nn.GELU())])
batch = np.ones((512, 1024), "float32")
points = gl.plan_step(model, loss_fn, optim.SGD(1e-3, momentum=0.9), batch, threads=1).curve(3)
memory = points[int(sys.argv[1])].total_bytes

def make():
    step = gl.compile_step(model, loss_fn, optim.SGD(1e-3, momentum=0.9), batch, memory=memory, threads=1)
    step(batch)
    return step

make()  # compiles the kernels and loads the libraries
before = resident()
step = make()
for _ in range(3):
    step(batch)
print(step.report.total_bytes, resident() - before)
"""


@pytest.mark.parametrize("point", [0, -1])
def test_resident_memory_grows_by_what_was_predicted(point: int):
    done = subprocess.run([sys.executable, "-c", _CHILD, str(point)], capture_output=True, text=True, check=True)
    predicted, grown = map(int, done.stdout.split())
    # Beyond what is planned there are tables, Python objects and what BLAS packs: 16 MB at most.
    assert predicted > 40_000_000
    assert grown <= predicted + 16_000_000


_PEAK = """
import numpy as np
import gradloom as gl
from gradloom import nn, optim

def loss_fn(model, batch):
    return (model(batch) ** 2).mean()

def status(key):
    with open("/proc/self/status") as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith(key))

def make(width, layers):
    model = nn.Sequential(*[nn.Linear(width, width) for _ in range(layers)])
    batch = np.ones((8, width), "float32")
    step = gl.compile_step(model, loss_fn, optim.AdamW(1e-3), batch, threads=1)
    step(batch)
    return step.report.total_bytes

make(8, 2)  # loads the libraries
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # the most that is resident counts from now on
before = status("VmRSS")
print(make(2048, 8), status("VmHWM") - before)
"""


def test_initial_values_are_never_there_twice():
    done = subprocess.run([sys.executable, "-c", _PEAK], capture_output=True, text=True, check=True)
    predicted, most = map(int, done.stdout.split())
    # The compiler of kernels takes some, too; the optimizer's state alone is 268 MB.
    assert predicted > 400_000_000
    assert most <= predicted + 100_000_000


def unrolled(steps: int) -> tuple[Any, ...]:
    """A recurrent network whose steps are a loop of Python."""
    into, onward, out = nn.Linear(8, 32), nn.Linear(32, 32), nn.Linear(32, 3)

    def states(model: Any, batch: Any) -> Any:
        h = np.tanh(into(batch["x"][:, 0]))
        for t in range(1, steps):
            h = np.tanh(into(batch["x"][:, t]) + onward(h))
        return nn.cross_entropy(out(h), batch["y"])

    rng = np.random.default_rng(0)
    batch = {"x": rng.standard_normal((4, steps, 8)).astype("float32"), "y": rng.integers(0, 3, 4)}
    return nn.ModuleList([into, onward, out]), states, optim.SGD(0.1), batch


def test_the_gradients_of_steps_do_not_wait_for_one_sum():
    short, long = (gl.plan_step(*unrolled(steps)).report.arena_bytes for steps in (20, 60))
    state = 4 * 32 * 4
    assert long - short < 40 * 2 * state


def test_an_unrolled_network_keeps_a_budget_with_the_same_bits():
    losses = []
    for memory in (None, "80%"):
        step = gl.compile_step(*unrolled(40), memory=memory)
        batch = unrolled(40)[-1]
        losses.append([float(step(batch)) for _ in range(5)])
        if memory:
            assert step.report.recompute_flops > 0
    assert losses[0] == losses[1]


def test_what_gradients_of_steps_are_made_of_need_not_wait():
    """Without a budget fewest bytes are alive if all products of the large weight come last; with one they need not."""
    cell, out = nn.Linear(8 + 32, 4 * 32), nn.Linear(32, 3)

    def states(model: Any, batch: Any) -> Any:
        h = c = np.zeros((16, 32), "float32")
        for t in range(16):
            z = cell(np.concatenate([batch["x"][:, t], h], axis=1))
            i, f, g, o = (z[:, 32 * k : 32 * (k + 1)] for k in range(4))
            c = nn.functional.sigmoid(f) * c + nn.functional.sigmoid(i) * np.tanh(g)
            h = nn.functional.sigmoid(o) * np.tanh(c)
        return nn.cross_entropy(out(h), batch["y"])

    batch = {"x": gl.spec((16, 16, 8)), "y": gl.spec((16,), "int64")}
    planned = gl.plan_step(nn.ModuleList([cell, out]), states, optim.SGD(0.1), batch, threads=2)
    points = planned.curve(6)
    assert points[-1].arena_bytes < 0.5 * points[0].arena_bytes
    assert min(p.slowdown for p in points if p.arena_bytes < 0.7 * points[0].arena_bytes) < 0.3
