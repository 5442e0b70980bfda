"""Padded batches of ranks: all run the program of the longest, and each part of the batch keeps its own lengths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn
from mpi_runs import run_program

TESTS = Path(__file__).parents[2]
LENGTHS = [(16, 16), (13, 13), (16, 16), (5, 16), (12, 12), (16, 9), (3, 2)]
"""Of sequences, on the first half of the ranks and on the second, step by step."""
WORDS = 11


class Mean(nn.Module):
    """A model that reads along the sequences, so that padding must be masked."""

    def __init__(self):
        self.embed, self.mix, self.out = nn.Embedding(WORDS, 8), nn.Linear(8, 8), nn.Linear(8, WORDS)

    def forward(self, x):
        h = self.embed(x)
        return self.out(h + nn.tanh(self.mix(h)).mean(axis=1, keepdims=True))


def loss_fn(model: Any, batch: Any) -> Any:
    return nn.cross_entropy(model(batch["x"]).reshape(-1, WORDS), batch["y"].reshape(-1))


def batch_of(length: int, seed: int, rows: int = 8) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {name: rng.integers(0, WORDS, (rows, length)) for name in ("x", "y")}


def padded(ranks: gl.ranks.Ranks | None, **options: Any) -> Any:
    """A step with four parts, two rows each."""
    parts = {} if ranks is None else {"ranks": ranks, "parts": 4}
    return gl.compile_step(Mean(), loss_fn, gl.optim.SGD(0.1), batch_of(16, 0), shapes="bucket", **parts, **options)


def two_ranks(ranks: gl.ranks.Ranks) -> str:
    """The losses and the gradients that two ranks come to, and how many programs they have."""
    step = padded(ranks)
    losses: list[float] = []
    for seed, lengths in enumerate(LENGTHS):
        half = slice(4 * ranks.rank, 4 * ranks.rank + 4)
        batch = {name: rows[half] for name, rows in batch_of(lengths[ranks.rank], seed).items()}
        losses.append(float(step(batch)))
    short = {name: rows[:4] for name, rows in batch_of((7, 11)[ranks.rank], 9).items()}
    norm = sum(float((g.astype(np.float64) ** 2).sum()) for g in step.gradients(short).values())
    return f"{losses} {norm} {len(step._signatures)}"


def by_halves() -> list[float]:
    """The same losses, of one process that trains on each half as it is."""
    step = gl.compile_step(Mean(), loss_fn, gl.optim.SGD(0.1), batch_of(16, 0), ranks=gl.ranks.one(), parts=4)
    parameters, losses = step.parameters(), []
    for seed, lengths in enumerate(LENGTHS):
        found: list[Any] = []
        for rank, length in enumerate(lengths):
            batch = {name: rows[4 * rank : 4 * rank + 4] for name, rows in batch_of(length, seed).items()}
            half = gl.compile_step(Mean(), loss_fn, gl.optim.SGD(0.1), batch, ranks=gl.ranks.one(), parts=2)
            half.set_parameters(parameters)
            found.append((half.gradients(batch), half(batch)))
        (one, loss), (other, more) = found
        parameters = {n: p - np.float32(0.1) * (one[n] + other[n]) / 2 for n, p in parameters.items()}
        losses.append(float(loss + more) / 2)
    return losses


PROGRAM = """
import sys

import gradloom as gl
import numpy as np

sys.path[:0] = [{tests!r}, {here!r}]
from test_buckets_on_ranks import batch_of, padded, two_ranks

ranks = gl.ranks.mpi(timeout=100)
sys.stdout.write(f"found {{two_ranks(ranks)}}\\n")
try:
    # The same lengths but for rows, which are not padded.
    padded(ranks)({{name: rows[: 4 + 4 * ranks.rank] for name, rows in batch_of(16, 0).items()}})
except gl.ranks.RanksError as error:
    sys.stdout.write(f"refused {{error}}\\n")
"""


@pytest.mark.mpi
def test_ranks_with_other_lengths_have_the_program_of_the_longest(tmp_path: Path):
    code, output = run_program(2, PROGRAM.format(tests=str(TESTS), here=str(Path(__file__).parent)), tmp_path)
    assert code == 0, output
    one, other = (line for line in output.splitlines() if line.startswith("found "))
    assert one == other
    losses = [float(x) for x in one[len("found [") : one.index("]")].split(", ")]
    np.testing.assert_allclose(losses, by_halves(), rtol=1e-4)
    assert output.count("refused rank 1 has another batch than rank 0") == 2, output


def test_padding_changes_neither_loss_nor_gradients():
    alone, shared = padded(None), padded(gl.ranks.one(), shard="parameters")
    for seed, length in enumerate((16, 13, 10, 16, 9)):
        batch = batch_of(length, seed)
        for name, gradient in shared.gradients(batch).items():
            np.testing.assert_allclose(gradient, alone.gradients(batch)[name], rtol=1e-3, atol=1e-6)
        assert np.isclose(shared(batch), alone(batch), rtol=1e-5)
    count = len(shared._signatures)
    assert np.isclose(shared(batch_of(14, 6)), alone(batch_of(14, 6)), rtol=1e-5)
    assert len(shared._signatures) == count
    fewer = batch_of(14, 7, rows=4)
    assert np.isclose(shared(fewer), alone(fewer), rtol=1e-5)
