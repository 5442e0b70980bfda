"""Single convolutions beside torch's, which are oneDNN's: `python -m gradloom.tools.bench.convolutions`.

A line of the table is a shape: forward and both gradients, or one of them alone with `--part`. Each round times the
sides in turn, with a short rest before each, and has ratios of its own (below 1: Gradloom is faster); the table has the
medians of times and of ratios. torch runs with its arrays laid out both ways, as (n, channels, height, width) and with
channels last; its faster one counts. Gradloom's arrays are as they are within a network, with channels last; with
`--layout nchw` they come and go as (n, channels, height, width). On a machine that others use too, `--cpu` says more:
the processor time of one thread instead of the time that passed.
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
from ...engine.tracing.trace import trace
from ...engine.tracing.transforms import vjp
from ...ir import spec
from ...passes.pipeline import plan_graph
from ...passes.target import Target
from ...runtime.backend import backend_of
from .convolution_shapes import GRID, Shape

# Seconds before a side is timed: torch's threads go on spinning for some milliseconds after its last call, and would
# take a core from whoever comes next.
_REST = 0.02

PARTS = {"forward": (0,), "input": (1,), "weight": (2,), "all": (0, 1, 2)}
"""What is computed of the output and of the gradients to input and weight."""


@dataclass(frozen=True)
class Setting:
    """How convolutions are measured: `part` is of `PARTS`."""

    part: str = "all"
    rounds: int = 7
    layout: str = "nhwc"
    threads: int = 2
    clock: Callable[[], float] = time.perf_counter


def gradloom_side(shape: Shape, arrays: Sequence[Any], setting: Setting) -> tuple[Callable[[], Any], Any]:
    """A function that runs once what the setting's part says, and the executable."""
    convolve, last = getattr(nn.functional, shape.function), setting.layout == "nhwc"

    def step(x: Any, w: Any, g: Any) -> Any:
        if last:
            x, g = np.moveaxis(x, -1, 1), np.moveaxis(g, -1, 1)
        y, pull = vjp(lambda x, w: convolve(x, w, **shape.options), x, w)
        dx, dw = pull(g)
        if last:
            y, dx = np.moveaxis(y, 1, -1), np.moveaxis(dx, 1, -1)
        return tuple((y, dx, dw)[i] for i in PARTS[setting.part])

    graph = trace(step, *(spec(a.shape, a.dtype) for a in arrays))
    target = Target.cpu()
    executable = backend_of(target).build(plan_graph(graph, setting.threads, outputs_in_arena=True, target=target))
    for i, array in enumerate(arrays):
        executable.bind_input(i, array)
    return executable.run, executable


def torch_side(shape: Shape, arrays: Sequence[Any], layout: str, part: str) -> Callable[[], Any]:
    """The same by torch, on arrays with channels last."""
    import torch  # pyright: ignore[reportMissingImports]

    x, w, g = (torch.from_numpy(a.copy()) for a in arrays)
    x, g = torch.movedim(x, -1, 1), torch.movedim(g, -1, 1)
    if layout == "nchw":
        x, g = x.contiguous(), g.contiguous()
    elif shape.axes > 1:
        w = w.contiguous(memory_format=torch.channels_last if shape.axes == 2 else torch.channels_last_3d)
    x, w = x.detach().requires_grad_(part == "all"), w.detach().requires_grad_(part == "all")
    convolve = getattr(torch.nn.functional, shape.function)
    lengths = {name: [number] * shape.axes for name, number in shape.options.items() if name != "groups"}

    def forward() -> Any:
        return (convolve(x, w, **shape.options),)

    def gradient() -> Any:
        wanted = [part == "input", part == "weight", False]
        made = torch.ops.aten.convolution_backward(
            g, x, w, None, *lengths.values(), shape.transposed, [0] * shape.axes, shape.groups, wanted
        )
        return (made[wanted.index(True)],)

    def both() -> Any:
        y = convolve(x, w, **shape.options)
        return y, *torch.autograd.grad(y, (x, w), g)

    return {"forward": forward, "all": both}.get(part, gradient)


def _time(run: Callable[[], Any], calls: int, clock: Callable[[], float]) -> float:
    start = clock()
    for _ in range(calls):
        run()
    return (clock() - start) / calls


def measure(shape: Shape, setting: Setting) -> dict[str, list[float]]:
    """Seconds of each round for "gradloom", "torch nchw" and "torch nhwc"."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((shape.batch, *(shape.size,) * shape.axes, shape.channels), dtype="float32")
    w = rng.standard_normal(shape.weight, dtype="float32")
    g = rng.standard_normal((shape.batch, *(shape.made,) * shape.axes, shape.out), dtype="float32")
    first = lambda a: np.ascontiguousarray(np.moveaxis(a, -1, 1))  # noqa: E731
    ours = [first(x), w, first(g)] if setting.layout == "nchw" else [x, w, g]
    run, executable = gradloom_side(shape, ours, setting)
    sides: dict[str, Callable[[], Any]] = {"gradloom": run}
    sides.update({f"torch {how}": torch_side(shape, (x, w, g), how, setting.part) for how in ("nchw", "nhwc")})
    _check(executable, sides["torch nhwc"](), setting)
    for side in sides.values():
        side()
    calls = max(1, round(0.02 / _time(sides["torch nhwc"], 1, setting.clock)))
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(setting.rounds):
        for name, side in sides.items():
            time.sleep(_REST)
            seconds[name].append(_time(side, calls, setting.clock))
    return seconds


def _check(executable: Any, expected: Sequence[Any], setting: Setting) -> None:
    executable.run()
    for i, (number, tensor) in enumerate(zip(PARTS[setting.part], expected, strict=True)):
        wanted = tensor.detach().numpy()
        if setting.layout == "nhwc" and number < 2:
            wanted = np.moveaxis(wanted, 1, -1)
        found = executable.output_in_arena(i)
        worst = float(np.abs(found - wanted).max() / np.abs(wanted).max())
        if not worst < 1e-4:
            raise AssertionError(f"output {i} is off by {worst:.1e}")


@dataclass(frozen=True)
class Row:
    """Medians of the rounds of one shape: seconds of Gradloom and of torch's faster side, and the ratio to that."""

    shape: Shape
    ours: float
    torch: float
    ratio: float

    @staticmethod
    def of(shape: Shape, seconds: dict[str, list[float]]) -> Row:
        """The medians of what `measure` gives."""
        ours, *others = seconds.values()
        ratios = [statistics.median(a / b for a, b in zip(ours, other, strict=True)) for other in others]
        return Row(shape, statistics.median(ours), min(map(statistics.median, others)), max(ratios))


def table(shapes: Sequence[Shape], setting: Setting) -> list[Row]:
    """Measure shapes, and print a line for each as it is done."""
    flops = len(PARTS[setting.part])
    rows: list[Row] = []
    for shape in shapes:
        row = Row.of(shape, measure(shape, setting))
        rate = flops * shape.flops / row.ours / 1e9
        print(f"{shape!s:36}{1e3 * row.ours:>12.2f}{1e3 * row.torch:>12.2f}{row.ratio:>8.2f}{rate:>9.0f}", flush=True)
        rows.append(row)
    return rows


def _means(name: str, rows: Sequence[Row]) -> None:
    worst = max(rows, key=lambda row: row.ratio)
    mean = statistics.geometric_mean(row.ratio for row in rows)
    slower = sum(row.ratio > 1.05 for row in rows)
    print(f"{name + ': geometric mean':36}{mean:>32.2f}")
    print(f"{'largest, of ' + str(worst.shape):60}{worst.ratio:>8.2f}")
    print(f"{'shapes above 1.05':60}{slower:>8}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the grid and print the table."""
    import torch  # pyright: ignore[reportMissingImports]

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shapes", nargs="*", help="as the table writes them (default: the grid)")
    parser.add_argument("--kind", choices=tuple(GRID), help="those of the grid that are of this kind")
    parser.add_argument("--part", choices=tuple(PARTS), default="all", help="the output, or the gradient to one input")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--layout", choices=("nhwc", "nchw"), default="nhwc")
    parser.add_argument("--cpu", action="store_true", help="processor time of one thread")
    options = parser.parse_args(arguments)
    threads, clock = (1, time.thread_time) if options.cpu else (options.threads, time.perf_counter)
    setting = Setting(options.part, options.rounds, options.layout, threads, clock)
    torch.set_num_threads(threads)
    tables = {kind: shapes for kind, shapes in GRID.items() if options.kind in (None, kind)}
    if options.shapes:
        tables = {"shapes": tuple(map(Shape.parse, options.shapes))}
    print(f"{'':36}{'gradloom ms':>12}{'torch ms':>12}{'ratio':>8}{'GFLOP/s':>9}")
    rows: list[Row] = []
    for kind, shapes in tables.items():
        made = table(shapes, setting)
        rows += made
        _means(kind, made)
    if len(tables) > 1:
        _means("all", rows)


if __name__ == "__main__":
    main()
