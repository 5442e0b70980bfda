"""Where nothing else fits a budget, the step runs in smaller tiles of the batch, and says that its bits differ."""

from functools import cache

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn, optim
from gradloom.engine.report.schema import MemoryReport
from gradloom.nn import functional as F
from gradloom.passes.budget import StepPlanner

TEXTS, STEPS, CLASSES = 8, 12, 40


class Words(nn.Module):
    def __init__(self):
        self.embedding = nn.Embedding(CLASSES, 48)
        self.lstm = nn.LSTM(48, 48, batch_first=True)
        self.out = nn.Linear(48, CLASSES)

    def forward(self, x):
        return self.out(self.lstm(self.embedding(x))[0])


class Images(nn.Module):
    """With batch norm, no image can do without the others."""

    def __init__(self, norm=True):
        self.one, self.two = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.norm = nn.BatchNorm2d(16) if norm else nn.Identity()
        self.out = nn.Linear(16, CLASSES)

    def forward(self, x):
        return self.out(F.relu(self.two(F.relu(self.norm(self.one(x))))).mean(axis=(2, 3)))


def words_loss(model, batch):
    return nn.cross_entropy(model(batch["x"]).reshape(-1, CLASSES), batch["y"].reshape(-1))


def images_loss(model, batch):
    return nn.cross_entropy(model(batch["x"]), batch["y"])


def words_of(seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.integers(0, CLASSES, (TEXTS, STEPS)) for name in "xy"}


def images_of(seed=0):
    rng = np.random.default_rng(seed)
    return {"x": rng.standard_normal((8, 3, 8, 8), np.float32), "y": rng.integers(0, CLASSES, 8)}


KINDS = {"words": (Words, words_loss, words_of), "images": (lambda: Images(False), images_loss, images_of)}
EACH = pytest.mark.parametrize("kind", KINDS)


@cache
def plan(kind, memory=None):
    model, loss, batch = KINDS[kind]
    return gl.plan_step(model(), loss, optim.SGD(0.1), batch(), memory=memory, threads=2)


@cache
def refusal(kind):
    report = plan(kind).report
    with pytest.raises(gl.MemoryBudgetError) as error:
        plan(kind, report.total_bytes - report.arena_bytes + 1)
    return error.value


@EACH
def test_less_memory_than_recomputing_can_do_with_gives_a_plan_that_says_so(kind):
    same = plan(kind).curve(9)[-1].total_bytes
    least = refusal(kind).least_bytes
    assert least < same
    before = ""
    for memory in np.linspace(same, least, 4).astype(int):
        report = plan(kind, int(memory)).report
        report.check()
        assert report.total_bytes <= memory
        assert bool(report.other_bits) == (memory < same), "and no smaller tile is taken where recomputing is enough"
        assert report.other_bits or not before, "nor is one given up again"
        before = report.other_bits
    assert "of the batch, because nothing else fits the budget" in before
    assert before in " ".join(str(report).split())
    assert MemoryReport.from_json(report.to_json()).other_bits == before
    assert "the smallest plan runs in tiles of" in str(refusal(kind))
    with pytest.raises(gl.MemoryBudgetError):
        plan(kind, least - 1)


@EACH
def test_the_page_says_it_too(kind, tmp_path):
    path = tmp_path / "step.html"
    report = plan(kind, refusal(kind).least_bytes).report
    report.to_html(path)
    assert report.other_bits in path.read_text()


@EACH
def test_the_numbers_stay_and_the_threads_change_no_bit(kind):
    model, loss, make_batch = KINDS[kind]
    batch, least = make_batch(), refusal(kind).least_bytes

    def run(memory, threads):
        step = gl.compile_step(model(), loss, optim.SGD(0.1), batch, memory=memory, threads=threads)
        losses = [np.asarray(step(batch)) for _ in range(5)]
        return losses, step.parameters(), step.report

    losses, parameters, report = run(None, 2)
    assert not report.other_bits
    first = None
    for threads in (2, 1):
        now, trained, report = run(least, threads)
        assert report.other_bits
        first = first or (now, trained)
        np.testing.assert_allclose(now, losses, rtol=1e-5)
        for name, array in trained.items():
            np.testing.assert_allclose(array, parameters[name], rtol=1e-4, atol=1e-6)
            assert array.tobytes() == first[1][name].tobytes()


def test_a_report_of_before_has_all_bits():
    text = plan("words").report.to_json().replace('"other_bits": "",', "")
    assert MemoryReport.from_json(text).other_bits == ""


def test_what_needs_the_whole_batch_has_no_smaller_tiles():
    free = gl.plan_step(Images(), images_loss, optim.SGD(0.1), images_of())
    assert not StepPlanner(free.graph, 2).in_tiles.tiles
    with pytest.raises(gl.MemoryBudgetError) as error:
        gl.plan_step(Images(), images_loss, optim.SGD(0.1), images_of(), memory=free.report.total_bytes // 20)
    assert "tiles of" not in str(error.value)
