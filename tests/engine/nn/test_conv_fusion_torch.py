"""Blocks of convolutions with all that may run with them, in float64: values and derivatives are torch's."""

import numpy as np
import pytest
from compiled import run_executable
from gradloom.engine.tracing.trace import trace
from gradloom.engine.tracing.transforms import grad
from gradloom.ir import spec
from gradloom.nn import functional as ours
from gradloom.passes.fusion.conv_epilogue import FuseConvEpilogue
from gradloom.passes.fusion.prologue import FusePrologue
from gradloom.passes.kernels.conv_epilogue import epilogue_of
from gradloom.passes.kernels.conv_operands import convolution_of, data_operands, has_prologue
from gradloom.passes.memory.plan import plan
from gradloom.passes.pipeline import pipeline, run_passes
from gradloom.passes.verify.plan import check_plan
from gradloom.runtime.cpu.executable import Executable

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.peers, pytest.mark.usefixtures("one_thread_for_torch")]

EAGER = {
    "fuse-conv-epilogue": FuseConvEpilogue(least_bytes=0, least_alone=0),
    "fuse-prologue": FusePrologue(least_bytes=0),
}
TOGETHER = [EAGER.get(step.name, step) for step in pipeline()]


def norm(f, h, scale, shift, training=True):
    """Batch norm by the batch, or by statistics that are given."""
    if training:
        return f.batch_norm(h, None, None, scale, shift, True)
    channels = np.arange(len(scale), dtype="float64")
    given = (0.1 * channels, 1.0 + channels)
    if f is not ours:
        given = map(torch.tensor, given)
    return f.batch_norm(h, *given, scale, shift, False)


def residual(f, x, v, a, w, b, scale, shift):
    h = f.relu(norm(f, f.conv2d(x, v, a, padding=1), scale, shift))
    return f.relu(norm(f, f.conv2d(h, w, b, padding=1), shift, scale) + x)


def evaluated(f, x, v, a, w, b, scale, shift):
    h = f.relu(norm(f, f.conv2d(x, v, a, padding=1), scale, shift, False) + x)
    return norm(f, f.conv2d(h, w, b, padding=1), shift, scale, False)


def down(f, x, v, a, w, b, scale, shift):
    h = f.relu(norm(f, f.conv2d(x, v, a, stride=2, padding=1), scale, shift))
    return norm(f, f.conv2d(x, w, b, stride=2), shift, scale) + h


def separable(f, x, v, a, w, b, scale, shift):
    h = f.relu(norm(f, f.conv2d(x, v, a, padding=1, groups=len(v)), scale, shift))
    return norm(f, f.conv2d(h, w, b), shift, scale)


def large_kernel(f, x, v, a, w, b, scale, shift):
    h = f.relu(norm(f, f.conv2d(x, v, a, padding=2), scale, shift))
    return f.conv2d(h, w, b, padding=(3, 2))


def lines(f, x, v, a, w, b, scale, shift):
    h = f.relu(norm(f, f.conv1d(x, v, a, padding=1), scale, shift))
    return f.relu(norm(f, f.conv1d(h, w, b, padding=2), shift, scale) + x)


def up(f, x, v, a, w, b, scale, shift):
    h = f.relu(norm(f, f.conv_transpose2d(x, v, a, stride=2, padding=1), scale, shift))
    return norm(f, f.conv_transpose2d(h, w, b, stride=2), shift, scale)


# The shapes of x, v and w; whether second derivatives are compared.
CASES = {
    "residual": (residual, (3, 5, 7, 6), (5, 5, 3, 3), (5, 5, 3, 3), True),
    "one pixel": (residual, (9, 4, 1, 1), (4, 4, 3, 3), (4, 4, 3, 3), False),
    "one image of one line": (residual, (1, 3, 1, 8), (3, 3, 3, 3), (3, 3, 3, 3), False),
    "evaluated": (evaluated, (2, 6, 5, 9), (6, 6, 3, 3), (6, 6, 3, 3), False),
    "no image": (evaluated, (0, 4, 5, 3), (4, 4, 3, 3), (4, 4, 3, 3), False),
    "stride 2": (down, (3, 4, 7, 9), (18, 4, 3, 3), (18, 4, 1, 1), False),
    "each channel, then each pixel": (separable, (3, 17, 6, 5), (17, 1, 3, 3), (17, 17, 1, 1), False),
    "kernels larger than images": (large_kernel, (4, 3, 2, 3), (6, 3, 5, 5), (3, 6, 7, 5), False),
    "lines": (lines, (4, 5, 23), (5, 5, 3), (5, 5, 5), False),
    "transposed": (up, (3, 4, 3, 5), (4, 6, 4, 4), (6, 6, 2, 2), False),
}


@pytest.mark.parametrize("case", CASES)
def test_values_and_derivatives_are_torchs(case):
    block, x_shape, v_shape, w_shape, twice = CASES[case]
    transposed = block is up
    channels = (v_shape[int(transposed)], w_shape[int(transposed)])
    rng = np.random.default_rng(0)
    shapes = [x_shape, v_shape, channels[:1], w_shape, channels[1:], *[channels[:1]] * 2]
    arrays = [rng.standard_normal(shape) for shape in shapes]
    tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
    value = block(torch.nn.functional, *tensors)
    seeds = [rng.standard_normal(s) for s in (tuple(value.shape), *shapes)]
    first = torch.autograd.grad((value * torch.tensor(seeds[0])).sum(), tensors, create_graph=twice)
    expected = [value, *first]
    if twice:
        expected += torch.autograd.grad(sum((d * torch.tensor(s)).sum() for d, s in zip(first, seeds[1:])), tensors)

    def derivatives(seed, *given):
        return grad(lambda *xs: (block(ours, *xs) * seed).sum(), argnums=tuple(range(len(given))))(*given)

    def everything(seeds, *given):
        results = [block(ours, *given), *derivatives(seeds[0], *given)]
        if twice:
            along = lambda *xs: sum((d * s).sum() for d, s in zip(derivatives(seeds[0], *xs), seeds[1:]))  # noqa: E731
            results += grad(along, argnums=tuple(range(len(given))))(*given)
        return results

    graph = trace(everything, [spec(s.shape, s.dtype) for s in seeds], *(spec(a.shape, a.dtype) for a in arrays))
    made = plan(run_passes(graph, TOGETHER), 2)
    check_plan(made)
    units = [node for node in made.graph.nodes if node.op.name == "conv_region"]
    if x_shape[0]:
        assert any(has_prologue(u, n) for u in units for n in range(data_operands(convolution_of(u))))
        assert any(epilogue_of(u) is not None for u in units)
    for actual, wanted in zip(run_executable(Executable(made), graph, [*seeds, *arrays])[0], expected, strict=True):
        np.testing.assert_allclose(actual, wanted.detach().numpy(), rtol=1e-9, atol=1e-9)
