"""Parameters of two bytes on ranks that hold shards: each has a shard of the masters, and no bit changes."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import gradloom as gl
import ml_dtypes
import numpy as np
import pytest
from gradloom import nn
from mpi_runs import run_program
from rank_models import ROWS, batch_of, plain_loss
from safetensors.numpy import save_file

HALF: Any = {"parameters": "bf16"}
SHARDS = (None, "state", "gradients", "parameters")


class Layers(nn.Module):
    """One of its parameters is frozen."""

    def __init__(self):
        self.first, self.norm, self.last = nn.Linear(12, 40), nn.LayerNorm(40), nn.Linear(40, 5)
        self.last.bias.requires_grad = False

    def forward(self, x):
        return self.last(self.norm(nn.relu(self.first(x))))


def step_of(ranks: gl.ranks.Ranks, shard: Any, optimizer: Any = None, **options: Any) -> Any:
    optimizer = optimizer or gl.optim.AdamW(1e-2)
    options = {"precision": HALF, "clip_norm": 0.5, **options}
    return gl.compile_step(Layers(), plain_loss, optimizer, batch_of(), ranks=ranks, shard=shard, **options)


def trained(step: Any, first: int = 0, steps: int = 3) -> Any:
    """The step after some more steps."""
    rows = ROWS // step.ranks.size
    for seed in range(first, first + steps):
        own = slice(step.ranks.rank * rows, (step.ranks.rank + 1) * rows)
        step({name: array[own] for name, array in batch_of(seed=seed).items()})
    return step


def digest(step: Any) -> str:
    arrays = (*step.parameters().values(), *step.state().values())
    return hashlib.sha256(b"".join(np.asarray(x).tobytes() for x in arrays)).hexdigest()[:12]


def digests(ranks: gl.ranks.Ranks, shard: Any, folder: Path) -> str:
    """What several steps end with, one of them after it went on from a file, as one text."""
    adafactor, average = gl.optim.Adafactor(1e-2), gl.optim.EMA(gl.optim.AdamW(1e-2), 0.9)
    scaled: Any = {"loss_scaling": {"init_scale": 2.0**18, "growth_interval": 3}}
    moments = {"precision": {"parameters": "fp16", "moments": "bf16"}}
    found = [
        trained(step_of(ranks, shard)),
        trained(step_of(ranks, shard, adafactor, **moments)),
        trained(step_of(ranks, shard, average, **scaled)),
    ]
    found[0].save(folder / f"{shard}.safetensors")
    again = step_of(ranks, shard, seed=7)
    again.load(folder / f"{shard}.safetensors")
    return " ".join(map(digest, (*found, trained(again, 3))))


PROGRAM = """
import sys
from pathlib import Path

import gradloom as gl

sys.path[:0] = [{tests!r}, {here!r}]
from test_narrow_shards import digests

for shard in ("state", "parameters"):
    sys.stdout.write(f"found {{digests(gl.ranks.mpi(), shard, Path({folder!r}))}}\\n")
"""


@pytest.mark.mpi
def test_ranks_have_the_bits_of_one_process(tmp_path: Path):
    here = Path(__file__).parent
    program = PROGRAM.format(tests=str(here.parents[1]), here=str(here), folder=str(tmp_path))
    code, output = run_program(2, program, tmp_path)
    assert code == 0, output
    assert output.count(f"found {digests(gl.ranks.one(), None, tmp_path)}\n") == 4, output


def test_shards_change_no_bit(tmp_path: Path):
    expected = digests(gl.ranks.one(), None, tmp_path)
    for shard in SHARDS[1:]:
        assert digests(gl.ranks.one(), shard, tmp_path) == expected


def test_each_rank_holds_a_shard_of_the_masters_and_sends_two_bytes_of_an_element():
    def report(shard: Any, precision: Any) -> gl.MemoryReport:
        options: Any = {"ranks": 4, "shard": shard, "precision": precision}
        return gl.plan_step(Layers(), plain_loss, gl.optim.SGD(0.1), batch_of(), **options).report

    assert report("state", HALF).state_bytes < 0.3 * report(None, HALF).state_bytes
    assert report("parameters", HALF).parameter_bytes < 0.3 * report(None, HALF).parameter_bytes
    assert report("state", HALF).sent_bytes < report("state", "fp32").sent_bytes


@pytest.mark.parametrize("shard", SHARDS)
def test_setting_parameters_sets_the_masters(shard: Any, tmp_path: Path):
    step = trained(step_of(gl.ranks.one(), shard), steps=1)
    given = {name: np.full(array.shape, 1.001, np.float32) for name, array in step.parameters().items()}
    step.set_parameters(given)
    state = step.state()
    for name, array in step.parameters().items():
        assert array.dtype == np.dtype(ml_dtypes.bfloat16)
        np.testing.assert_array_equal(array, given[name].astype(array.dtype))
        assert name == "last.bias" or np.all(state[f"master.{name}"] == np.float32(1.001))
    # A file that lacks some leaves these as they are.
    save_file({"first.bias": np.zeros(40, np.float32)}, tmp_path / "part.safetensors")
    step.load(tmp_path / "part.safetensors", strict=False)
    for name, array in step.parameters().items():
        assert np.all(array == array.dtype.type(0 if name == "first.bias" else 1.001))


@pytest.mark.parametrize("shard", ["state", "parameters"])
def test_a_diagnosis_is_that_of_whole_masters(shard: Any):
    def measured(shard: Any) -> list[float]:
        step = trained(step_of(gl.ranks.one(), shard, diagnose=True), steps=2)
        return step._measured[1]

    np.testing.assert_allclose(measured(shard), measured(None), rtol=1e-6)


def test_a_state_dict_is_not_taken_where_masters_lie_in_shards():
    step = step_of(gl.ranks.one(), "state")
    with pytest.raises(NotImplementedError, match=r"shard='state' and parameters in two bytes; write step\.set_param"):
        step.load_state_dict(step.state_dict())
