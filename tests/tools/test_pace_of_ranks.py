"""Two ranks of one thread, one process with two threads, and PyTorch's DDP: figures that are printed, not judged."""

from __future__ import annotations

from pathlib import Path

import pytest
from mpi_runs import run_program

PROGRAM = """
import os, statistics, sys, time

import gradloom as gl
import numpy as np
import torch
import torch.distributed as dist
from gradloom.tools.bench.torch_side import MODELS
from gradloom.tools.recipes import bench_gpt, bench_mlps

ROUNDS, SECONDS = 7, 0.5
ranks = gl.ranks.mpi()
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"file://{os.getcwd()}/store", rank=ranks.rank, world_size=2)


def meet():
    # No rank spins while another computes by itself.
    request = ranks.communicator.Ibarrier()
    while not request.Test():
        time.sleep(0.001)


def timed(step, batch, count):
    began = time.perf_counter()
    for _ in range(count):
        step(batch)
    return (time.perf_counter() - began) / count


def ddp(name, batch):
    model = torch.nn.parallel.DistributedDataParallel(MODELS[name]())
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    given = {name: torch.from_numpy(x) for name, x in batch.items()}

    def step(batch):
        loss = torch.nn.functional.cross_entropy(model(given["x"]), given["y"].flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return step


for name, recipe in (("gpt", bench_gpt.gpt), ("mlp_l", bench_mlps.mlp_l)):
    made, rng = recipe(), np.random.default_rng(0)
    batch = {
        name: rng.integers(0, 10, t.shape) if t.dtype.kind == "i" else rng.standard_normal(t.shape, np.float32)
        for name, t in made.batch.items()
    }
    rows = len(batch["x"]) // 2
    mine = {name: x[ranks.rank * rows : (ranks.rank + 1) * rows] for name, x in batch.items()}
    sides = {}
    for parts in (2, 8):
        step = gl.compile_step(
            made.model, made.loss_fn, made.optimizer, made.batch, ranks=ranks, threads=1, parts=parts
        )
        sides[f"2 ranks, {parts} parts"] = step, mine
    if ranks.rank == 0:
        alone = gl.compile_step(made.model, made.loss_fn, made.optimizer, made.batch, threads=2)
        sides["one process, 2 threads"] = alone, batch
    else:
        sides["one process, 2 threads"] = None, None
    sides["torch DDP over gloo"] = ddp(name, mine), mine
    counts, seconds = {}, {side: [] for side in sides}
    for number in range(ROUNDS + 1):
        for side, (step, given) in sides.items():
            meet()
            if step is not None:
                found = timed(step, given, counts.get(side, 3))
                seconds[side] += [found] if number else []
            else:
                found = 0.0
            meet()
            if not number:
                counts[side] = max(1, round(SECONDS / max(ranks.broadcast(found), 1e-6)))
    if ranks.rank == 0:
        base = seconds["one process, 2 threads"]
        for side, found in seconds.items():
            ratio = statistics.median(mine / other for mine, other in zip(found, base))
            best = min(found) / min(base)
            sys.stdout.write(f"{name}: {side}: {min(found) * 1e3:.2f} ms, {ratio:.2f} (median), {best:.2f} (least)\\n")
dist.destroy_process_group()
"""


@pytest.mark.mpi
@pytest.mark.slow
def test_the_pace_of_two_ranks(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    pytest.importorskip("torch")
    code, output = run_program(2, PROGRAM, tmp_path)
    assert code == 0, output
    lines = [line for line in output.splitlines() if " ms, " in line]
    assert len(lines) == 8
    with capsys.disabled():
        print("", *lines, sep="\n")
