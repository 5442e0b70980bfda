"""Ranks that are killed at random moments, again and again: each is named, and no checkpoint is ever lost."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import gradloom as gl
import pytest
from mpi_runs import launcher

KILLS = int(os.environ.get("GRADLOOM_KILLS", "50"))
EPOCHS = 100_000
RANKS = 4

PROGRAM = """
import os, sys
import gradloom as gl
import numpy as np
from gradloom import nn

ranks = gl.ranks.one() if "one" in sys.argv else gl.ranks.mpi()
model = nn.Sequential(nn.Linear(6, 64), nn.Tanh(), nn.Linear(64, 3))
rng = np.random.default_rng(0)
data = {"x": rng.standard_normal((16, 6), np.float32), "y": rng.integers(0, 3, 16)}


def loss_fn(model, batch):
    return nn.cross_entropy(model(batch["x"]), batch["y"])


step = gl.compile_step(model, loss_fn, gl.optim.AdamW(1e-3), data, ranks=ranks, threads=1)
os.write(1, f"process {ranks.rank} {os.getpid()}\\n".encode())
gl.fit(step, data, epochs=int(sys.argv[1]), checkpoint="run.safetensors", resume=True, progress=False)
"""


def killed(folder: Path, rng: random.Random, leaves_faults: bool) -> tuple[int, str]:
    """Start the ranks, and kill one of them at a random moment: which, and all that was said."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [*launcher(RANKS, leaves_faults=leaves_faults), sys.executable, "program.py", str(EPOCHS)]
    with open(folder / "output", "w+") as output:
        run = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output)
        found: dict[str, str] = {}
        began = time.monotonic()
        while len(found) < RANKS:
            assert time.monotonic() - began < 120
            assert run.poll() is None, (folder / "output").read_text()
            found = dict(re.findall(r"process (\d) (\d+)\n", (folder / "output").read_text()))
            time.sleep(0.01)
        time.sleep(rng.choice([0.1, 1.0, 4.0]) * rng.random())
        rank = rng.randrange(RANKS)
        os.kill(int(found[str(rank)]), signal.SIGKILL)
        assert run.wait(60) != 0
        output.seek(0)
        return rank, output.read()


@pytest.mark.mpi
@pytest.mark.slow
def test_kills_at_random_moments_are_named_and_lose_nothing(tmp_path: Path):
    rng = random.Random(0)
    (tmp_path / "program.py").write_text(PROGRAM)
    done, epochs = 0, 0
    for i in range(KILLS):
        rank, said = killed(tmp_path, rng, leaves_faults=bool(i % 2))
        died = re.findall(r"gradloom: rank (\d) of 4 \(process \d+ on \S+\) died", said)
        assert died == [str(rank)], said
        assert "Traceback" not in said
        if not list(tmp_path.glob("*.index.json")):
            assert epochs == 0
            continue
        gl.load_arrays(tmp_path / "run.safetensors")  # whole, by its checksums
        index = json.loads((tmp_path / "run.safetensors.index.json").read_text())
        now = json.loads(index["metadata"]["fit"])["epoch"]
        assert now >= epochs
        done, epochs = done + (now > epochs), now
    assert done, "no run got as far as a checkpoint"
    print(f"{KILLS} kills, {done} of which came after more epochs; {epochs} epochs in all")
    alone = tmp_path / "alone"
    alone.mkdir()
    for folder in (tmp_path, alone):
        command = [sys.executable, str(tmp_path / "program.py"), str(epochs + 1), "one"]
        subprocess.run(command, cwd=folder, check=True)
    one, many = (gl.load_arrays(folder / "run.safetensors") for folder in (alone, tmp_path))
    assert {name: array.tobytes() for name, array in one.items()} == {n: array.tobytes() for n, array in many.items()}
