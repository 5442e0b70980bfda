"""Interpolation, padding, shuffling of pixels and dropout of channels, against torch in float64."""

import gradloom as gl
import numpy as np
import pytest
from against_torch import assert_like_torch
from gradloom import nn

pytestmark = pytest.mark.usefixtures("one_thread_for_torch")

F = nn.functional
RNG = np.random.default_rng(0)
X = {n: RNG.standard_normal((2, 3, *lengths)) for n, lengths in {1: (7,), 2: (5, 6), 3: (3, 4, 2)}.items()}


def torch_function(name):
    return getattr(pytest.importorskip("torch").nn.functional, name)


INTERPOLATION = [
    (1, {"size": 3}),
    (1, {"scale_factor": 2}),
    (1, {"size": 11, "mode": "linear"}),
    (1, {"size": 1, "mode": "linear", "align_corners": True}),
    (2, {"scale_factor": 2}),
    (2, {"size": (5, 6)}),
    (2, {"size": (8, 3)}),
    (2, {"scale_factor": 1.7}),
    (2, {"scale_factor": (0.5, 3)}),
    (2, {"scale_factor": 1.7, "recompute_scale_factor": True, "mode": "bilinear"}),
    (2, {"scale_factor": 2.3, "mode": "nearest-exact"}),
    (2, {"size": (3, 9), "mode": "nearest-exact"}),
    (2, {"size": (3, 4), "mode": "area"}),
    *((2, {"mode": mode, "align_corners": corners, **size})
      for mode in ("bilinear", "bicubic")
      for corners in (False, True)
      for size in ({"scale_factor": 2}, {"scale_factor": (0.6, 1.3)}, {"size": (9, 4)}, {"size": 1})),
    *((2, {"mode": mode, "align_corners": corners, "antialias": True, **size})
      for mode, corners in (("bilinear", False), ("bicubic", True))
      for size in ({"scale_factor": (0.6, 1.3)}, {"size": (2, 9)})),
    (2, {"mode": "bilinear", "scale_factor": 2}),
    (3, {"scale_factor": 2}),
    (3, {"size": (5, 3, 4), "mode": "trilinear"}),
    (3, {"size": (5, 3, 4), "mode": "trilinear", "align_corners": True}),
]  # fmt: skip


@pytest.mark.peers
@pytest.mark.parametrize(("ndim", "options"), INTERPOLATION, ids=str)
def test_interpolation_is_torchs(ndim, options):
    theirs = torch_function("interpolate")
    assert_like_torch(lambda x: F.interpolate(x, **options), lambda x: theirs(x, **options), X[ndim])


@pytest.mark.peers
@pytest.mark.parametrize("shape", [(0, 2, 3, 3), (1, 1, 1, 1)], ids=str)
@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
def test_odd_images_are_interpolated(shape, mode):
    theirs = torch_function("interpolate")
    x = np.ones(shape)
    if shape[0]:
        assert_like_torch(lambda x: F.interpolate(x, size=4, mode=mode), lambda x: theirs(x, size=4, mode=mode), x)
    else:
        assert gl.compile(lambda x: F.interpolate(x, size=4, mode=mode))(x).shape == (0, 2, 4, 4)


@pytest.mark.peers
def test_nearest_indices_are_rounded_as_torch_rounds_them():
    theirs = torch_function("interpolate")
    torch = pytest.importorskip("torch")
    for dtype in ("float32", "float64"):
        for n in range(1, 40):
            x = np.arange(n, dtype=dtype).reshape(1, 1, n)
            for out in (1, 3, 7, 10, 23, 38):
                for mode in ("nearest", "nearest-exact"):
                    expected = theirs(torch.tensor(x), size=out, mode=mode)
                    np.testing.assert_array_equal(F.interpolate(x, size=out, mode=mode), expected.numpy())


def test_a_whole_scale_needs_no_look_up():
    graph = gl.trace(gl.grad(lambda x: F.interpolate(x, scale_factor=2).sum()), gl.spec((2, 3, 4, 4)))
    assert not any(node.op.family == "indexing" for node in graph.nodes)


@pytest.mark.peers
@pytest.mark.parametrize("call", [
    lambda f, x: f.interpolate(x, scale_factor=2, mode="bilinear"),
    lambda f, x: f.interpolate(x, size=(50, 90), mode="bicubic"),
    lambda f, x: f.pad(x, (9, 8, 7, 6), mode="reflect"),
])  # fmt: skip
def test_large_images_are_torchs_with_the_same_bits_for_any_number_of_threads(call):
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).standard_normal((4, 3, 70, 66))
    assert_like_torch(lambda x: call(F, x), lambda x: call(torch.nn.functional, x), x, second=False)
    gradient = gl.grad(lambda x: (call(F, x) ** 2).sum())
    results = [gl.compile(gradient, threads=threads)(x.astype("float32")).tobytes() for threads in (1, 2, 4)]
    assert results[0] == results[1] == results[2]


PADS = [
    (2, (1, 2), {}),
    (2, (1, 2, 0, 3), {"value": 1.5}),
    (2, (-1, 2, 1, -2), {}),
    (2, (-2, -1, 0, 0, 1, 1), {"value": -1.0}),
    (1, (3, 2), {"mode": "reflect"}),
    (2, (3, 2, 4, 1), {"mode": "reflect"}),
    (2, (3, 9, 6, 1), {"mode": "replicate"}),
    (2, (6, 2, 1, 5), {"mode": "circular"}),
    (3, (1, 1, 2, 0, 1, 2), {"mode": "reflect"}),
    (3, (1, 3, 2, 0, 1, 2), {"mode": "replicate"}),
    (3, (1, 2, 2, 0, 1, 2), {"mode": "circular"}),
    (2, (2, -1, -2, 3), {"mode": "circular"}),
    (2, (2, -1, -2, 3), {"mode": "reflect"}),
    (2, (2, -1, -2, 3), {"mode": "replicate"}),
    (2, (), {}),
]


@pytest.mark.peers
@pytest.mark.parametrize(("ndim", "widths", "options"), PADS, ids=str)
def test_padding_is_torchs(ndim, widths, options):
    theirs = torch_function("pad")
    assert_like_torch(lambda x: F.pad(x, widths, **options), lambda x: theirs(x, widths, **options), X[ndim])


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
def test_an_empty_batch_is_padded(mode):
    assert F.pad(np.zeros((0, 2, 3, 4)), (1, 2, 1, 0), mode=mode).shape == (0, 2, 4, 7)


@pytest.mark.peers
@pytest.mark.parametrize("kind", ["Zero", "Constant", "Reflection", "Replication", "Circular"])
@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("batched", [True, False])
def test_padding_layers_are_torchs(kind, ndim, batched):
    torch = pytest.importorskip("torch")
    name = f"{kind}Pad{ndim}d"
    value = {"value": 2.5} if kind == "Constant" else {}
    x = X[ndim] if batched else X[ndim][0]
    for padding in (1, (1, 0) * ndim):
        ours, theirs = getattr(nn, name)(padding, **value), getattr(torch.nn, name)(padding, **value)
        np.testing.assert_array_equal(nn.functional_call(ours, {}, x), theirs(torch.tensor(x)).numpy())


@pytest.mark.peers
def test_pixels_are_shuffled_as_torch_does():
    x = RNG.standard_normal((2, 12, 3, 5))
    theirs = torch_function("pixel_shuffle")
    assert_like_torch(lambda x: F.pixel_shuffle(x, 2), lambda x: theirs(x, 2), x)
    back = torch_function("pixel_unshuffle")
    x = RNG.standard_normal((2, 3, 6, 10))
    assert_like_torch(lambda x: F.pixel_unshuffle(x, 2), lambda x: back(x, 2), x)
    layers = nn.Sequential(nn.PixelUnshuffle(2), nn.PixelShuffle(2))
    np.testing.assert_array_equal(nn.functional_call(layers, {}, x), x)


@pytest.mark.parametrize(
    ("layer", "shape", "leading"),
    [
        (nn.Dropout1d, (40, 30, 5), 2),
        (nn.Dropout1d, (600, 5), 1),
        (nn.Dropout2d, (40, 30, 4, 5), 2),
        (nn.Dropout2d, (40, 30, 5), 2),
        (nn.Dropout3d, (40, 30, 2, 3, 2), 2),
    ],
)
def test_whole_channels_are_dropped(layer, shape, leading):
    x = np.ones(shape, "float32")

    def run(key, x):
        with gl.random.key(key):
            return nn.functional_call(layer(0.25), {}, x, training=True)

    y = gl.compile(run)(np.int64(3), x)
    channels = y.reshape(*shape[:leading], -1)
    assert (channels == channels[..., :1]).all()
    kept = channels[..., 0] != 0
    np.testing.assert_allclose(channels[..., 0][kept], 1 / 0.75, rtol=1e-6)
    assert abs(kept.mean() - 0.75) < 0.06
    np.testing.assert_array_equal(nn.functional_call(layer(0.25), {}, x), x)


@pytest.mark.peers
def test_upsampling_layers_are_torchs():
    torch = pytest.importorskip("torch")
    x = X[2]
    for name, options in (
        ("Upsample", {"scale_factor": 2, "mode": "bilinear"}),
        ("Upsample", {"size": (7, 4)}),
        ("UpsamplingNearest2d", {"scale_factor": 3}),
        ("UpsamplingBilinear2d", {"size": (9, 9)}),
    ):
        value = nn.functional_call(getattr(nn, name)(**options), {}, x)
        np.testing.assert_allclose(value, getattr(torch.nn, name)(**options)(torch.tensor(x)).numpy(), rtol=1e-12)


@pytest.mark.peers
def test_flatten_and_unflatten_are_torchs():
    torch = pytest.importorskip("torch")
    x = RNG.standard_normal((2, 12, 5))
    for name, arguments in (
        ("Flatten", (0, 1)),
        ("Flatten", ()),
        ("Unflatten", (1, (3, -1))),
        ("Unflatten", (-1, (5, 1))),
    ):
        value = nn.functional_call(getattr(nn, name)(*arguments), {}, x)
        np.testing.assert_array_equal(value, getattr(torch.nn, name)(*arguments)(torch.tensor(x)).numpy())


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: F.interpolate(x), ValueError, "one of size and scale_factor"),
        (lambda x: F.interpolate(x, size=4, scale_factor=2), ValueError, "one of size and scale_factor"),
        (lambda x: F.interpolate(x, size=4, mode="linear"), ValueError, r"mode 'linear' does not take \(2, 3, 5, 6\)"),
        (lambda x: F.interpolate(x, size=4, mode="cubic"), ValueError, "mode is one of nearest"),
        (lambda x: F.interpolate(x, scale_factor=0.1), ValueError, "leaves nothing"),
        (lambda x: F.interpolate(x, scale_factor=-1), ValueError, "scale_factor is a number above 0"),
        (lambda x: F.interpolate(x, size=4, align_corners=True), ValueError, "align_corners goes with"),
        (lambda x: F.interpolate(x, size=4, antialias=True), ValueError, "antialias goes with bilinear and bicubic"),
        (lambda x: F.pad(x, (1, 2, 3)), ValueError, "pairs of whole numbers"),
        (lambda x: F.pad(x, (6, 0), "reflect"), ValueError, "'reflect' adds at most 5 elements to axis 3"),
        (lambda x: F.pad(x, (0, 7), "circular"), ValueError, "'circular' adds at most 6 elements to axis 3"),
        (lambda x: F.pad(x, (-4, -4)), ValueError, "leave nothing of axis 3"),
        (lambda x: F.pad(x, (1, 1), "mirror"), ValueError, "mode is one of constant, reflect, replicate, circular"),
        (lambda x: F.pixel_shuffle(x, 2), ValueError, "multiple of 2²"),
        (lambda x: F.pixel_unshuffle(x, 4), ValueError, "multiples of 4"),
        (lambda x: F.dropout2d(x[0, 0]), ValueError, "dropout2d: the input has 4 or 3 axes"),
        (lambda x: nn.ZeroPad2d(1)(x[0, 0]), ValueError, "ZeroPad2d: the input has 3 or 4 axes"),
        (
            lambda x: nn.Unflatten(1, (2, 2))(x),
            ValueError,
            r"axis 1 of \(2, 3, 5, 6\) float64 does not become \(2, 2\)",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_users_line(call, error, message):
    with pytest.raises(error, match=rf"{message}.*, at .*test_resizing.py:\d+"):
        gl.trace(call, gl.spec((2, 3, 5, 6), "float64"))
