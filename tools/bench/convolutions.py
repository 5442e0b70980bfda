"""Forward and backward of single convolutions, beside torch's: `python -m gradloom.tools.bench.convolutions`.

Each round times both sides in turn, for each shape, with a short rest before each; the table has the best and the
median of the rounds, and the ratio of each (below 1: Gradloom is faster), first for plain convolutions of images, then
for others: many groups, dilation, transposed ones, lines instead of images. torch runs with its arrays laid out both
ways, as (n, channels, height, width) and with channels last; its faster one counts. Gradloom's arrays are as they are
within a network, with channels last; with `--layout nchw` they come and go as (n, channels, height, width). On a
machine that others use too, `--cpu` says more: the processor time of one thread instead of the time that passed.
"""

from __future__ import annotations

import argparse
import math
import re
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...engine import nn
from ...engine.tracing.trace import trace
from ...engine.tracing.transforms import vjp
from ...ir import spec
from ...passes.pipeline import plan_graph
from ...passes.target import Target
from ...runtime.backend import backend_of

# Seconds before a side is timed: torch's threads go on spinning for some milliseconds after its last call, and would
# take a core from whoever comes next.
_REST = 0.02


@dataclass(frozen=True)
class Shape:
    """A convolution of lines of `size` elements (`axes` 1) or of `size` x `size` images, padded by half of its `kernel`
    where `padding` says nothing else.
    """

    batch: int
    channels: int
    out: int
    size: int
    kernel: int
    stride: int = 1
    groups: int = 1
    dilation: int = 1
    padding: int = -1
    axes: int = 2
    transposed: bool = False

    def __str__(self) -> str:
        kernel = "x".join([str(self.kernel)] * self.axes)
        text = f"{self.channels}->{self.out} {kernel} /{self.stride} {self.size}px n{self.batch}"
        text += f" g{self.groups}" if self.groups > 1 else ""
        text += f" d{self.dilation}" if self.dilation > 1 else ""
        text += f" p{self.padding}" if self.padding >= 0 else ""
        return text + (" t" if self.transposed else "")

    @staticmethod
    def parse(text: str) -> Shape:
        """The shape that prints as `text`. Raises `ValueError` where none does."""
        found = re.fullmatch(
            r"(\d+)->(\d+) (\d+)(x\3)? /(\d+) (\d+)px n(\d+)(?: g(\d+))?(?: d(\d+))?(?: p(\d+))?( t)?", text.strip()
        )
        if found is None:
            raise ValueError(f"{text!r} is no shape like '64->128 3x3 /2 56px n8' or '16->32 9 /1 400px n8 g2 d2 p4 t'")
        channels, out, kernel, square, stride, size, batch, groups, dilation, padding, transposed = found.groups()
        numbers = (int(word) for word in (batch, channels, out, size, kernel, stride))
        return Shape(
            *numbers,
            groups=int(groups or 1),
            dilation=int(dilation or 1),
            padding=-1 if padding is None else int(padding),
            axes=2 if square else 1,
            transposed=transposed is not None,
        )

    @property
    def padded(self) -> int:
        """Zeros on each side."""
        return self.dilation * (self.kernel // 2) if self.padding < 0 else self.padding

    @property
    def made(self) -> int:
        """Elements of the output along an axis."""
        reach = self.dilation * (self.kernel - 1) + 1
        if self.transposed:
            return (self.size - 1) * self.stride - 2 * self.padded + reach
        return (self.size + 2 * self.padded - reach) // self.stride + 1

    @property
    def weight(self) -> tuple[int, ...]:
        """The weight's shape."""
        first, second = (self.channels, self.out) if self.transposed else (self.out, self.channels)
        return first, second // self.groups, *(self.kernel,) * self.axes

    @property
    def flops(self) -> int:
        """Of forward and backward."""
        positions = (self.size if self.transposed else self.made) ** self.axes
        return 6 * self.batch * positions * math.prod(self.weight)

    @property
    def options(self) -> dict[str, int]:
        """Keyword arguments of the functions that convolve, here and in torch."""
        return {"stride": self.stride, "padding": self.padded, "dilation": self.dilation, "groups": self.groups}

    @property
    def function(self) -> str:
        """The name of the function that convolves, here and in torch."""
        return f"conv{'_transpose' * self.transposed}{self.axes}d"


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

RELATIVES = tuple(
    map(
        Shape.parse,
        (
            "3->64 7x7 /2 112px n8",
            "24->48 3x3 /1 20px n8",
            "200->96 3x3 /1 10px n8",
            "48->200 1x1 /1 33px n4",
            "96->96 3x3 /1 33px n1",
            "64->64 3x3 /1 7px n64",
            "48->48 2x2 /2 20px n16 p0",
            "32->64 4x4 /2 32px n16 p1",
            "64->64 3x3 /1 28px n8 g2",
            "128->128 3x3 /2 28px n8 g4",
            "128->128 3x3 /1 28px n8 g32",
            "96->96 3x3 /1 28px n16 g96",
            "144->144 3x3 /2 28px n16 g144",
            "120->120 5x5 /1 14px n16 g120",
            "64->64 3x3 /1 28px n8 d2",
            "64->32 2x2 /2 14px n16 p0 t",
            "128->64 4x4 /2 14px n8 p1 t",
            "48->24 3x3 /2 20px n8 t",
            "16->32 9 /1 4000px n8",
            "64->64 3 /1 1000px n8",
            "64->128 3 /2 400px n16",
            "128->128 1 /1 100px n16",
            "64->64 7 /1 1000px n8 g64",
            "1->32 80 /4 4000px n8",
        ),
    )
)


def gradloom_side(shape: Shape, arrays: Sequence[Any], layout: str, threads: int) -> tuple[Callable[[], Any], Any]:
    """A function that runs forward and backward once, and the executable."""

    convolve = getattr(nn.functional, shape.function)

    def step(x: Any, w: Any, g: Any) -> Any:
        if layout == "nhwc":
            x, g = np.moveaxis(x, -1, 1), np.moveaxis(g, -1, 1)
        y, pull = vjp(lambda x, w: convolve(x, w, **shape.options), x, w)
        dx, dw = pull(g)
        if layout == "nhwc":
            y, dx = np.moveaxis(y, 1, -1), np.moveaxis(dx, 1, -1)
        return y, dx, dw

    graph = trace(step, *(spec(a.shape, a.dtype) for a in arrays))
    target = Target.cpu()
    executable = backend_of(target).build(plan_graph(graph, threads, outputs_in_arena=True, target=target))
    for i, array in enumerate(arrays):
        executable.bind_input(i, array)
    return executable.run, executable


def torch_side(shape: Shape, arrays: Sequence[Any], layout: str) -> Callable[[], Any]:
    """The same by torch, on arrays with channels last."""
    import torch  # pyright: ignore[reportMissingImports]

    x, w, g = (torch.from_numpy(a.copy()) for a in arrays)
    x, g = torch.movedim(x, -1, 1), torch.movedim(g, -1, 1)
    if layout == "nchw":
        x, g = x.contiguous(), g.contiguous()
    elif shape.axes == 2:
        w = w.contiguous(memory_format=torch.channels_last)
    x, w = x.detach().requires_grad_(), w.detach().requires_grad_()
    convolve = getattr(torch.nn.functional, shape.function)

    def run() -> Any:
        y = convolve(x, w, **shape.options)
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
    x = rng.standard_normal((shape.batch, *(shape.size,) * shape.axes, shape.channels), dtype="float32")
    w = rng.standard_normal(shape.weight, dtype="float32")
    g = rng.standard_normal((shape.batch, *(shape.made,) * shape.axes, shape.out), dtype="float32")
    first = lambda a: np.ascontiguousarray(np.moveaxis(a, -1, 1))  # noqa: E731
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
            time.sleep(_REST)
            seconds[name].append(_time(side, calls, clock))
    return seconds


def _check(executable: Any, expected: Sequence[Any], layout: str) -> None:
    executable.run()
    for i, tensor in enumerate(expected):
        wanted = tensor.detach().numpy()
        if layout == "nhwc" and i < 2:
            wanted = np.moveaxis(wanted, 1, -1)
        found = executable.output_in_arena(i)
        worst = float(np.abs(found - wanted).max() / np.abs(wanted).max())
        if not worst < 1e-4:
            raise AssertionError(f"output {i} is off by {worst:.1e}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the grid and print the table."""
    import torch  # pyright: ignore[reportMissingImports]

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shapes", nargs="*", help="as the table writes them (default: those of both tables)")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--layout", choices=("nhwc", "nchw"), default="nhwc")
    parser.add_argument("--cpu", action="store_true", help="processor time of one thread")
    options = parser.parse_args(arguments)
    threads, clock = (1, time.thread_time) if options.cpu else (options.threads, time.perf_counter)
    torch.set_num_threads(threads)
    tables = [list(map(Shape.parse, options.shapes))] if options.shapes else [GRID, RELATIVES]
    for shapes in tables:
        print(f"{'':32}{'gradloom ms':>16}{'torch ms':>16}{'ratio':>14}{'GFLOP/s':>9}")
        _table(shapes, lambda shape: measure(shape, options.rounds, options.layout, threads, clock))


def _table(shapes: Sequence[Shape], measured: Callable[[Shape], dict[str, list[float]]]) -> None:
    best: list[float] = []
    middle: list[float] = []
    for shape in shapes:
        seconds = measured(shape)
        ours = seconds.pop("gradloom")
        low = min(map(min, seconds.values()))
        median = min(map(statistics.median, seconds.values()))
        best.append(min(ours) / low)
        middle.append(statistics.median(ours) / median)
        ms = [f"{1e3 * a:.2f} ({1e3 * b:.2f})" for a, b in ((min(ours), statistics.median(ours)), (low, median))]
        rate = shape.flops / min(ours) / 1e9
        print(f"{shape!s:32}{ms[0]:>16}{ms[1]:>16}{best[-1]:>7.2f}{middle[-1]:>7.2f}{rate:>9.0f}", flush=True)
    means = [statistics.geometric_mean(ratios) for ratios in (best, middle)]
    worst = f"largest ratio (the best ones': {shapes[best.index(max(best))]})"
    print(f"{'geometric mean of the ratios':64}{means[0]:>7.2f}{means[1]:>7.2f}")
    print(f"{worst:64}{max(best):>7.2f}{max(middle):>7.2f}")


if __name__ == "__main__":
    main()
