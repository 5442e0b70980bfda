"""The time of a training step of an MLP of 10 million parameters with each optimizer, beside torch's.

python examples/optimizer_steps.py [--rounds 5] [OPTIMIZER ...]

Both sides run on one thread, in turn, and are measured in processor time; the ratio is the median of the rounds.
torch's optimizers are `fused` where they can be and `foreach` elsewhere; what torch has not is beside its Adam.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import gradloom as gl
import numpy as np
import torch
from gradloom import optim

SIZES = (784, 2048, 2048, 2048, 10)
ROWS = 128
FUSED = ("SGD", "Adam", "AdamW", "Adagrad")
NAMES = ("SGD", "Adam", "AdamW", "Adagrad", "Adadelta", "Adamax", "NAdam", "RAdam", "RMSprop", "Rprop", "ASGD")
NAMES += ("SparseAdam", "Lion", "Adam8bit", "Adafactor", "Muon")


def mlp(library: Any, bias: bool) -> Any:
    """The same model by `gradloom.nn` or `torch.nn`."""
    layers: list[Any] = []
    for inputs, outputs in pairwise(SIZES):
        layers += [library.Linear(inputs, outputs, bias=bias), library.ReLU()]
    return library.Sequential(*layers[:-1])


def loss_fn(model: Any, batch: Any) -> Any:
    return gl.nn.cross_entropy(model(batch["x"]), batch["y"])


def peer_of(name: str) -> str:
    return "Adam" if name == "SparseAdam" or not hasattr(torch.optim, name) else name


def torch_step(name: str, batch: dict[str, Any], bias: bool) -> Callable[[], None]:
    model, x, y = mlp(torch.nn, bias), torch.tensor(batch["x"]), torch.tensor(batch["y"])
    options = {} if name == "Muon" else {"fused" if name in FUSED else "foreach": True}
    optimizer = getattr(torch.optim, name)(model.parameters(), **options)

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()

    return step


def seconds(step: Callable[[], Any]) -> float:
    begin = time.process_time()
    step()
    return time.process_time() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("optimizers", nargs="*", default=NAMES)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    batch = {"x": rng.standard_normal((ROWS, SIZES[0]), np.float32), "y": rng.integers(0, SIZES[-1], ROWS)}
    print("optimizer       ours     torch  ratio  state MB  arena MB")
    for name in arguments.optimizers:
        bias = name != "Muon"  # which is for matrices alone
        step = gl.compile_step(mlp(gl.nn, bias), loss_fn, getattr(optim, name)(), batch, threads=1)
        theirs = torch_step(peer_of(name), batch, bias)
        sides = [lambda step=step: step(batch), theirs]
        for side in sides:
            side()
        times = [[seconds(side) for side in sides] for _ in range(arguments.rounds)]
        ours, peer = (min(column) * 1e3 for column in zip(*times, strict=True))
        ratio = statistics.median(one / other for one, other in times)
        held, arena = step.report.state_bytes / 1e6, step.report.arena_bytes / 1e6
        beside = "" if peer_of(name) == name else f"  beside torch's {peer_of(name)}"
        print(f"{name:11} {ours:7.1f} ms {peer:6.1f} ms  {ratio:5.2f} {held:9.1f} {arena:9.1f}{beside}", flush=True)


if __name__ == "__main__":
    main()
