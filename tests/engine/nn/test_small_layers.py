"""Normalization of vectors, bilinear maps, shuffled channels and skip connections."""

from __future__ import annotations

from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn
from torch_rows import Row, assert_row_is_torchs

pytestmark = pytest.mark.usefixtures("one_thread_for_torch")

F = nn.functional
RNG = np.random.default_rng(0)


def _normal(*shape: int) -> Any:
    return RNG.standard_normal(shape)


ROWS = [
    *(
        Row("rms_norm", (_normal(4, 3, 5),), options={"normalized_shape": s, **o})
        for s in ([5], [3, 5])
        for o in ({}, {"eps": 0.1})
    ),
    *(
        Row("local_response_norm", (_normal(*s),), "LocalResponseNorm", o)
        for s in ((2, 5, 4), (2, 5, 3, 4), (1, 6, 2, 3, 2), (2, 1, 3))
        for o in ({"size": 3}, {"size": 2, "alpha": 0.5, "beta": 0.6, "k": 2.0}, {"size": 5, "alpha": 2.0}, {"size": 9})
    ),
    *(
        Row("bilinear", (_normal(*b, 3), _normal(*b, 4), _normal(5, 3, 4), *bias))
        for b in ((), (2,), (2, 1, 6))
        for bias in ((), (_normal(5),))
    ),
    *(
        Row("channel_shuffle", (_normal(*s),), options={"groups": g}, second=False)
        for s in ((2, 6, 4), (1, 6, 2, 3))
        for g in (1, 2, 6)
    ),
    *(
        Row("normalize", (_normal(3, 4, 2),), options=o)
        for o in (
            {},
            {"p": 1.0, "dim": -1},
            {"p": 3.0, "dim": 0, "eps": 0.1},
            {"p": np.inf, "dim": 2},
        )
    ),
]


@pytest.mark.peers
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_functions_are_torchs(dtype: str) -> None:
    for row in ROWS:
        assert_row_is_torchs(row, dtype)


@pytest.mark.peers
@pytest.mark.parametrize(
    ("name", "arguments", "options", "shapes"),
    [
        ("RMSNorm", (5,), {}, [(2, 5)]),
        ("RMSNorm", ([3, 5],), {"eps": 0.1}, [(2, 3, 5)]),
        ("RMSNorm", (5, 0.1, False), {}, [(2, 5)]),
        ("Bilinear", (3, 4, 5), {}, [(2, 3), (2, 4)]),
        ("Bilinear", (3, 4, 5, False), {}, [(3,), (4,)]),
        ("LocalResponseNorm", (2, 0.1, 0.5, 2.0), {}, [(2, 5, 3)]),
        ("ChannelShuffle", (2,), {}, [(2, 6, 3)]),
    ],
)
def test_layers_have_torchs_parameters_and_values(name: str, arguments: Any, options: Any, shapes: Any) -> None:
    torch = pytest.importorskip("torch")
    theirs = getattr(torch.nn, name)(*arguments, **options)
    ours = getattr(nn, name)(*arguments, **options)
    state = {key: value.numpy() for key, value in theirs.state_dict().items()}
    assert {k: v.shape for k, v in nn.init_parameters(ours).items()} == {k: v.shape for k, v in state.items()}
    drawn = {k: _normal(*v.shape).astype("float32") for k, v in state.items()}
    theirs.load_state_dict({k: torch.tensor(v) for k, v in drawn.items()})
    inputs = [_normal(*s).astype("float32") for s in shapes]
    expected = theirs(*map(torch.tensor, inputs)).detach().numpy()
    np.testing.assert_allclose(nn.functional_call(ours, drawn, *inputs), expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(NotImplementedError, match="device="):
        getattr(nn, name)(*arguments, device="cuda")


def test_rms_norm_scales_by_the_mean_square() -> None:
    x, weight = _normal(4, 3), _normal(3)
    expected = x / np.sqrt((x * x).mean(axis=1, keepdims=True) + 0.5) * weight
    np.testing.assert_allclose(F.rms_norm(x, 3, weight, 0.5), expected, rtol=1e-12)
    zero = np.zeros((1, 3), np.float32)
    assert not F.rms_norm(zero, 3).any()
    np.testing.assert_allclose(gl.grad(lambda x: F.rms_norm(x, 3).sum())(zero), np.full((1, 3), 2**11.5), rtol=1e-6)


def test_channels_are_shuffled_between_groups() -> None:
    x = np.arange(6.0).reshape(1, 6, 1)
    np.testing.assert_array_equal(F.channel_shuffle(x, 2).ravel(), [0, 3, 1, 4, 2, 5])
    np.testing.assert_array_equal(nn.ChannelShuffle(3)(nn.ChannelShuffle(2)(x)), x)


def test_residual_adds_what_a_module_makes_to_its_input_or_to_a_shortcut() -> None:
    x = _normal(2, 4)
    layer = nn.Residual(nn.Linear(4, 3), shortcut=nn.Linear(4, 3, bias=False))
    values = {k: _normal(*v.shape) for k, v in nn.init_parameters(layer).items()}
    assert list(values) == ["module.weight", "module.bias", "shortcut.weight"]
    expected = x @ (values["module.weight"] + values["shortcut.weight"]).T + values["module.bias"]
    np.testing.assert_allclose(nn.functional_call(layer, values, x), expected, rtol=1e-12)
    np.testing.assert_array_equal(nn.Residual(nn.Tanh())(x), x + np.tanh(x))
    narrow = nn.Residual(nn.Linear(4, 1))
    with pytest.raises(
        ValueError, match=r"Residual: \(2, 4\) float64 is added to \(2, 1\) float64; shortcut=nn.Linear"
    ):
        nn.functional_call(narrow, nn.init_parameters(narrow), x)


def test_highway_carries_its_input_where_the_gate_is_shut() -> None:
    x = _normal(5, 4)
    layer = nn.Highway(4)
    values = {k: v.astype("float64") for k, v in nn.init_parameters(layer).items()}
    np.testing.assert_array_equal(values["gate.bias"], np.full(4, -2.0))
    gate = F.sigmoid(F.linear(x, values["gate.weight"], values["gate.bias"]))
    inner = F.relu(F.linear(x, values["transform.0.weight"], values["transform.0.bias"]))
    np.testing.assert_allclose(nn.functional_call(layer, values, x), gate * inner + (1 - gate) * x, rtol=1e-12)
    shut = nn.functional_call(layer, {**values, "gate.bias": np.full(4, -100.0)}, x)
    np.testing.assert_allclose(shut, x, rtol=1e-12)


def test_highway_takes_any_transform_that_keeps_the_shape() -> None:
    x = _normal(5, 4)
    for layer in (
        nn.Highway(nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 4)), gate_bias=-1),
        nn.Highway(nn.Tanh(), 4),
        nn.Highway(np.int64(4), dtype="float64"),
    ):
        assert layer.gate.weight.shape == (4, 4)
        assert nn.functional_call(layer, nn.init_parameters(layer), x).shape == x.shape
    with pytest.raises(ValueError, match=r"the length of the last axis: nn.Highway\(module, size\), at \S*test_small"):
        nn.Highway(nn.Tanh())
    with pytest.raises(TypeError, match="expected a module, got a function"):
        nn.Highway(np.tanh, 4)
    changing = nn.Highway(nn.Linear(4, 3))
    with pytest.raises(ValueError, match=r"Highway: \(5, 4\) float64 is added to \(5, 3\) float64"):
        nn.functional_call(changing, nn.init_parameters(changing), x)


def test_a_deep_highway_network_trains_in_a_step() -> None:
    model = nn.Sequential(nn.Linear(3, 8), *(nn.Highway(8) for _ in range(5)), nn.RMSNorm(8), nn.Linear(8, 1))
    batch = {"x": _normal(16, 3).astype("float32"), "y": _normal(16, 1).astype("float32")}
    step = gl.compile_step(model, lambda model, b: F.mse_loss(model(b["x"]), b["y"]), gl.optim.Adam(1e-2), batch)
    losses = [float(step(batch)) for _ in range(30)]
    assert losses[-1] < losses[0]


def test_arguments_that_do_not_fit_are_named() -> None:
    x = np.ones((2, 6, 3))
    for call, message in [
        (lambda: F.rms_norm(x, 6), r"rms_norm: the last axes of \(2, 6, 3\) float64 are not normalized_shape \(6,\)"),
        (lambda: F.rms_norm(x.astype(int), 3), "rms_norm: the input holds floats"),
        (lambda: F.local_response_norm(x[0], 3), r"local_response_norm: the input is \(N, C, ...\) floats"),
        (lambda: F.local_response_norm(x, 0), "size is 1 or more, got 0"),
        (lambda: F.bilinear(x, x, np.ones((4, 3, 2))), r"do not fit weight \(out, in1, in2\) = \(4, 3, 2\)"),
        (lambda: nn.Bilinear(0, 3, 2), "in1_features is 1 or more, got 0"),
        (lambda: F.channel_shuffle(x, 4), r"the channels of \(N, C, ...\) are a multiple of 4, got \(2, 6, 3\)"),
        (lambda: nn.Highway(4, 8), r"the size is given once: nn\.Highway\(4\)"),
        (lambda: nn.ChannelShuffle(0), "groups is 1 or more, got 0"),
        (lambda: F.rms_norm(x, (6, 3), np.ones(3)), r"weight and bias are \(6, 3\), as normalized_shape, got \(3,\)"),
        (lambda: F.layer_norm(x, 3, np.ones(3), np.ones(1)), r"weight and bias are \(3,\).*, got \(1,\) float64"),
    ]:
        with pytest.raises((ValueError, TypeError), match=message + r".*, at \S*test_small_layers\.py:\d+"):
            call()
