"""Normalizations as part of the layers before them, norms of several arrays, and modules that draw nothing."""

from __future__ import annotations

from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn

pytestmark = pytest.mark.usefixtures("one_thread_for_torch")

RNG = np.random.default_rng(0)
PAIRS = {
    "convolution": (lambda n: n.Conv2d(3, 4, 3), lambda n: n.BatchNorm2d(4), (2, 3, 5, 6)),
    "without a bias": (lambda n: n.Conv1d(4, 6, 2, bias=False, groups=2), lambda n: n.BatchNorm1d(6), (2, 4, 5)),
    "transposed": (lambda n: n.ConvTranspose1d(3, 4, 2), lambda n: n.BatchNorm1d(4, affine=False), (2, 3, 5)),
    "linear": (lambda n: n.Linear(3, 4), lambda n: n.BatchNorm1d(4, eps=0.1), (5, 3)),
}


def _loaded(n: Any, pair: str) -> tuple[nn.Module, nn.Module]:
    layer, norm = (make(n) for make in PAIRS[pair][:2])
    for module in (layer, norm):
        values = {name: np.abs(RNG.standard_normal(a.shape)) + 0.1 for name, a in module.state_dict().items() if a.ndim}
        module.load_state_dict(values, strict=False)
        module.to("float64").eval()
    return layer, norm


@pytest.mark.parametrize("pair", PAIRS)
def test_a_fused_layer_does_what_both_do(pair: str) -> None:
    layer, norm = _loaded(nn, pair)
    x = RNG.standard_normal(PAIRS[pair][2])
    if pair == "linear":
        fused = nn.utils.fuse_linear_bn_eval(layer, norm)
    else:
        fused = nn.utils.fuse_conv_bn_eval(layer, norm, transpose=pair == "transposed")
    before = nn.functional_call(norm, norm.state_dict(), nn.functional_call(layer, layer.state_dict(), x))
    np.testing.assert_allclose(nn.functional_call(fused, fused.state_dict(), x), before, rtol=1e-12)
    assert type(fused) is type(layer)
    assert fused.bias.shape == norm.running_mean.shape


@pytest.mark.peers
def test_fused_weights_are_torchs() -> None:
    torch = pytest.importorskip("torch")
    theirs = torch.nn.utils
    weight, matrix, each = RNG.random((4, 4, 3)), RNG.random((4, 2)), list(RNG.random((5, 4)))
    for arguments in ((each[0], *each[1:3], 0.1, *each[3:]), (None, *each[1:3], 0.1, None, None)):
        tensors = [torch.tensor(a) if isinstance(a, np.ndarray) else a for a in arguments]
        for transpose in (False, True):
            expected = theirs.fuse_conv_bn_weights(torch.tensor(weight), *tensors, transpose)
            for mine, other in zip(nn.utils.fuse_conv_bn_weights(weight, *arguments, transpose), expected, strict=True):
                np.testing.assert_allclose(mine, other.detach().numpy(), rtol=1e-12)
    arguments = (each[0], *each[1:3], 0.1, *each[3:])
    tensors = [torch.tensor(a) if isinstance(a, np.ndarray) else a for a in arguments]
    expected = theirs.fuse_linear_bn_weights(torch.tensor(matrix), *tensors)
    for mine, other in zip(nn.utils.fuse_linear_bn_weights(matrix, *arguments), expected, strict=True):
        np.testing.assert_allclose(mine, other.detach().numpy(), rtol=1e-12)


@pytest.mark.peers
def test_total_norms_are_torchs() -> None:
    torch = pytest.importorskip("torch")
    arrays = [RNG.standard_normal((3, 2)), np.zeros(2), RNG.standard_normal(())]
    for p in (1, 2, 3.5, np.inf, 0):
        for some in (arrays, arrays[0], []):
            tensors = torch.tensor(some) if isinstance(some, np.ndarray) else [torch.tensor(a) for a in some]
            expected = torch.nn.utils.get_total_norm(tensors, p)
            np.testing.assert_allclose(nn.utils.get_total_norm(some, p), expected, rtol=1e-6)
    compiled = gl.compile(lambda a, b: nn.utils.get_total_norm([a, b]))
    np.testing.assert_allclose(compiled(*arrays[:2]), np.linalg.norm(arrays[0]))


def test_what_cannot_be_is_refused() -> None:
    conv, norm = nn.Conv1d(2, 3, 1), nn.BatchNorm1d(3)
    with pytest.raises(RuntimeError, match=r"both are in evaluation; write conv\.eval\(\)"):
        nn.utils.fuse_conv_bn_eval(conv, norm)
    with pytest.raises(RuntimeError, match="bn has no running statistics"):
        nn.utils.fuse_conv_bn_eval(conv.eval(), nn.BatchNorm1d(3, track_running_stats=False).eval())
    with pytest.raises(ValueError, match="one for each output, got 3 outputs and 2 statistics"):
        nn.utils.fuse_conv_bn_weights(np.ones((3, 2, 1)), None, np.ones(2), np.ones(2), 0.1, None, None)
    with pytest.raises(NotImplementedError, match="return the norm, and look at it"):
        nn.utils.get_total_norm([np.ones(2)], error_if_nonfinite=True)
    with pytest.raises(TypeError, match="a class of modules is expected, got <function"):
        nn.utils.skip_init(lambda: nn.ReLU())
    assert nn.utils.skip_init(nn.Linear, 3, out_features=4).weight.shape == (4, 3)
    for name, instead in (
        ("stateless", "nn.functional_call"),
        ("convert_conv2d_weight_memory_format", "the layer itself"),
    ):
        with pytest.raises(AttributeError, match=instead):
            getattr(nn.utils, name)
