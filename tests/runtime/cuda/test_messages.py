"""Ranks on GPUs: what they send travels in the captured graph, and any number of them has the same bits."""

from __future__ import annotations

import contextlib
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from fake_nccl import FakeNccl, joined
from gradloom import nn
from gradloom.engine.ranks.ranks import is_of_all
from gradloom.ir import Array
from gradloom.passes.target import Target, TargetError
from gradloom.runtime.cuda import messages
from gradloom.runtime.cuda.device import DeviceError
from gradloom.runtime.cuda.messages import Messages
from gradloom.runtime.fake_gpu.backend import fake_cuda
from gradloom.runtime.fake_gpu.driver import FakeDriver
from mpi_runs import run_program
from rank_models import digest
from thread_ranks import on_ranks

ROWS, PARTS = 8, 4
OWN_KERNELS = replace(Target.cuda(), libraries=())


def loss_fn(model: Any, batch: Any) -> Any:
    return nn.cross_entropy(model(batch["x"]), batch["y"])


def planned(ranks: int, shard: Any = None) -> Any:
    """The plan of a step that so many ranks share. Its inputs are the same with any number, but for the batch."""
    model = nn.Sequential(nn.Linear(5, 4), nn.Dropout(0.5), nn.Linear(4, 3))
    batch = {"x": gl.spec((ROWS, 5)), "y": gl.spec((ROWS,), "int64")}
    options: Any = {"ranks": ranks, "parts": PARTS, "shard": shard, "clip_norm": 1.0}
    return gl.plan_step(model, loss_fn, gl.optim.SGD(0.5), batch, target=OWN_KERNELS, **options).plan


def given(plan: Any, rank: int, ranks: int, bad: bool = False) -> list[Array]:
    """The inputs of a rank: parameters of 0.1, 0.2, ..., and its rows."""
    found: list[Array] = []
    rng = np.random.default_rng(0)
    rows = slice(rank * (ROWS // ranks), (rank + 1) * (ROWS // ranks))
    for value in plan.graph.inputs:
        shape, dtype = value.type.shape, value.type.dtype
        if value.name == "batch.x":
            found.append(rng.standard_normal((ROWS, 5)).astype(np.float32)[rows])
        elif value.name == "batch.y":
            labels = rng.integers(0, 3, ROWS)
            labels[-1] = 7 if bad else labels[-1]
            found.append(labels[rows])
        else:
            filled = np.arange(1, 1 + value.type.size).reshape(shape) / 10 if shape else np.full(shape, 0.5)
            found.append(filled.astype(dtype))
    return found


def run(ranks: Any, steps: int = 2, **options: Any) -> tuple[list[bytes], Any]:
    """What is updated, and the loss, after some steps of a rank; with its NCCL."""
    backend, nccl = joined(ranks)
    plan = planned(ranks.size)
    program = backend.build(plan, None, ranks)
    inputs: list[Any] = given(plan, ranks.rank, ranks.size, **options)
    own = sorted(plan.graph.aliases.values())
    for j, held in zip(own, backend.hold([plan.graph.inputs[j].type for j in own]), strict=True):
        held[...] = inputs[j]
        inputs[j] = held
        program.bind_input(j, held)
    (loss,) = (i for i, name in enumerate(plan.graph.output_names) if name == "loss")
    for _ in range(steps):
        program.run(inputs)
    result = [inputs[j].copy().tobytes() for j in own]
    return [*result, program.output_in_arena(loss).copy().tobytes()], nccl


def test_any_number_of_ranks_has_the_same_bits_and_sends_in_its_graph():
    (one,) = on_ranks(1, run)
    assert not isinstance(one, Exception), one
    assert one[1].calls == []
    for size in (2, 4):
        found = on_ranks(size, run)
        for each in found:
            assert not isinstance(each, Exception), each
            bits, nccl = each
            assert bits == one[0]
            assert nccl.calls, "what is sent is captured once"
            assert nccl.driver.calls.count("cuGraphLaunch") == 2


def test_a_bad_index_of_one_rank_changes_nothing_there():
    def one(ranks: Any) -> str:
        try:
            run(ranks, steps=1, bad=True)
        except IndexError as error:
            return str(error)
        return "done"

    done, refused = on_ranks(2, one)
    assert done == "done"
    assert "out of range for 3 entries" in str(refused)


def test_ranks_of_one_machine_take_its_cards_in_turn():
    def one(ranks: Any) -> int:
        return joined(ranks, capabilities=((8, 0), (9, 0), (9, 0)))[0].gpu.device.ordinal

    assert on_ranks(2, one) == [1, 2]


def test_ranks_that_share_a_card_are_refused_together():
    driver = FakeDriver()

    def one(ranks: Any) -> Any:
        return fake_cuda(driver, nccl=object()).check(Target.cuda(), ranks)

    for error in on_ranks(2, one):
        assert isinstance(error, TargetError)
        assert "ranks 0 and 1 have one GPU between them" in str(error)
        assert is_of_all(error)


def test_without_nccl_all_ranks_are_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(messages, "MODULE", "nccl_that_is_not_there")
    for error in on_ranks(2, lambda ranks: fake_cuda(FakeDriver()).check(Target.cuda(), ranks)):
        assert isinstance(error, TargetError)
        assert re.search(r"rank 0: ranks on GPUs need NCCL .*pip install 'gradloom\[nccl\]'", str(error))


def test_what_one_rank_lacks_is_told_to_all():
    def one(ranks: Any) -> Any:
        return joined(ranks, capabilities=((9, 0),) if ranks.rank == 0 else ())

    for error in on_ranks(2, one):
        assert isinstance(error, TargetError)
        assert str(error).startswith("rank 1: this machine cannot run 'cuda:sm_90'")


def test_errors_of_nccl_are_ours():
    def one(ranks: Any) -> list[str]:
        driver = FakeDriver()
        backend = fake_cuda(driver)
        backend.check(Target.cuda())
        nccl = FakeNccl(ranks, driver)
        nccl.fails = "comm_init_rank" if ranks.rank == 1 else ""
        said: list[str] = []
        with contextlib.suppress(TargetError):
            Messages(nccl, backend.gpu.device, ranks)
            said.append("begun")
        nccl.fails = "group_end"
        plan = planned(2)
        backend._messages[ranks] = Messages(nccl, backend.gpu.device, ranks)
        program = backend.build(plan, None, ranks)
        try:
            program.run(given(plan, ranks.rank, 2))
        except DeviceError as error:
            said.append(str(error))
        return said

    refused = ["NCCL refuses messages between ranks: NCCL_INVALID_USAGE (5)"]
    assert on_ranks(2, one) == [refused, refused]


PROGRAM = """
import sys

import gradloom as gl

sys.path.insert(0, {tests!r})
from fake_nccl import fake_gpu_of
from rank_models import digest

ranks = gl.ranks.mpi()
with fake_gpu_of(ranks) as nccl:
    for options in ({{}}, {{"shard": "parameters"}}):
        assert digest(ranks, steps=2, target="cuda", **options) == {expected!r}
    assert {{"all_gather", "group_end"}} <= set(nccl.calls)
emulated = digest(ranks, steps=2, target="cuda-emulated")
assert emulated == {expected!r}
print(f"rank {{ranks.rank}} is done", flush=True)
"""


@pytest.mark.mpi
@pytest.mark.filterwarnings("ignore:ranks. batch norm at")  # which the model here has
def test_steps_of_processes_on_gpus_have_the_bits_of_one(tmp_path: Path):
    expected = digest(gl.ranks.one(), steps=2, target="cuda-emulated")
    program = PROGRAM.format(tests=str(Path(__file__).parents[2]), expected=expected)
    code, output = run_program(2, program, tmp_path)
    assert code == 0, output
    assert sorted(re.findall(r"rank \d is done", output)) == ["rank 0 is done", "rank 1 is done"]
