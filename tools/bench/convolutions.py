"""Forward and backward of single convolutions, beside torch's: `python -m gradloom.tools.bench.convolutions`.

Each round times both sides in turn, for each shape; the table has the best and the median of the rounds, and the ratio
of each (below 1: Gradloom is faster). torch runs with its arrays laid out both ways, as (n, channels, height, width)
and with channels last; its faster one counts. Gradloom's arrays are as they are within a network, with channels last;
with `--layout nchw` they come and go as (n, channels, height, width). On a machine that others use too, `--cpu` says
more: the processor time of one thread instead of the time that passed.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...engine import nn
from ...engine.trace import trace
from ...engine.transforms import vjp
from ...ir import spec
from ...passes.pipeline import plan_graph
from ...runtime.executable import Executable


@dataclass(frozen=True)
class Shape:
    """A convolution of `size` x `size` images, padded by half of its `kernel`."""

    batch: int
    channels: int
    out: int
    size: int
    kernel: int
    stride: int = 1
    groups: int = 1

    def __str__(self) -> str:
        text = f"{self.channels}->{self.out} {self.kernel}x{self.kernel} /{self.stride} {self.size}px n{self.batch}"
        return text + (f" g{self.groups}" if self.groups > 1 else "")

    @property
    def padding(self) -> int:
        """Zeros on each side."""
        return self.kernel // 2

    @property
    def flops(self) -> int:
        """Of forward and backward."""
        out = (self.size + 2 * self.padding - self.kernel) // self.stride + 1
        return 6 * self.batch * out * out * self.kernel**2 * self.channels // self.groups * self.out


GRID = (
    Shape(16, 16, 16, 56, 3),
    Shape(16, 16, 16, 32, 3),
    Shape(16, 16, 64, 56, 1),
    Shape(16, 32, 32, 28, 5),
    Shape(16, 32, 32, 28, 3),
    Shape(16, 32, 64, 32, 3, 2),
    Shape(16, 16, 32, 32, 1, 2),
    Shape(8, 64, 64, 56, 3),
    Shape(8, 64, 64, 56, 1),
    Shape(8, 64, 256, 56, 1),
    Shape(8, 256, 64, 56, 1),
    Shape(8, 64, 128, 56, 3, 2),
    Shape(8, 64, 128, 56, 1, 2),
    Shape(8, 128, 128, 28, 3),
    Shape(8, 128, 128, 28, 1),
    Shape(8, 128, 256, 28, 3, 2),
    Shape(8, 256, 256, 14, 3),
    Shape(16, 256, 256, 14, 1),
    Shape(16, 256, 256, 7, 3),
    Shape(16, 256, 256, 7, 1),
    Shape(16, 64, 64, 14, 5),
    Shape(16, 64, 64, 14, 3),
    Shape(16, 96, 96, 14, 3),
    Shape(16, 48, 96, 28, 3, 2),
    Shape(16, 128, 128, 7, 5),
    Shape(16, 16, 32, 56, 5, 2),
)


def gradloom_side(shape: Shape, arrays: Sequence[Any], layout: str, threads: int) -> tuple[Callable[[], Any], Any]:
    """A function that runs forward and backward once, and the executable."""

    def step(x: Any, w: Any, g: Any) -> Any:
        if layout == "nhwc":
            x, g = x.transpose(0, 3, 1, 2), g.transpose(0, 3, 1, 2)
        y, pull = vjp(
            lambda x, w: nn.functional.conv2d(x, w, stride=shape.stride, padding=shape.padding, groups=shape.groups),
            x,
            w,
        )
        dx, dw = pull(g)
        if layout == "nhwc":
            y, dx = y.transpose(0, 2, 3, 1), dx.transpose(0, 2, 3, 1)
        return y, dx, dw

    graph = trace(step, *(spec(a.shape, a.dtype) for a in arrays))
    executable = Executable(plan_graph(graph, threads, outputs_in_arena=True))
    for i, array in enumerate(arrays):
        executable.bind_input(i, array)
    return executable.run, executable


def torch_side(shape: Shape, arrays: Sequence[Any], layout: str) -> Callable[[], Any]:
    """The same by torch, on arrays with channels last."""
    import torch  # pyright: ignore[reportMissingImports]

    x, w, g = (torch.from_numpy(a.copy()) for a in arrays)
    x, g = x.permute(0, 3, 1, 2), g.permute(0, 3, 1, 2)
    if layout == "nchw":
        x, g = x.contiguous(), g.contiguous()
    else:
        w = w.contiguous(memory_format=torch.channels_last)
    x, w = x.detach().requires_grad_(), w.detach().requires_grad_()

    def run() -> Any:
        y = torch.nn.functional.conv2d(x, w, None, shape.stride, shape.padding, 1, shape.groups)
        return y, *torch.autograd.grad(y, (x, w), g)

    return run


def _time(run: Callable[[], Any], calls: int, clock: Callable[[], float]) -> float:
    start = clock()
    for _ in range(calls):
        run()
    return (clock() - start) / calls


def measure(
    shape: Shape, rounds: int, layout: str, threads: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of each round for "gradloom", "torch nchw" and "torch nhwc"."""
    rng = np.random.default_rng(0)
    out = (shape.size + 2 * shape.padding - shape.kernel) // shape.stride + 1
    x = rng.standard_normal((shape.batch, shape.size, shape.size, shape.channels), dtype="float32")
    w = rng.standard_normal((shape.out, shape.channels // shape.groups, shape.kernel, shape.kernel), dtype="float32")
    g = rng.standard_normal((shape.batch, out, out, shape.out), dtype="float32")
    first = lambda a: np.ascontiguousarray(a.transpose(0, 3, 1, 2))  # noqa: E731
    ours = [first(x), w, first(g)] if layout == "nchw" else [x, w, g]
    run, executable = gradloom_side(shape, ours, layout, threads)
    sides: dict[str, Callable[[], Any]] = {"gradloom": run}
    sides.update({f"torch {how}": torch_side(shape, (x, w, g), how) for how in ("nchw", "nhwc")})
    _check(executable, sides["torch nhwc"](), layout)
    for side in sides.values():
        side()
    calls = max(1, round(0.02 / _time(sides["torch nhwc"], 1, clock)))
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            seconds[name].append(_time(side, calls, clock))
    return seconds


def _check(executable: Any, expected: Sequence[Any], layout: str) -> None:
    executable.run()
    for i, tensor in enumerate(expected):
        wanted = tensor.detach().numpy()
        if layout == "nhwc" and i < 2:
            wanted = wanted.transpose(0, 2, 3, 1)
        found = executable.output_in_arena(i)
        worst = float(np.abs(found - wanted).max() / np.abs(wanted).max())
        if not worst < 1e-4:
            raise AssertionError(f"output {i} is off by {worst:.1e}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the grid and print the table."""
    import torch  # pyright: ignore[reportMissingImports]

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--layout", choices=("nhwc", "nchw"), default="nhwc")
    parser.add_argument("--only", type=int, nargs="*", help="rows of the grid, from 0")
    parser.add_argument("--cpu", action="store_true", help="processor time of one thread")
    options = parser.parse_args(arguments)
    threads, clock = (1, time.thread_time) if options.cpu else (options.threads, time.perf_counter)
    torch.set_num_threads(threads)
    print(f"{'':32}{'gradloom ms':>16}{'torch ms':>16}{'ratio':>14}{'GFLOP/s':>9}")
    best: list[float] = []
    middle: list[float] = []
    for i, shape in enumerate(GRID):
        if options.only and i not in options.only:
            continue
        seconds = measure(shape, options.rounds, options.layout, threads, clock)
        ours = seconds.pop("gradloom")
        low = min(map(min, seconds.values()))
        median = min(map(statistics.median, seconds.values()))
        best.append(min(ours) / low)
        middle.append(statistics.median(ours) / median)
        ms = [f"{1e3 * a:.2f} ({1e3 * b:.2f})" for a, b in ((min(ours), statistics.median(ours)), (low, median))]
        rate = shape.flops / min(ours) / 1e9
        print(f"{shape!s:32}{ms[0]:>16}{ms[1]:>16}{best[-1]:>7.2f}{middle[-1]:>7.2f}{rate:>9.0f}", flush=True)
    means = [statistics.geometric_mean(ratios) for ratios in (best, middle)]
    print(f"{'geometric mean of the ratios':64}{means[0]:>7.2f}{means[1]:>7.2f}")
    print(f"{'largest ratio':64}{max(best):>7.2f}{max(middle):>7.2f}")


if __name__ == "__main__":
    main()
