"""What follows a convolution runs with it, tile by tile: to the bits that it has apart."""

import numpy as np
import pytest
from compiled import run_executable
from gradloom import nn, optim
from gradloom.engine.step.compile_step import compile_step, plan_step
from gradloom.engine.tracing.trace import trace
from gradloom.ir import OPS, Builder, interpret, parse, spec
from gradloom.ir.ops import elementwise as ew
from gradloom.nn import functional as F
from gradloom.passes.fusion.conv_epilogue import FuseConvEpilogue
from gradloom.passes.fusion.prologue import FusePrologue
from gradloom.passes.kernels.conv_epilogue import epilogue_of
from gradloom.passes.memory.plan import plan
from gradloom.passes.pipeline import pipeline, run_passes
from gradloom.passes.verify.errors import PlanVerificationError
from gradloom.passes.verify.plan import check_plan
from gradloom.runtime.cpu.executable import Executable
from unjitted import run_unjitted

from ..kernels.test_conv_tiles import ONES, arrays_for, by_channel

APART = [step for step in pipeline() if step.name != "fuse-conv-epilogue"]
TOGETHER = [
    FuseConvEpilogue(least_bytes=0, least_alone=0) if step.name == "fuse-conv-epilogue" else step for step in pipeline()
]
PROLOGUES = [FusePrologue(least_bytes=0) if step.name == "fuse-prologue" else step for step in TOGETHER]
KINDS = ["activation", "residual", "sums", "moments", "bias and moments", "all", "added"]

SHAPES = {
    # x, w, stride, padding, expand, groups
    "image per tile": ((20, 8, 8, 4), (24, 4, 3, 3), 1, 1, 1, 1),
    "many bands": ((2, 40, 40, 3), (5, 3, 3, 3), 1, 1, 1, 1),
    "stride 2": ((3, 41, 40, 4), (16, 4, 3, 3), 2, 1, 1, 1),
    "by a stride": ((2, 20, 21, 4), (16, 4, 4, 4), 1, 2, 2, 1),
    "groups": ((4, 9, 9, 6), (6, 1, 3, 3), 1, 1, 1, 6),
    "1x1": ((9, 14, 14, 8), (16, 8, 1, 1), 1, 0, 1, 1),
    "1x1, many images": ((40, 7, 7, 8), (33, 8, 1, 1), 1, 0, 1, 1),
    "odd": ((7, 13, 11, 5), (17, 5, 2, 3), 1, 1, 1, 1),
}
PAIRS = [*(("odd", kind) for kind in KINDS), *((case, kind) for case in SHAPES for kind in ("all", "bias and moments"))]
PAIRS = list(dict.fromkeys(PAIRS))


def follow(b, y, kind):
    """Outputs made of a convolution's output y."""
    vectors = [by_channel(b, b.input(spec(y.type.shape[-1:], str(y.type.dtype)), f"v{i}"), y.type) for i in range(2)]
    axes = tuple(range(y.type.ndim - 1))
    if kind == "activation":
        return [ew.relu(b, ew.add(b, ew.mul(b, y, vectors[0]), vectors[1]))]
    if kind == "residual":
        return [ew.tanh(b, ew.add(b, ew.add(b, y, vectors[0]), b.input(y.type, "r")))]
    if kind == "moments":
        return [y, b.emit(OPS["moments"], y, rows=len(axes))]
    if kind == "bias and moments":
        made = ew.add(b, y, vectors[0])
        return [made, b.emit(OPS["moments"], made, rows=len(axes))]
    other = b.input(y.type, "other")
    masked = ew.select(b, ew.gt(b, other, b.full(0.0, y.type)), y, b.full(0.0, y.type))
    sums = [b.emit(OPS["reduce_sum"], v, axes=axes) for v in (masked, ew.mul(b, masked, ew.sub(b, other, vectors[0])))]
    return [masked, *sums] if kind != "all" else [masked, *sums, b.emit(OPS["moments"], masked, rows=len(axes))]


def chain(case, kind, dtype="float32", prologue=False):
    """A convolution and what follows it."""
    x_shape, w_shape, stride, padding, expand, groups = SHAPES[case]
    n = len(x_shape) - 2
    numbers = {"stride": stride, "low": padding, "high": padding, "dilation": 1, "expand": expand}
    b = Builder()
    x, w = b.input(spec(x_shape, dtype), "x"), b.input(spec(w_shape, dtype), "w")
    if prologue:
        x = ew.relu(b, ew.sub(b, x, by_channel(b, b.input(spec(x_shape[-1:], dtype), "m"), x.type)))
    attrs = {**{name: (number,) * n for name, number in numbers.items()}, "groups": groups}
    y = OPS["conv"](b, x, w, **attrs)
    if kind == "added":
        z = ew.mul(b, b.input(y.type, "z"), b.full(2.0, y.type))
        y = OPS["conv_add"](b, x, w, z, **attrs)
    return b.graph(follow(b, y, kind))


def attached(graph):
    return [node for node in graph.nodes if node.op.name == "conv_region" and epilogue_of(node) is not None]


def run(graph, passes, arrays, threads):
    made = plan(run_passes(graph, passes), threads)
    check_plan(made)
    return run_executable(Executable(made), graph, arrays)[0]


@pytest.mark.parametrize(("case", "kind"), PAIRS)
def test_what_follows_has_the_bits_that_it_has_apart(case, kind):
    graph = chain(case, kind)
    arrays = arrays_for(graph)
    assert len(attached(run_passes(graph, TOGETHER))) == 1
    apart = run(graph, APART, arrays, 1)
    for threads in (1, 4):
        for one, two in zip(apart, run(graph, TOGETHER, arrays, threads), strict=True):
            np.testing.assert_array_equal(one, two)
    for one, two in zip(apart, interpret(graph, *arrays), strict=True):
        np.testing.assert_allclose(one, two, rtol=0, atol=4e-5 * max(float(np.abs(two).max(initial=0)), 1e-3))


@pytest.mark.parametrize("kind", ["residual", "all", "added"])
@pytest.mark.parametrize("case", ["many bands", "by a stride", "1x1, many images"])
def test_what_is_read_is_made_on_the_way_too(case, kind):
    graph = chain(case, kind, prologue=True)
    arrays = arrays_for(graph)
    rewritten = run_passes(graph, PROLOGUES)
    assert attached(rewritten)
    apart = run(graph, APART, arrays, 1)
    for one, two in zip(apart, run(graph, PROLOGUES, arrays, 3), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("kind", ["residual", "all", pytest.param("added", marks=pytest.mark.slow)])
@pytest.mark.parametrize("case", [pytest.param("by a stride", marks=pytest.mark.slow), "odd"])
def test_kernels_keep_to_the_memory_that_is_theirs(case, kind):
    graph = chain(case, kind, "float64")
    arrays = arrays_for(graph)
    made = plan(run_passes(graph, TOGETHER), 2)
    check_plan(made)
    for one, two in zip(run_unjitted(made, *arrays), interpret(graph, *arrays), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-11, atol=1e-9)


def test_a_body_is_read_back_from_its_text():
    graph = run_passes(chain("odd", "all"), TOGETHER)
    assert attached(graph)
    assert str(parse(str(graph))) == str(graph)
    graph.verify()


def test_a_plan_without_room_for_the_sums_is_refused_by_the_verifier():
    made = plan(run_passes(chain("many bands", "all"), TOGETHER), 2)
    (node,) = attached(made.graph)
    (block,) = [block for block in made.blocks if block.unit is node]
    object.__setattr__(block, "nbytes", block.nbytes - 64)
    with pytest.raises(PlanVerificationError, match="scratch"):
        check_plan(made)


def test_what_waits_for_the_convolution_and_what_leaves_more_stay_apart():
    b = Builder()
    x, v, w = b.input(spec((4, 32, 32, 8)), "x"), b.input(spec((8, 8, 3, 3)), "v"), b.input(spec((8, 8, 3, 3)), "w")
    y = OPS["conv"](b, x, v, **ONES)
    z = OPS["conv"](b, y, w, **ONES)
    (node,) = attached(
        run_passes(b.graph([ew.relu(b, ew.add(b, y, z))]), TOGETHER)
    )  # only the second one: the sum waits for it
    assert len(node.inputs) == 2
    assert len(node.attrs["body"].outputs) == 1
    b = Builder()
    x, w = b.input(spec((4, 32, 32, 8)), "x"), b.input(spec((8, 8, 3, 3)), "w")
    y = OPS["conv"](b, x, w, **ONES)
    assert not attached(run_passes(b.graph([y, ew.relu(b, y)]), TOGETHER))


def test_what_is_written_over_an_input_is_made_when_all_tiles_have_read_it():
    b = Builder()
    x, w = b.input(spec((4, 32, 32, 8)), "x"), b.input(spec((8, 8, 3, 3)), "w")
    made = ew.relu(b, OPS["conv"](b, x, w, **ONES))
    assert len(attached(run_passes(b.graph([made]), TOGETHER))) == 1
    assert not attached(run_passes(b.graph([made], {0: 0}), TOGETHER))


def residual(norm):
    class Block(nn.Module):
        def __init__(self):
            self.conv = nn.Conv2d(16, 16, 3, padding=1)
            self.norm = norm(16)

        def forward(self, x):
            return nn.relu(self.norm(self.conv(x)) + x)

    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), Block(), Block(),
        nn.Conv2d(16, 24, 1), nn.BatchNorm2d(24), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 5),
    )  # fmt: skip


def loss_fn(model, batch):
    return F.cross_entropy(model(batch["x"]), batch["y"])


def batch_of(n, seed=0):
    rng = np.random.default_rng(seed)
    return {"x": rng.standard_normal((n, 3, 16, 16), np.float32), "y": rng.integers(0, 5, n)}


def state_after(steps, **options):
    step = compile_step(residual(nn.BatchNorm2d), loss_fn, optim.SGD(0.05), batch_of(32), **options)
    losses = [step(batch_of(32, i)) for i in range(steps)]
    images = batch_of(32)["x"]
    predict = step.bind(lambda model, x: model(x))
    return step, [*losses, *step.parameters().values(), predict(images)]


def test_statistics_are_gathered_where_convolutions_make_them():
    step = plan_step(residual(nn.BatchNorm2d), loss_fn, optim.SGD(0.05), batch_of(32))
    nodes = step.report.plan.graph.nodes
    assert all(node.op.name != "moments" for node in nodes)
    inside = [n.op.name for node in attached(step.report.plan.graph) for n in node.attrs["body"].nodes]
    assert inside.count("moments") == 4
    assert inside.count("reduce_sum") >= 4
    step.report.check()


def test_training_and_prediction_have_the_same_bits_for_any_threads_and_budget():
    step, first = state_after(3, threads=1)
    least = step.report.total_bytes
    for options in ({"threads": 4}, {"threads": 2, "memory": int(least * 0.93)}):
        for one, two in zip(first, state_after(3, **options)[1], strict=True):
            np.testing.assert_array_equal(one, two)


def test_a_program_for_prediction_reads_no_output_of_a_convolution_again():
    def predict(x, w, mean, variance, scale, shift):
        made = F.conv2d(x, w, padding=1)
        return nn.relu(F.batch_norm(made, mean, variance, scale, shift) + x)

    arrays = [spec((8, 16, 12, 12), "float32"), spec((16, 16, 3, 3), "float32"), *[spec((16,), "float32")] * 4]
    graph = trace(predict, *arrays)
    rewritten = run_passes(graph, TOGETHER)
    assert len(attached(rewritten)) == 1
    regions = [node for node in rewritten.nodes if node.op.name == "region"]
    assert all(node.attrs["domain"] != (8, 12, 12, 16) for node in regions)
    # What is so small is as well read from the cache; a batch of 256 times as many bytes is not.
    assert not attached(run_passes(graph))
    arrays[0] = spec((8, 16, 192, 192), "float32")
    assert len(attached(run_passes(trace(predict, *arrays)))) == 1
