"""Pooling against torch: values, gradients and second derivatives in float64, and what it refuses."""

import gradloom as gl
import numpy as np
import pytest
from against_torch import assert_like_torch
from gradloom import nn

pytestmark = pytest.mark.usefixtures("one_thread_for_torch")

F = nn.functional
RNG = np.random.default_rng(0)
SHAPES = {1: (2, 3, 9), 2: (2, 3, 7, 6), 3: (1, 2, 5, 4, 6)}
# Whole numbers repeat, so that windows have several largest elements.
TIED = {n: RNG.integers(-3, 4, shape).astype("float64") for n, shape in SHAPES.items()}
X = {n: RNG.standard_normal(shape) for n, shape in SHAPES.items()}

MAX = [
    (1, {"kernel_size": 2}),
    (1, {"kernel_size": 3, "stride": 1, "padding": 1, "dilation": 2}),
    (1, {"kernel_size": 4, "stride": 3, "padding": 2, "ceil_mode": True}),
    (2, {"kernel_size": 2}),
    (2, {"kernel_size": 3, "stride": 2, "padding": 1}),
    (2, {"kernel_size": 3, "stride": 2, "ceil_mode": True}),
    (2, {"kernel_size": (2, 3), "stride": (1, 2), "padding": (1, 0), "dilation": (2, 1)}),
    (2, {"kernel_size": (3, 2), "stride": (3, 4), "padding": 1, "ceil_mode": True}),
    (2, {"kernel_size": (7, 6)}),
    (3, {"kernel_size": 2, "stride": (2, 1, 2), "padding": (0, 1, 1)}),
]
AVG = [
    (1, {"kernel_size": 2}),
    (1, {"kernel_size": 4, "stride": 3, "padding": 2, "ceil_mode": True}),
    (2, {"kernel_size": 2}),
    (2, {"kernel_size": 3, "stride": 2, "padding": 1}),
    (2, {"kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": False}),
    (2, {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}),
    (2, {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True, "count_include_pad": False}),
    (2, {"kernel_size": (3, 2), "stride": (2, 5), "padding": (1, 0), "divisor_override": 3}),
    (3, {"kernel_size": (2, 3, 2), "stride": 2, "padding": 1, "ceil_mode": True, "count_include_pad": False}),
]


def torch_function(name):
    return getattr(pytest.importorskip("torch").nn.functional, name)


@pytest.mark.peers
@pytest.mark.parametrize(("ndim", "options"), MAX, ids=str)
def test_max_pooling_is_torchs_ties_included(ndim, options):
    name = f"max_pool{ndim}d"
    ours, theirs = getattr(F, name), torch_function(name)
    for x in (X[ndim], TIED[ndim]):
        assert_like_torch(lambda x: ours(x, **options), lambda x: theirs(x, **options), x)


@pytest.mark.peers
@pytest.mark.parametrize(("ndim", "options"), MAX, ids=str)
def test_the_places_of_largest_elements_are_torchs(ndim, options):
    torch = pytest.importorskip("torch")
    name = f"max_pool{ndim}d"
    value, indices = gl.compile(lambda x: getattr(F, name)(x, **options, return_indices=True))(TIED[ndim])
    expected, places = torch_function(name)(torch.tensor(TIED[ndim]), **options, return_indices=True)
    np.testing.assert_array_equal(value, expected.numpy())
    np.testing.assert_array_equal(indices, places.numpy())


@pytest.mark.peers
@pytest.mark.parametrize(("ndim", "size"), [(1, 3), (1, 4), (2, (7, 4)), (2, (5, None)), (3, (2, 3, 4))], ids=str)
def test_the_places_of_largest_elements_of_adaptive_windows_are_torchs(ndim, size):
    torch = pytest.importorskip("torch")
    name = f"adaptive_max_pool{ndim}d"
    value, indices = gl.compile(lambda x: getattr(F, name)(x, size, return_indices=True))(TIED[ndim])
    expected, places = torch_function(name)(torch.tensor(TIED[ndim]), size, return_indices=True)
    np.testing.assert_array_equal(value, expected.numpy())
    np.testing.assert_array_equal(indices, places.numpy())


@pytest.mark.peers
@pytest.mark.parametrize(("ndim", "options"), AVG, ids=str)
def test_average_pooling_is_torchs(ndim, options):
    name = f"avg_pool{ndim}d"
    ours, theirs = getattr(F, name), torch_function(name)
    assert_like_torch(lambda x: ours(x, **options), lambda x: theirs(x, **options), X[ndim])


@pytest.mark.peers
@pytest.mark.parametrize("kind", ["avg", "max"])
@pytest.mark.parametrize(
    ("ndim", "size"),
    [(1, 1), (1, 3), (1, 4), (1, 12), (2, 1), (2, (7, 3)), (2, (3, 4)), (2, (None, 2)), (2, (9, 1)), (3, (1, 2, 4))],
    ids=str,
)
def test_adaptive_pooling_is_torchs(kind, ndim, size):
    name = f"adaptive_{kind}_pool{ndim}d"
    ours, theirs = getattr(F, name), torch_function(name)
    assert_like_torch(lambda x: ours(x, size), lambda x: theirs(x, size), X[ndim])


LP = [
    (1, {"norm_type": 2, "kernel_size": 3}),
    (2, {"norm_type": 2.0, "kernel_size": (2, 3), "stride": (1, 2)}),
    (2, {"norm_type": 3, "kernel_size": 3, "stride": 2, "ceil_mode": True}),
    (2, {"norm_type": 1.5, "kernel_size": 2}),
    (3, {"norm_type": 4, "kernel_size": 2, "ceil_mode": True}),
]


@pytest.mark.peers
@pytest.mark.parametrize(("ndim", "options"), LP, ids=str)
def test_power_pooling_is_torchs(ndim, options):
    name = f"lp_pool{ndim}d"
    ours, theirs = getattr(F, name), torch_function(name)
    x = X[ndim] if options["norm_type"] % 2 == 0 else abs(X[ndim]) + 0.1
    assert_like_torch(lambda x: ours(x, **options), lambda x: theirs(x, **options), x)
    layer = getattr(nn, f"LPPool{ndim}d")(**options)
    np.testing.assert_array_equal(layer(x), ours(x, **options))


@pytest.mark.peers
@pytest.mark.parametrize("shape", [(3, 7, 6), (0, 3, 7, 6), (2, 3, 1, 1), (1, 1, 2, 3)], ids=str)
@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d"])
def test_images_without_batch_and_of_odd_sizes_are_pooled(name, shape):
    ours, theirs = getattr(F, name), torch_function(name)
    x = np.random.default_rng(2).standard_normal(shape)
    options = {"kernel_size": 3, "stride": 2, "padding": 1}
    assert_like_torch(lambda x: ours(x, **options), lambda x: theirs(x, **options), x)


def test_layers_take_torchs_arguments_and_print_them():
    x = X[2].astype("float32")
    model = nn.Sequential(nn.MaxPool2d(2), nn.AvgPool2d(3, stride=1, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    value = nn.functional_call(model, {}, x)
    pooled = F.adaptive_avg_pool2d(F.avg_pool2d(F.max_pool2d(x, 2), 3, 1, 1), 1)
    np.testing.assert_array_equal(value, pooled[:, :, 0, 0])
    assert "kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False" in repr(model)


def test_max_pooling_keeps_small_places_for_the_backward_and_not_its_input():
    x = gl.spec((8, 16, 32, 32))
    graph = gl.trace(gl.grad(lambda x: F.max_pool2d(x * x, 2).sum()), x)
    puts = [node for node in graph.nodes if node.op.name == "window_put"]
    assert [str(v.type) for v in puts[0].inputs] == ["f32[8,16,16,16]", "u8[8,16,16,16]"]


@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d"])
def test_the_bits_do_not_depend_on_the_threads(name):
    x = np.random.default_rng(0).standard_normal((8, 24, 33, 31)).astype("float32")

    def f(x):
        return (getattr(F, name)(x, 3, 2, 1) ** 2).sum()

    results = [gl.compile(gl.grad(f), threads=threads)(x) for threads in (1, 2, 4)]
    for result in results[1:]:
        assert result.tobytes() == results[0].tobytes()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: F.max_pool2d(x[0, 0], 2), ValueError, r"max_pool2d: the input is \(N, C, H, W\) or \(C, H, W\)"),
        (lambda x: F.max_pool2d(x, 9), ValueError, r"a window of \(9, 9\).* does not fit \(2, 3, 7, 6\) float64"),
        (lambda x: F.max_pool2d(x, 2, padding=2), ValueError, "padding 2 is more than half of a window"),
        (lambda x: F.lp_pool2d(x, 0, 2), ValueError, "norm_type is a number other than 0, got 0"),
        (lambda x: F.avg_pool2d(x, 0), ValueError, "kernel_size is a whole number or 2 of them, 1 or more, got 0"),
        (lambda x: F.avg_pool2d(x, (2, 2, 2)), ValueError, "kernel_size is a whole number or 2 of them"),
        (lambda x: F.avg_pool2d(x, 2, divisor_override=0), ValueError, "divisor_override"),
        (lambda x: F.max_pool2d(x.astype("int64"), 2), TypeError, r"takes floats.*astype\('float32'\)"),
        (lambda x: F.adaptive_avg_pool2d(x, (2, 2, 2)), ValueError, "output_size is one number or 2"),
        (lambda x: F.adaptive_max_pool2d(x, 0), ValueError, "output_size is a whole number or 2 of them, 1 or more"),
        (lambda x: F.adaptive_avg_pool2d(x[:, :, :0], 2), ValueError, "there is nothing to pool"),
    ],
)
def test_what_cannot_be_pooled_is_refused_with_the_users_line(call, error, message):
    with pytest.raises(error, match=rf"{message}.*, at .*test_pooling.py:\d+"):
        gl.trace(call, gl.spec(SHAPES[2], "float64"))
