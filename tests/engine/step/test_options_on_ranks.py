"""Options of a step that ranks share: the bits are those of one process, whatever they measure, scale or store."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn
from lockstep import on_ranks
from mpi_runs import run_program
from rank_models import ROWS, batch_of, digest, plain_loss

pytestmark = pytest.mark.filterwarnings("ignore:ranks. batch norm at")  # which the model here has

TESTS = Path(__file__).parents[2]
SCALED: Any = {"precision": "fp16", "loss_scaling": {"init_scale": 2.0**18, "growth_interval": 3}}


class Layers(nn.Module):
    """Layers of each kind that a diagnosis tells apart."""

    def __init__(self):
        self.first, self.norm, self.last = nn.Linear(12, 40), nn.LayerNorm(40), nn.Linear(40, 5)

    def forward(self, x):
        return self.last(nn.tanh(self.norm(nn.relu(self.first(x)))))


def diagnosed(ranks: gl.ranks.Ranks, **options: Any) -> Any:
    """A step that has measured its layers once."""
    step = gl.compile_step(
        Layers(), plain_loss, gl.optim.AdamW(1e-2), batch_of(), ranks=ranks, diagnose=True, **options
    )
    step(own_rows(ranks))
    return step


def own_rows(ranks: gl.ranks.Ranks) -> dict[str, Any]:
    """The rows of a rank."""
    rows = slice(ROWS // ranks.size * ranks.rank, ROWS // ranks.size * (ranks.rank + 1))
    return {name: array[rows] for name, array in batch_of().items()}


def digests(ranks: gl.ranks.Ranks) -> str:
    """What steps with these options end with, as one text."""
    found = [
        digest(ranks, steps=8, **SCALED, outputs=["loss_scale", "skipped_updates"]),
        digest(ranks, steps=8, **SCALED, shard="gradients"),
        digest(ranks, steps=4, precision={"moments": "fp16"}),
        digest(ranks, steps=4, precision={"moments": "bf16"}, shard="state"),
    ]
    for shard in (None, "parameters"):
        step = diagnosed(ranks, shard=shard)
        gradients = step.gradients(own_rows(ranks))
        for name, parameter in step.parameters().items():
            assert gradients[name].shape == parameter.shape
        text = repr((step._measured[1], [g.tobytes() for g in gradients.values()]))
        found.append(hashlib.sha256(text.encode()).hexdigest())
    for shard in (None, "state", "parameters"):
        found.append(hashlib.sha256(averaged(ranks, shard)).hexdigest())
    return " ".join(each[:12] for each in found)


def averaged(ranks: gl.ranks.Ranks, shard: Any) -> bytes:
    """Averages of parameters, one of which is frozen, and what a function computes with them, step by step."""
    optimizer = gl.optim.EMA(gl.optim.AdamW(1e-2), 0.9)
    step = gl.compile_step(Layers(), plain_loss, optimizer, batch_of(), ranks=ranks, shard=shard, train="[!n]*")
    predict = step.bind(lambda model, x: model(x), averaged=True)
    found: list[Any] = []
    for _ in range(3):
        found += [*step.averaged_parameters().values(), predict(batch_of()["x"])]
        step(own_rows(ranks))
    return b"".join(np.asarray(array).tobytes() for array in found)


PROGRAM = """
import sys

import gradloom as gl

sys.path[:0] = [{tests!r}, {here!r}]
from test_options_on_ranks import digests

sys.stdout.write(f"found {{digests(gl.ranks.mpi())}}\\n")
"""


@pytest.mark.mpi
def test_options_have_the_bits_of_one_process(tmp_path: Path):
    program = PROGRAM.format(tests=str(TESTS), here=str(Path(__file__).parent))
    code, output = run_program(2, program, tmp_path)
    assert code == 0, output
    assert output.count(f"found {digests(gl.ranks.one())}\n") == 2, output


@pytest.mark.parametrize("shard", [None, "gradients", "parameters"])
def test_what_overflows_on_one_rank_is_skipped_by_all(shard: Any):
    def loss_fn(model: Any, batch: Any) -> Any:
        return ((model(batch["x"]) - batch["y"]) ** 2).mean()

    batch = {"x": np.ones((8, 3), np.float32), "y": np.zeros((8, 2), np.float32)}
    options: Any = {"loss_scaling": {"init_scale": 8.0}, "shard": shard, "parts": 4}
    step = gl.compile_step(nn.Linear(3, 2), loss_fn, gl.optim.AdamW(0.1), batch, ranks=gl.ranks.one(), **options)
    plan = gl.plan_step(nn.Linear(3, 2), loss_fn, gl.optim.AdamW(0.1), batch, ranks=2, **options)
    held = dict(zip(step._first.traced.graph.inputs, step._carried()))
    for bad in (False, True):
        batch["x"][-1] = 3e38 if bad else 1.0  # the last row is one of the last rank
        inputs: list[list[Any]] = [[], []]
        for value, (own, array) in zip(plan.traced.graph.inputs, held.items()):
            assert value.name == own.name
            cut = value.type.shape != array.shape
            halves = np.split(np.asarray(array), 2) if cut else [np.array(array)] * 2
            for of_rank, part in zip(inputs, halves):
                of_rank.append(np.array(part))
        for rank, of_rank in enumerate(inputs):
            of_rank += [v[4 * rank : 4 * rank + 4] for v in batch.values()]
        found = on_ranks(plan._plans.planner.prepared, inputs)
        names = plan.traced.graph.output_names
        one, other = (dict(zip(names, found[i : i + len(names)])) for i in (0, len(names)))
        for outputs, before in zip((one, other), inputs):
            assert outputs["skipped_updates"] == bad
            assert outputs["loss_scale"] == (4.0 if bad else 8.0)
            kept = np.array_equal(outputs["weight"], before[0])
            assert kept == bad


def test_a_diagnosis_is_that_of_the_whole_batch():
    """Of parts it measures what a step without ranks measures, and counts as many elements."""
    batch = batch_of()
    alone = gl.compile_step(Layers(), plain_loss, gl.optim.AdamW(1e-2), batch, diagnose=True)
    alone(batch)
    for shard in (None, "state", "parameters"):
        step = diagnosed(gl.ranks.one(), shard=shard)
        assert step._measured is not None
        assert alone._measured is not None
        (found, values, *_), (expected, wanted, *_) = step._measured, alone._measured
        assert found.layers == expected.layers
        assert sorted(found.names) == sorted(expected.names)
        of_alone = dict(zip(expected.names, wanted))
        for name, value in zip(found.names, values):
            np.testing.assert_allclose(value, of_alone[name], rtol=1e-4, atol=1e-12)
        assert str(step.diagnosis).count("\n") == str(alone.diagnosis).count("\n")


def test_gradients_are_those_of_the_whole_batch_and_change_nothing():
    batch = batch_of()
    alone = gl.compile_step(Layers(), plain_loss, gl.optim.SGD(0.1), batch)
    expected = alone.gradients(batch)
    scaled: Any = {"precision": "fp16", "loss_scaling": 256.0}
    choices: list[Any] = [{}, {"shard": "parameters"}, {"shard": "state", **scaled}]
    for options in choices:
        step = gl.compile_step(Layers(), plain_loss, gl.optim.SGD(0.1), batch, ranks=gl.ranks.one(), **options)
        before = step.parameters()
        rtol, atol = (0.05, 1e-3) if "precision" in options else (1e-4, 1e-7)
        for name, gradient in step.gradients(batch).items():
            np.testing.assert_allclose(gradient, expected[name], rtol=rtol, atol=atol)
            assert np.array_equal(step.parameters()[name], before[name])
        assert step.steps == 0


def test_averages_are_the_same_where_ranks_have_shards_of_them():
    found = [averaged(gl.ranks.one(), shard) for shard in (None, "state", "gradients", "parameters")]
    assert found == [found[0]] * 4


def test_a_unit_is_dead_where_it_is_0_in_all_parts():
    def loss_fn(model: Any, x: Any) -> Any:
        return model(x).sum()

    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU())
    weight = np.eye(2, dtype=np.float32)
    nn.init.constant_(model.get_parameter("0.weight"), weight)
    x = np.full((8, 2), -1.0, np.float32)
    x[-1, 0] = 1.0  # in one part alone
    step = gl.compile_step(model, loss_fn, gl.optim.SGD(0.0), x, ranks=gl.ranks.one(), diagnose=True)
    step(x)
    (layer,) = (layer for layer in step.diagnosis.layers if layer.dead is not None)
    assert layer.dead == 0.5
    assert layer.per_unit == 8
