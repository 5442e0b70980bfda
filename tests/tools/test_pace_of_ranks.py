"""Two ranks of one thread, one process with two threads, and PyTorch's DDP and FSDP: figures that are printed, not
judged.
"""

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
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from gradloom.tools.bench.torch_side import MODELS
from gradloom.tools.recipes import bench_gpt, bench_mlps

ROUNDS, SECONDS = 5, 0.5
ranks = gl.ranks.mpi()
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"file://{os.getcwd()}/store", rank=ranks.rank, world_size=2)
mesh = init_device_mesh("cpu", (2,))


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


def distributed(model):
    return torch.nn.parallel.DistributedDataParallel(model)


def sharded(model):
    layers = getattr(model, "blocks", model)
    for layer in (layer for layer in layers if any(True for _ in layer.parameters())):
        fully_shard(layer, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def in_torch(model, batch):
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
    for parts, shard in ((2, None), (8, None), (2, "parameters"), (8, "parameters")):
        options = dict(ranks=ranks, threads=1, parts=parts, shard=shard)
        step = gl.compile_step(made.model, made.loss_fn, made.optimizer, made.batch, **options)
        sides[f"2 ranks, {parts} parts" + (", shards" if shard else "")] = step, mine
    if ranks.rank == 0:
        alone = gl.compile_step(made.model, made.loss_fn, made.optimizer, made.batch, threads=2)
        sides["one process, 2 threads"] = alone, batch
    else:
        sides["one process, 2 threads"] = None, None
    sides["torch DDP over gloo"] = in_torch(distributed(MODELS[name]()), mine), mine
    sides["torch FSDP over gloo"] = in_torch(sharded(MODELS[name]()), mine), mine
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
        for side, found in seconds.items():
            words = []
            for other in ("one process, 2 threads", "torch DDP over gloo", "torch FSDP over gloo"):
                ratio = statistics.median(mine / its for mine, its in zip(found, seconds[other]))
                words.append(f"{ratio:.2f} of {other}")
            sys.stdout.write(f"{name}: {side}: {min(found) * 1e3:.2f} ms, {', '.join(words)}\\n")
dist.destroy_process_group()
"""


@pytest.mark.mpi
@pytest.mark.slow
def test_the_pace_of_two_ranks(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    pytest.importorskip("torch")
    code, output = run_program(2, PROGRAM, tmp_path)
    assert code == 0, output
    lines = [line for line in output.splitlines() if " ms, " in line]
    assert len(lines) == 14
    with capsys.disabled():
        print("", *lines, sep="\n")
