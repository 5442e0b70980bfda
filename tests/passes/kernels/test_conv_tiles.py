"""Convolutions cut into tiles: what they take is what their plans say, and they compute what the references do."""

import numpy as np
import pytest
from compiled import run_compiled, run_executable
from gradloom.ir import OPS, Builder, interpret, spec
from gradloom.ir.ops.convolution import input_gradient
from gradloom.passes.kernels.conv_tiles import conv_tiles
from gradloom.passes.kernels.weight_gradient_tiles import weight_gradient_tiles
from gradloom.passes.memory.plan import plan
from gradloom.passes.pipeline import pipeline, run_passes
from gradloom.passes.target import DEFAULT_TARGET, Target
from gradloom.passes.verify.errors import PlanVerificationError
from gradloom.passes.verify.plan import check_plan
from gradloom.runtime.codegen.host import runnable
from gradloom.runtime.cpu.executable import Executable, allocate
from unjitted import run_unjitted

# Shapes of x and w, stride, padding, dilation, expand, groups. Small but for what each is there to show.
CASES = {
    "many bands": ((2, 40, 30, 4), (6, 4, 3, 3), 1, 1, 1, 1, 1),
    "several images a tile": ((40, 5, 5, 3), (20, 3, 3, 3), 1, 1, 1, 1, 1),
    "two widths of strips": ((3, 6, 20, 5), (80, 5, 3, 3), 1, 1, 1, 1, 1),
    "four vectors and a tail": ((2, 5, 13, 3), (61, 3, 3, 2), 1, 1, 1, 1, 1),
    "kernel rows one by one": ((2, 4, 5, 420), (64, 420, 3, 3), 1, 1, 1, 1, 1),
    "positions of all images in one row": ((3, 8, 7, 24), (40, 24, 1, 1), 1, 0, 1, 1, 1),
    "a prime number of positions": ((1, 1, 53, 6), (7, 6, 1, 1), 1, 0, 1, 1, 1),
    "nothing copied": ((2, 9, 9, 8), (16, 8, 1, 1), 2, 0, 1, 1, 1),
    "stride 2": ((3, 15, 14, 6), (10, 6, 3, 3), 2, 1, 1, 1, 1),
    "stride 3 of kernel 2": ((2, 11, 12, 5), (7, 5, 2, 2), 3, 0, 1, 1, 1),
    "dilation": ((2, 12, 11, 6), (9, 6, 3, 3), 1, 2, 2, 1, 1),
    "zeros between elements": ((2, 6, 7, 5), (8, 5, 4, 4), 1, 2, 1, 2, 1),
    "zeros, stride and dilation": ((2, 6, 7, 5), (8, 5, 3, 3), 3, 2, 2, 2, 1),
    "depthwise": ((2, 9, 10, 37), (37, 1, 3, 3), 1, 1, 1, 1, 37),
    "depthwise, several images a chunk": ((40, 5, 6, 9), (9, 1, 3, 3), 1, 1, 1, 1, 9),
    "depthwise with stride": ((2, 9, 10, 32), (32, 1, 5, 5), 2, 2, 1, 1, 32),
    "depthwise, columns one by one": ((2, 5, 13, 20), (20, 1, 3, 11), 1, 5, 1, 1, 20),
    "depthwise with stride and dilation": ((2, 7, 33, 18), (18, 1, 3, 4), 2, 3, 2, 1, 18),
    "depthwise with zeros between": ((2, 5, 9, 33), (33, 1, 4, 4), 1, 2, 1, 2, 33),
    "depthwise, more padding than image": ((2, 2, 3, 40), (40, 1, 3, 3), 1, 3, 1, 1, 40),
    "depthwise, dilation beyond the image": ((2, 3, 2, 40), (40, 1, 3, 3), 1, 4, 4, 1, 40),
    "padding left out": ((2, 5, 17, 9), (20, 9, 3, 5), 1, 2, 1, 1, 1),
    "padding left out, stride and dilation": ((2, 9, 11, 8), (70, 8, 3, 3), 2, 2, 2, 1, 1),
    "padding left out, more than image": ((2, 3, 2, 8), (5, 8, 5, 5), 1, 4, 1, 1, 1),
    "padding left out, zeros between": ((2, 4, 6, 16), (16, 8, 5, 5), 1, 3, 1, 2, 2),
    "groups": ((2, 9, 8, 12), (60, 4, 3, 3), 1, 1, 1, 1, 3),
    "channels multiplied": ((2, 7, 8, 6), (12, 1, 3, 3), 1, 1, 1, 1, 6),
    "groups of four channels": ((2, 9, 20, 32), (32, 4, 3, 3), 1, 1, 1, 1, 8),
    "groups of three channels, a tail": ((2, 9, 8, 21), (21, 3, 3, 3), 2, 1, 1, 1, 7),
    "groups of two channels, dilation": ((2, 9, 8, 40), (40, 2, 3, 5), 1, 2, 2, 1, 20),
    "groups of few channels by many": ((2, 7, 8, 15), (10, 3, 3, 3), 1, 1, 1, 1, 5),
    "groups of many channels by few": ((2, 7, 8, 80), (20, 8, 3, 3), 1, 1, 1, 1, 10),
    "groups of two channels in volumes": ((2, 5, 6, 7, 36), (36, 2, 3, 3, 3), 1, 1, 1, 1, 18),
    "groups, long sums": ((40, 12, 12, 8), (8, 2, 3, 3), 1, 1, 1, 1, 4),
    "one channel, columns together": ((3, 9, 13, 1), (20, 1, 3, 5), 1, 2, 1, 1, 1),
    "one channel, blocks of columns": ((3, 90, 1), (40, 1, 31), 2, 15, 1, 1, 1),
    "one channel, more padding than image": ((2, 2, 3, 1), (9, 1, 3, 7), 1, 5, 1, 1, 1),
    "one channel, two widths of strips": ((2, 6, 11, 1), (150, 1, 3, 4), 1, 1, 1, 1, 1),
    "one channel, long sums": ((20, 20, 31, 1), (6, 1, 2, 3), 1, 1, 1, 1, 1),
    "one channel, zeros and dilation": ((2, 5, 9, 1), (12, 1, 2, 5), 3, 4, 2, 2, 1),
    "one channel in volumes": ((2, 4, 6, 7, 1), (5, 1, 3, 3, 3), 1, 1, 1, 1, 1),
    "two channels, stride": ((3, 15, 14, 2), (18, 2, 3, 7), 3, 3, 1, 1, 1),
    "three channels, dilation": ((2, 8, 19, 3), (30, 3, 3, 4), 1, 3, 2, 1, 1),
    "four channels, cropped": ((2, 9, 12, 4), (10, 4, 2, 3), 1, -2, 1, 1, 1),
    "two channels, two groups": ((2, 9, 12, 4), (66, 2, 3, 5), 1, 2, 1, 1, 2),
    "more padding than image": ((2, 2, 3, 4), (5, 4, 3, 3), 1, 4, 1, 1, 1),
    "cropped": ((2, 9, 9, 4), (5, 4, 3, 3), 1, -2, 1, 1, 1),
    "one axis": ((3, 50, 4), (20, 4, 5), 2, 2, 1, 1, 1),
    "one position of one image": ((1, 1, 1, 3), (3, 3, 3, 3), 1, 1, 1, 1, 1),
    "volumes": ((2, 5, 6, 7, 4), (6, 4, 3, 3, 3), 1, 1, 1, 1, 1),
    "volumes of many images": ((1, 40, 9, 8, 5), (7, 5, 3, 3, 3), 1, 1, 1, 1, 1),
    "volumes in bands": ((2, 5, 32, 30, 16), (18, 16, 3, 3, 3), 1, 1, 1, 1, 1),
    "volumes with stride": ((2, 7, 6, 9, 4), (6, 4, 3, 2, 3), 2, 1, 1, 1, 1),
    "volumes with zeros, stride and dilation": ((2, 4, 3, 5, 4), (6, 4, 3, 2, 3), 3, 2, 2, 2, 1),
    "volumes between which zeros alone are met": ((2, 3, 4, 4, 3), (5, 3, 1, 2, 2), 1, 0, 1, 2, 1),
    "volumes, nothing copied": ((2, 5, 6, 7, 4), (6, 4, 3, 2, 2), 1, 0, 1, 1, 1),
    "volumes, cropped": ((2, 8, 9, 8, 4), (6, 4, 3, 2, 2), 1, -1, 1, 1, 1),
    "volumes, depthwise": ((2, 5, 6, 7, 19), (19, 1, 3, 3, 3), 1, 1, 1, 1, 19),
    "volumes, depthwise with stride": ((1, 7, 5, 6, 34), (34, 1, 3, 3, 3), 2, 2, 2, 1, 34),
    "volumes, depthwise with zeros between": ((1, 4, 5, 3, 20), (20, 1, 2, 3, 4), 1, 2, 1, 2, 20),
    "volumes, padding left out": ((1, 4, 5, 6, 8), (9, 8, 3, 3, 3), 1, 1, 1, 1, 1),
    "volumes in groups": ((2, 5, 6, 7, 12), (24, 4, 2, 3, 3), 1, 1, 1, 1, 3),
    "volumes, kernel rows one by one": ((2, 3, 4, 5, 420), (64, 420, 2, 3, 3), 1, 1, 1, 1, 1),
    "volumes by a kernel of one place": ((2, 4, 7, 8, 12), (24, 12, 1, 1, 1), 1, 0, 1, 1, 1),
    "units shared": ((2, 6, 6, 80), (128, 80, 3, 3), 1, 1, 1, 1, 1),
}
# Of weight gradients that copy blocks of channels of the input, on targets that pack.
PACKED = {
    "blocks of two sizes": ((3, 6, 7, 17), (40, 17, 3, 3), 1, 1, 1, 1, 1),
    "bands": ((2, 60, 50, 20), (33, 20, 3, 3), 1, 1, 1, 1, 1),
    "several images": ((40, 5, 6, 13), (37, 13, 3, 3), 1, 1, 1, 1, 1),
    "stride and dilation": ((2, 13, 11, 14), (100, 14, 3, 3), (2, 1), 2, (1, 2), 1, 1),
    "more padding than kernel": ((2, 5, 9, 12), (35, 12, 5, 5), 1, 3, 1, 1, 1),
    "cropped, two strips": ((2, 9, 9, 8), (20, 8, 3, 3), 1, -2, 1, 1, 1),
    "zeros between": ((2, 6, 7, 15), (33, 15, 4, 4), 1, 2, 1, 2, 1),
    "two groups": ((2, 9, 8, 28), (80, 14, 3, 3), 1, 1, 1, 1, 2),
    "one axis of many places": ((3, 90, 11), (50, 11, 5), 1, 2, 1, 1, 1),
    "one position": ((2, 8, 7, 24), (250, 24, 1, 1), 1, 0, 1, 1, 1),
    "long sums": ((12, 20, 20, 9), (30, 9, 3, 3), 1, 1, 1, 1, 1),
    "volumes by one image": ((2, 3, 7, 6, 9), (30, 9, 1, 3, 3), 1, (0, 1, 1), 1, 1, 1),
}
# Of a convolution by a kernel of 3x3 that leaves as many positions as it reads.
ONES = {**dict.fromkeys(("stride", "low", "high", "dilation", "expand"), (1, 1)), "groups": 1}


def step(case, dtype, results=slice(None)):
    """Forward and both gradients as one graph, or some of these."""
    x_shape, w_shape, stride, padding, dilation, expand, groups = (CASES | PACKED)[case]
    n = len(x_shape) - 2
    numbers = {"stride": stride, "low": padding, "high": padding, "dilation": dilation, "expand": expand}
    each = {name: k if isinstance(k, tuple) else (k,) * n for name, k in numbers.items()}
    return graph_of(x_shape, w_shape, {**each, "groups": groups}, dtype, results)


def graph_of(x_shape, w_shape, attrs, dtype, results=slice(None)):
    b = Builder()
    x, w = b.input(spec(x_shape, dtype), "x"), b.input(spec(w_shape, dtype), "w")
    y = OPS["conv"](b, x, w, **attrs)
    g = b.input(y.type, "g")
    dx = input_gradient(b, g, w, x_shape[1:-1], attrs)
    dw = OPS["conv_weight_gradient"](b, x, g, kernel=w_shape[2:], **attrs)
    return b.graph([y, dx, dw][results])


def by_channel(b, vector, like):
    return b.emit(OPS["broadcast"], vector, shape=like.shape, axes=(len(like.shape) - 1,))


def arrays_for(graph, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(v.type.shape).astype(v.type.dtype) for v in graph.inputs]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_tiles_compute_what_the_references_do(case, dtype):
    graph = step(case, dtype)
    arrays = arrays_for(graph)
    tolerance = 1e-5 if dtype == "float32" else 1e-13
    for actual, expected in zip(run_compiled(graph, *arrays, threads=2), interpret(graph, *arrays), strict=True):
        scale = max(float(np.abs(expected).max(initial=0)), 1e-3)
        np.testing.assert_allclose(actual, expected, rtol=0, atol=4 * tolerance * scale)


@pytest.mark.parametrize("case", CASES)
def test_the_bits_do_not_depend_on_threads(case):
    graph = step(case, "float32")
    arrays = arrays_for(graph)
    one, *others = [run_compiled(graph, *arrays, threads=threads) for threads in (1, 2, 4)]
    for other in others:
        for actual, expected in zip(other, one, strict=True):
            np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("case", CASES)
def test_nothing_outside_of_the_planned_memory_is_written(case):
    graph = step(case, "float32")
    made = plan(run_passes(graph), 3, True)
    check_plan(made)
    guard = np.full(made.arena_bytes + 8192, 0x5A, np.uint8)
    start = 4096 + -(guard.ctypes.data + 4096) % 64
    executable = Executable(made, guard[start : start + made.arena_bytes])
    run_executable(executable, graph, arrays_for(graph))
    assert (guard[:start] == 0x5A).all()
    assert (guard[start + made.arena_bytes :] == 0x5A).all()


@pytest.mark.parametrize(
    ("x_shape", "w_shape", "groups", "stride"),
    [
        ((2, 3, 5, 3), (3, 1, 3, 3), 3, 1),
        ((1, 4, 4, 2), (2, 1, 3, 4), 2, 2),
        ((1, 3, 2, 3, 2), (2, 1, 3, 3, 3), 2, 1),
        ((1, 2, 5, 8), (2, 8, 3, 3), 1, 1),
    ],
)
def test_nothing_is_read_beside_images_that_are_not_copied(x_shape, w_shape, groups, stride):
    n = len(x_shape) - 2
    numbers = {"stride": stride, "low": 1, "high": 1, "dilation": 1, "expand": 1}
    graph = graph_of(x_shape, w_shape, {**{name: (k,) * n for name, k in numbers.items()}, "groups": groups}, "float32")
    arrays = arrays_for(graph)
    for actual, expected in zip(run_unjitted(plan(run_passes(graph), 2), *arrays), interpret(graph, *arrays)):
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4)


@pytest.mark.skipif("avx2" not in runnable(), reason="no target that packs runs here")
@pytest.mark.parametrize(
    ("case", "dtype"), [*((case, "float32") for case in PACKED), ("bands", "float64"), ("two groups", "float64")]
)
def test_blocks_of_channels_are_copied_within_the_planned_memory_and_compute_what_the_reference_does(case, dtype):
    target = Target.cpu("avx2")
    graph = step(case, dtype, slice(2, 3))
    assert weight_gradient_tiles(graph.nodes[-1], target).packs
    arrays = arrays_for(graph)
    results = []
    for threads in (1, 3):
        made = plan(run_passes(graph, pipeline(target=target)), threads, True, target=target)
        check_plan(made)
        memory = allocate(made.arena_bytes + 4096)
        memory[made.arena_bytes :] = 165
        results.append(run_executable(Executable(made, memory[: made.arena_bytes]), graph, arrays)[0][-1])
        assert (memory[made.arena_bytes :] == 165).all()
    np.testing.assert_array_equal(*results)
    expected = interpret(graph, *arrays)[-1]
    scale = max(float(np.abs(expected).max()), 1e-3)
    np.testing.assert_allclose(results[0], expected, rtol=0, atol=(4e-5 if dtype == "float32" else 4e-13) * scale)


def test_the_cases_show_what_their_names_say():
    def forward(case):
        return conv_tiles(step(case, "float32").nodes[0], DEFAULT_TARGET)

    def backward(case):
        return weight_gradient_tiles(step(case, "float32").nodes[-1], DEFAULT_TARGET)

    assert forward("many bands").bands > 1
    assert forward("several images a tile").images > 1
    assert len(forward("two widths of strips").geometry.channel_strips.widths()) == 2
    assert forward("kernel rows one by one").by_kernel_row
    assert forward("positions of all images in one row").geometry.images == 1
    assert forward("nothing copied").direct
    assert forward("depthwise").direct
    assert not forward("depthwise, more padding than image").direct
    assert len(forward("zeros between elements").components) == 4
    node = step("stride 3 of kernel 2", "float32").nodes[-2]
    assert any(not down.taps for down, _ in conv_tiles(node, DEFAULT_TARGET).components)
    assert backward("units shared").shares > 1
    assert backward("one channel, blocks of columns").columns.blocks > 1
    for case in (case for case in CASES if case.startswith(("one channel", "two channels", "three", "four channels"))):
        assert backward(case).columns.most > 1, case
    assert backward("one channel, long sums").section
    assert not backward("padding left out").by_kernel_row
    assert backward("many bands").parts > 1
    assert backward("depthwise, several images a chunk").images > 1


def test_the_verifier_sees_scratch_that_is_too_small():
    graph = step("many bands", "float32")
    made = plan(run_passes(graph), 2)
    unit = next(block for block in made.blocks if block.unit is not None)
    object.__setattr__(unit, "nbytes", unit.nbytes - 64)
    with pytest.raises(PlanVerificationError, match="bytes of scratch"):
        check_plan(made)
