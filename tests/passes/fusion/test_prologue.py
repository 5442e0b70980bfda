"""What a convolution reads is made as it copies its rows: never whole in memory, and to the same bits."""

from dataclasses import replace

import gradloom as gl
import numpy as np
import pytest
from compiled import run_executable
from gradloom import nn, optim
from gradloom.engine.step.compile_step import plan_step
from gradloom.ir import OPS, Builder, interpret, parse, spec
from gradloom.ir.ops import elementwise as ew
from gradloom.nn import functional as F
from gradloom.passes.fusion.prologue import FusePrologue
from gradloom.passes.kernels.conv_operands import convolution_of, has_prologue
from gradloom.passes.kernels.weight_gradient_tiles import weight_gradient_tiles
from gradloom.passes.memory.plan import plan
from gradloom.passes.pipeline import pipeline, run_passes
from gradloom.passes.verify.errors import PlanVerificationError
from gradloom.passes.verify.plan import check_plan
from gradloom.runtime.cpu.executable import Executable
from same_bits import assert_same_bits
from unjitted import run_unjitted

from ..kernels.test_conv_tiles import CASES, ONES, arrays_for, by_channel

APART = [step for step in pipeline() if step.name != "fuse-prologue"]
TOGETHER = [
    FusePrologue(least_bytes=0, most_shares=99) if step.name == "fuse-prologue" else step for step in pipeline()
]


def normalized(b, x, name):
    """relu((x - mean) * scale + shift), by channel."""
    vectors = [b.input(spec(x.type.shape[-1:], str(x.type.dtype)), f"{name}{i}") for i in range(3)]
    mean, scale, shift = (by_channel(b, vector, x.type) for vector in vectors)
    return ew.relu(b, ew.add(b, ew.mul(b, ew.sub(b, x, mean), scale), shift))


def chain(case, dtype="float32", per_image=False):
    """A convolution, and the gradient to its weight, of what is normalized and of a masked cotangent."""
    x_shape, w_shape, stride, padding, dilation, expand, groups = CASES[case]
    n = len(x_shape) - 2
    numbers = {"stride": stride, "low": padding, "high": padding, "dilation": dilation, "expand": expand}
    attrs = {**{name: (number,) * n for name, number in numbers.items()}, "groups": groups}
    b = Builder()
    x, w = b.input(spec(x_shape, dtype), "x"), b.input(spec(w_shape, dtype), "w")
    made = normalized(b, x, "a")
    if per_image:
        gate = b.input(spec((x_shape[0], x_shape[-1]), dtype), "gate")
        made = ew.mul(b, made, b.emit(OPS["broadcast"], gate, shape=x_shape, axes=(0, len(x_shape) - 1)))
    y = OPS["conv"](b, made, w, **attrs)
    g, other = b.input(y.type, "g"), b.input(y.type, "h")
    cotangent = ew.select(b, ew.gt(b, other, b.full(0.0, other.type)), g, b.full(0.0, g.type))
    dw = OPS["conv_weight_gradient"](b, made, cotangent, kernel=w_shape[2:], **attrs)
    return b.graph([y, dw])


def fused(graph):
    return [node for node in graph.nodes if node.op.name == "conv_region"]


def run(graph, passes, arrays, threads):
    made = plan(run_passes(graph, passes), threads)
    check_plan(made)
    return run_executable(Executable(made), graph, arrays)[0]


@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_what_is_made_on_the_way_has_the_bits_of_what_is_made_apart(case, per_image):
    graph = chain(case, per_image=per_image)
    arrays = arrays_for(graph)
    apart = run(graph, APART, arrays, 1)
    for threads in (1, 3):
        for one, two in zip(apart, run(graph, TOGETHER, arrays, threads), strict=True):
            np.testing.assert_array_equal(one, two)
    for one, two in zip(apart, interpret(graph, *arrays), strict=True):
        np.testing.assert_allclose(one, two, rtol=0, atol=4e-5 * max(float(np.abs(two).max(initial=0)), 1e-3))


@pytest.mark.parametrize(
    "case",
    [
        pytest.param("many bands", marks=pytest.mark.slow),
        "stride 2",
        "one axis",
        "positions of all images in one row",
        "groups",
        "volumes, padding left out",
    ],
)
def test_kernels_keep_to_the_memory_that_is_theirs(case):
    graph = chain(case, "float64")
    arrays = arrays_for(graph)
    made = plan(run_passes(graph, TOGETHER), 2)
    assert fused(made.graph)
    for one, two in zip(run_unjitted(made, *arrays), interpret(graph, *arrays), strict=True):
        np.testing.assert_allclose(one, two, rtol=0, atol=1e-11)


def test_both_operands_of_a_weight_gradient_are_made_on_the_way():
    found = fused(run_passes(chain("many bands"), TOGETHER))
    assert [convolution_of(node).op.name for node in found] == ["conv", "conv_weight_gradient"]
    assert has_prologue(found[1], 0)
    assert has_prologue(found[1], 1)


def test_an_image_that_lies_otherwise_is_read_where_it_lies():
    b = Builder()
    x, w = b.input(spec((4, 3, 20, 20)), "x"), b.input(spec((8, 3, 3, 3)), "w")
    last = b.emit(OPS["transpose"], x, perm=(0, 2, 3, 1))
    graph = b.graph([OPS["conv"](b, last, w, **ONES)])
    rewritten = run_passes(graph, TOGETHER)
    assert len(fused(rewritten)) == 1
    assert all(node.op.name != "region" for node in rewritten.nodes)
    arrays = arrays_for(graph)
    for one, two in zip(run(graph, TOGETHER, arrays, 2), run(graph, APART, arrays, 1), strict=True):
        np.testing.assert_array_equal(one, two)


def test_what_others_read_or_what_keeps_more_alive_stays_whole():
    def graph(read_by_others):
        b = Builder()
        x, y, w = b.input(spec((4, 32, 32, 8)), "x"), b.input(spec((8, 8, 3, 3)), "v"), b.input(spec((8, 8, 3, 3)), "w")
        first = OPS["conv"](b, x, y, **ONES)
        second = OPS["conv"](b, x, w, **ONES)
        total = ew.relu(b, ew.add(b, first, second))
        third = OPS["conv"](b, total, w, **ONES)
        return b.graph([OPS["conv"](b, third, w, **ONES), *([total] if read_by_others else [])])

    # Two arrays would wait for the convolution instead of their sum.
    assert not fused(run_passes(graph(False)))
    assert not fused(run_passes(graph(True)))


def test_what_a_graph_leaves_several_times_is_written_each_time():
    b = Builder()
    x, w, v = b.input(spec((2, 5, 5, 3)), "x"), b.input(spec((3, 3, 3, 3)), "w"), b.input(spec((7,)), "v")
    made = ew.mul(b, ew.tanh(b, v), v)
    graph = b.graph([OPS["conv"](b, x, w, **ONES), made, made, made])
    arrays = arrays_for(graph)
    for one, two in zip(run(graph, TOGETHER, arrays, 1), interpret(graph, *arrays), strict=True):
        np.testing.assert_allclose(one, two, rtol=0, atol=1e-5)


def test_a_body_is_read_back_from_its_text():
    graph = run_passes(chain("stride 2"), TOGETHER)
    assert fused(graph)
    assert str(parse(str(graph))) == str(graph)
    graph.verify()


def model():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), nn.SiLU(),
        nn.Conv2d(16, 16, 1), nn.GroupNorm(4, 16), nn.ReLU(), nn.Dropout(0.1),
        nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5),
    )  # fmt: skip


def loss_fn(model, batch):
    return F.cross_entropy(model(batch["x"]), batch["y"])


def batch_of(n, seed=0):
    rng = np.random.default_rng(seed)
    return {"x": rng.standard_normal((n, 3, 18, 18)).astype("float32"), "y": rng.integers(0, 5, n)}


def test_a_network_of_normalized_convolutions_makes_what_they_read_on_the_way():
    made = plan_step(model(), loss_fn, optim.AdamW(1e-3), batch_of(16)).plan
    check_plan(made)
    regions = fused(made.graph)
    assert {convolution_of(node).op.name for node in regions} == {"conv", "conv_weight_gradient"}
    # A plan that forgets the rows that a worker makes is refused.
    unit = next(node for node in regions if convolution_of(node).op.name == "conv_weight_gradient")
    tiles = weight_gradient_tiles(unit, made.target)
    least = tiles.parts * tiles.part_bytes
    blocks = [replace(block, nbytes=least) if block.unit is unit else block for block in made.blocks]
    with pytest.raises(PlanVerificationError, match="scratch"):
        check_plan(replace(made, blocks=blocks))


def test_convolutions_of_volumes_make_what_they_read_and_gradients_of_their_weights_do_not():
    model = nn.Sequential(nn.Conv3d(2, 8, 3), nn.BatchNorm3d(8), nn.ReLU(), nn.Conv3d(8, 4, 3))
    batch = np.zeros((4, 2, 12, 12, 12), "float32")
    made = plan_step(model, lambda model, x: F.mse_loss(model(x), 0 * model(x)), optim.SGD(0.1), batch).plan
    check_plan(made)
    regions = [node for node in fused(made.graph) if has_prologue(node, 0)]
    assert {convolution_of(node).op.name for node in regions} == {"conv"}


def test_steps_have_the_same_bits_for_any_threads_and_budget():
    batches = [batch_of(16, seed) for seed in range(3)]
    ways = ((1, None), (2, None), (2, "90%"))
    assert_same_bits(lambda: (model(), loss_fn, optim.AdamW(1e-3), batch_of(16)), batches, ways)


class ResidualBlock(nn.Module):
    def __init__(self):
        self.first, self.second = (nn.Conv2d(8, 8, 3, padding=1) for _ in range(2))
        self.first_norm, self.second_norm = nn.BatchNorm2d(8), nn.BatchNorm2d(8)

    def forward(self, x):
        y = np.maximum(self.first_norm(self.first(x)), 0)
        return np.maximum(x + self.second_norm(self.second(y)), 0)


def test_what_only_comparisons_read_has_a_plan_within_a_budget():
    made = nn.Sequential(*(ResidualBlock() for _ in range(3)), nn.Flatten(), nn.Linear(8 * 16 * 16, 5))
    batch = {"x": np.zeros((4, 8, 16, 16), np.float32), "y": np.zeros(4, np.int64)}
    whole = plan_step(made, loss_fn, optim.SGD(0.1), batch)
    budget = whole.total_bytes - whole.plan.arena_bytes // 4
    within = plan_step(made, loss_fn, optim.SGD(0.1), batch, memory=budget)
    check_plan(within.plan)
    assert within.total_bytes <= budget


@pytest.mark.parametrize(
    ("x_shape", "w_shape", "padding"),
    [
        ((4, 3, 4, 12, 12), (8, 3, 4, 3, 3), 0),  # the output is one image of each volume
        ((1, 2, 4, 32, 32), (8, 2, 4, 3, 3), 0),
        ((300, 2, 4, 4, 4), (8, 2, 4, 4, 4), 0),
        ((40, 2, 1, 9, 11), (4, 2, 3, 3, 3), 1),  # the input is one
        ((40, 2, 1, 9, 11), (4, 2, 1, 3, 3), (1, 0, 0)),
        ((40, 2, 3, 9, 11), (4, 2, 3, 1, 1), 0),
    ],
)
def test_volumes_with_channels_first_are_read_as_they_lie(x_shape, w_shape, padding):
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(shape, np.float32) for shape in (x_shape, w_shape))

    def convolve(x, w):
        return nn.conv3d(x, w, padding=padding)

    gradients = gl.grad(lambda x, w: (convolve(x, w) ** 2).sum(), argnums=(0, 1))
    for function in (convolve, gradients):
        graph = gl.trace(function, x, w)
        got = gl.compile(function)(x, w)
        expected = gl.interpret(graph, x, w)
        for a, b in zip(got if isinstance(got, tuple) else (got,), expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * np.abs(b).max())
