"""Convolutions of what is joined along channels run part by part: the numbers of the whole, and nothing is joined."""

import numpy as np
import pytest
from compiled import run_executable
from gradloom import nn, numpy, optim
from gradloom.engine.step.compile_step import plan_step
from gradloom.ir import OPS, Builder, interpret, spec
from gradloom.ir.ops.movement import slice_along
from gradloom.nn import functional as F
from gradloom.passes.memory.plan import plan
from gradloom.passes.pipeline import pipeline, run_passes
from gradloom.passes.verify.plan import check_plan
from gradloom.runtime.cpu.executable import Executable
from same_bits import assert_same_bits

from ..kernels.test_conv_tiles import arrays_for


def skip_connection(lengths, stride, kernel, parts, out):
    """The convolution of joined parts and its derivatives, of which each part's goes into a larger field."""
    n = len(lengths)
    b = Builder()
    given = [b.input(spec((3, *lengths, channels), "float64")) for channels in parts]
    joined = b.emit(OPS["concatenate"], *given, axis=n + 1)
    w = b.input(spec((out, sum(parts), *(kernel,) * n), "float64"))
    numbers = {"stride": stride, "low": kernel // 2, "high": kernel // 2, "dilation": 1, "expand": 1}
    attrs = {**{name: (number,) * n for name, number in numbers.items()}, "groups": 1}
    y = OPS["conv"](b, joined, w, **attrs)
    g = b.input(y.type)
    dx, dw = OPS["conv"].vjp(b, g, y, joined, w, **attrs)
    around = {"low": (0, *(1,) * n, 0), "high": (0, *(1,) * n, 0), "interior": (0,) * (n + 2)}
    wider = []
    for i, channels in enumerate(parts):
        begin = sum(parts[:i])
        part = b.emit(OPS["slice"], dx, **slice_along(dx.type.shape, n + 1, begin, begin + channels))
        wider.append(b.emit(OPS["pad"], part, **around, value=0.0))
    return b.graph([y, dw, *wider])


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(
    ("lengths", "stride", "kernel", "parts", "out"),
    [
        ((14, 14), 1, 3, (8, 16), 8),
        ((14, 14), 1, 1, (24, 8), 16),
        ((30, 15), 2, 3, (16, 16), 24),
        ((150,), 1, 3, (8, 8), 8),
        ((30, 30), 1, 3, (8, 8, 32), 8),
    ],
)
def test_parts_have_the_numbers_of_the_whole(lengths, stride, kernel, parts, out, threads):
    graph = skip_connection(lengths, stride, kernel, parts, out)
    made = plan(run_passes(graph), threads)
    check_plan(made)
    joined = [node for node in made.graph.nodes if node.op.name == "concatenate"]
    assert [node.output.type for node in joined] == [graph.outputs[1].type]
    arrays = arrays_for(graph)
    for one, two in zip(run_executable(Executable(made), graph, arrays)[0], interpret(graph, *arrays), strict=True):
        np.testing.assert_allclose(one, two, rtol=0, atol=1e-11)


class SkipNet(nn.Module):
    """One level down and up again, as U-Net has them."""

    def __init__(self):
        self.down = nn.Conv2d(1, 16, 3)
        self.below = nn.Conv2d(16, 32, 3)
        self.up = nn.ConvTranspose2d(32, 16, 2, stride=2)
        self.merge = nn.Conv2d(32, 16, 3)
        self.out = nn.Conv2d(16, 2, 1)

    def forward(self, x):
        skipped = F.relu(self.down(x))
        x = self.up(F.relu(self.below(F.max_pool2d(skipped, 2))))
        x = numpy.concat([skipped[:, :, 2:-2, 2:-2], x], axis=1)
        return self.out(F.relu(self.merge(x)))


def loss_fn(model, batch):
    return F.cross_entropy(model(batch["x"]).transpose(0, 2, 3, 1).reshape(-1, 2), batch["y"].reshape(-1))


def batch_of(rows, seed=0):
    rng = np.random.default_rng(seed)
    return {"x": rng.standard_normal((rows, 1, 34, 34), np.float32), "y": rng.integers(0, 2, (rows, 26, 26))}


def test_a_skipped_image_is_kept_as_far_as_it_is_joined():
    graph = plan_step(SkipNet(), loss_fn, optim.SGD(0.1), batch_of(1)).graph
    made = plan(run_passes(graph), outputs_in_arena=True)
    joined = plan(run_passes(graph, [p for p in pipeline() if p.name != "split-concat-conv"]), outputs_in_arena=True)
    assert made.arena_bytes <= joined.arena_bytes


def test_steps_have_the_same_bits_for_any_threads_and_budget():
    arguments = SkipNet(), loss_fn, optim.SGD(0.1, momentum=0.9), batch_of(8)
    free = plan_step(*arguments, threads=3)  # the most scratch
    totals = [point.total_bytes for point in free.curve(4)]
    assert min(totals) < free.report.total_bytes
    ways = ((1, None), (2, None), *((1 + i % 3, total) for i, total in enumerate(totals)))
    assert_same_bits(lambda: arguments, [batch_of(8, seed) for seed in range(3)], ways)
