"""NumPy numbers are numbers for every layer and function, and never make float32 float64; booleans are none."""

import copy
import inspect
import pickle
import re

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn, optim

X = np.linspace(-2, 2, 24, dtype="float32").reshape(2, 3, 4)
IMAGES = np.linspace(-1, 1, 2 * 4 * 6 * 6, dtype="float32").reshape(2, 4, 6, 6)
KERNEL = np.linspace(-1, 1, 4 * 4 * 3 * 3, dtype="float32").reshape(4, 4, 3, 3)
LABELS = np.array([0, -100])
F = nn.functional

FUNCTIONS = [
    (F.leaky_relu, (X,), {"negative_slope": 0.1}),
    (F.elu, (X,), {"alpha": 0.5}),
    (F.softplus, (X,), {"beta": 2.0, "threshold": 10.0}),
    (F.softmax, (X,), {"axis": 1}),
    (F.layer_norm, (X,), {"normalized_shape": (4,), "eps": 0.125}),
    (F.group_norm, (IMAGES,), {"num_groups": 2, "eps": 0.125}),
    (F.instance_norm, (IMAGES,), {"eps": 0.125}),
    (F.normalize, (X,), {"p": 3.0, "axis": 1, "eps": 1e-6}),
    (F.huber_loss, (X, -X), {"delta": 0.5}),
    (F.smooth_l1_loss, (X, -X), {"beta": 0.5}),
    (F.cross_entropy, (X[:, :, 0], LABELS), {"label_smoothing": 0.1, "ignore_index": -100}),
    (F.max_pool2d, (IMAGES,), {"kernel_size": 2, "stride": 1, "padding": 1, "dilation": 1}),
    (F.avg_pool2d, (IMAGES,), {"kernel_size": (2, 3), "stride": 1, "padding": 1}),
    (F.lp_pool2d, (IMAGES,), {"norm_type": 2.0, "kernel_size": 2, "stride": 2}),
    (F.adaptive_avg_pool2d, (IMAGES,), {"output_size": (3, 2)}),
    (F.conv2d, (IMAGES, KERNEL), {"stride": 1, "padding": (1, 0), "dilation": 1, "groups": 1}),
    (F.conv_transpose2d, (IMAGES, KERNEL), {"stride": 2, "padding": 1, "output_padding": 1}),
    (F.pad, (IMAGES,), {"pad": (1, 2), "value": 0.5}),
    (F.interpolate, (IMAGES,), {"scale_factor": 2.0}),
    (F.pixel_shuffle, (IMAGES,), {"upscale_factor": 2}),
    (F.one_hot, (np.array([0, 1]),), {"num_classes": 3}),
    (F.scaled_dot_product_attention, (X, X, X), {"scale": 0.5}),
]


def numpy_forms(value):
    """The same number, or numbers, as NumPy has them."""
    if isinstance(value, tuple):
        return [tuple(map(np.int64, value)), np.array(value)]
    if isinstance(value, int):
        return [np.int32(value), np.int64(value), np.array(value)]
    return [np.float32(value), np.float64(value), np.array(value)]


@pytest.mark.parametrize(("fn", "arrays", "options"), FUNCTIONS, ids=[fn.__name__ for fn, _, _ in FUNCTIONS])
def test_functions_take_numpy_numbers(fn, arrays, options):
    def run(**changed):
        return gl.interpret(gl.trace(lambda *given: fn(*given, **{**options, **changed}), *arrays), *arrays)[0]

    plain = run()
    for name, value in options.items():
        for form in numpy_forms(value):
            got = run(**{name: form})
            assert got.dtype == plain.dtype
            np.testing.assert_allclose(got, plain, rtol=1e-6, atol=1e-7)
        for no_number in (True, np.True_, np.array(True)):
            with pytest.raises(TypeError, match=f"{fn.__name__}: {name} is a number, got .*test_numbers"):
                run(**{name: no_number})


LAYERS = [
    (nn.Linear, {"in_features": 3, "out_features": 2}),
    (nn.Conv2d, {"in_channels": 4, "out_channels": 2, "kernel_size": 3, "stride": 1, "padding": (1, 2)}),
    (nn.ConvTranspose1d, {"in_channels": 4, "out_channels": 2, "kernel_size": 3, "output_padding": 0}),
    (nn.BatchNorm2d, {"num_features": 4, "eps": 0.125, "momentum": 0.25}),
    (nn.LayerNorm, {"normalized_shape": (3, 4), "eps": 0.125}),
    (nn.GroupNorm, {"num_groups": 2, "num_channels": 4, "eps": 0.125}),
    (nn.Dropout, {"p": 0.25}),
    (nn.LeakyReLU, {"negative_slope": 0.25}),
    (nn.Embedding, {"num_embeddings": 5, "embedding_dim": 4, "padding_idx": 1}),
    (nn.MaxPool2d, {"kernel_size": 2, "stride": 2}),
    (nn.AdaptiveAvgPool2d, {"output_size": 2}),
    (nn.Flatten, {"start_dim": 1, "end_dim": 2}),
    (nn.LSTM, {"input_size": 3, "hidden_size": 4, "num_layers": 2, "dropout": 0.0}),
    (nn.MultiheadAttention, {"embed_dim": 4, "num_heads": 2, "dropout": 0.0}),
    (nn.TransformerEncoderLayer, {"d_model": 4, "nhead": 2, "dim_feedforward": 8, "dropout": 0.25}),
]


@pytest.mark.parametrize(("layer", "options"), LAYERS, ids=[layer.__name__ for layer, _ in LAYERS])
def test_layers_take_numpy_numbers(layer, options):
    plain = layer(**options)
    for name, value in options.items():
        for form in numpy_forms(value):
            made = layer(**{**options, name: form})
            assert repr(made) == repr(plain)
            assert [(n, p.type) for n, p in made.stored_parameters()] == [
                (n, p.type) for n, p in plain.stored_parameters()
            ]
        with pytest.raises(TypeError, match=f"{layer.__name__}: {name} is a number, got True.*test_numbers"):
            layer(**{**options, name: True})


def test_functions_and_layers_stay_what_they_are():
    assert pickle.loads(pickle.dumps(F.leaky_relu)) is F.leaky_relu is nn.leaky_relu
    assert list(inspect.signature(nn.Linear).parameters)[:2] == ["in_features", "out_features"]
    model = nn.TransformerEncoderLayer(4, 2, activation=F.gelu)
    assert repr(pickle.loads(pickle.dumps(model))) == repr(copy.deepcopy(model)) == repr(model)


def test_initializers_take_numpy_numbers():
    generator = np.random.default_rng
    shape, dtype = (3, 4), np.dtype("float32")
    for make, value in ((nn.init.normal, 0.5), (nn.init.orthogonal, 2.0), (nn.init.kaiming_uniform, 0.25)):
        plain = make(value)(generator(0), shape, dtype)
        for form in numpy_forms(value):
            np.testing.assert_array_equal(make(form)(generator(0), shape, dtype), plain)
        with pytest.raises(TypeError, match=re.escape(make.__name__)):
            make(True)


def test_options_of_a_step_take_numpy_numbers():
    arguments = nn.Linear(3, 2), lambda model, x: model(x).mean(), optim.SGD(0.1), gl.spec((4, 3))
    options = {"clip_norm": np.float32(1), "clip_value": np.array(2.0), "accumulate": np.int64(2)}
    plain = {name: value.item() for name, value in options.items()}
    reports = [gl.plan_step(*arguments, **given).report.to_json() for given in (options, plain)]
    assert reports[0] == reports[1]
    for name in options:
        with pytest.raises(ValueError, match=f"{name} is a .*got True"):
            gl.plan_step(*arguments, **{name: True})
    with pytest.raises(ValueError, match="a seed is 0 or more, and whole, got True"):
        gl.compile_step(*arguments, seed=True)
