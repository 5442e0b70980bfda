"""Initial values have torch's distributions."""

import math
import re

import numpy as np
import pytest
from gradloom import nn
from gradloom.nn import init


def drawn(initializer, shape=(400, 300)):
    return nn.Parameter(shape, "float32", initializer).initial("x")


@pytest.mark.parametrize(
    ("initializer", "std", "bound"),
    [
        (init.kaiming_normal(nonlinearity="relu"), math.sqrt(2 / 300), None),
        (init.kaiming_normal(mode="fan_out", nonlinearity="tanh"), 5 / 3 / math.sqrt(400), None),
        (init.kaiming_uniform(a=math.sqrt(5)), 1 / math.sqrt(900), 1 / math.sqrt(300)),
        (init.lecun_normal(), 1 / math.sqrt(300), None),
        (init.lecun_uniform(), 1 / math.sqrt(300), math.sqrt(3 / 300)),
        (init.xavier_normal(gain=2), 2 * math.sqrt(2 / 700), None),
        (init.xavier_uniform(), math.sqrt(2 / 700), math.sqrt(6 / 700)),
        (init.normal(0, 0.3), 0.3, None),
        (init.uniform(-2, 2), 4 / math.sqrt(12), 2),
        (init.trunc_normal(std=1, a=-2, b=2), 0.8796, 2),
    ],
)
def test_the_standard_deviation_and_bound_are_the_formulas(initializer, std, bound):
    array = drawn(initializer)
    assert array.dtype == np.float32
    assert abs(array.mean()) < 4 * std / math.sqrt(array.size)
    np.testing.assert_allclose(array.std(), std, rtol=0.01)
    if bound is not None:
        assert bound * 0.999 < np.abs(array).max() <= bound * (1 + 1e-6)


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5), (4, 3, 2)])
def test_orthogonal_rows_or_columns_are_orthonormal_times_the_gain(shape):
    flat = drawn(init.orthogonal(gain=3), shape).reshape(shape[0], -1).astype(np.float64)
    gram = flat @ flat.T if flat.shape[0] <= flat.shape[1] else flat.T @ flat
    np.testing.assert_allclose(gram, 9 * np.eye(len(gram)), atol=1e-5)


@pytest.mark.peers
def test_identities_are_torchs():
    torch = pytest.importorskip("torch")
    for shape, groups in (((4, 3, 3), 1), ((6, 2, 3, 4), 3), ((2, 3, 1, 2, 3), 1)):
        expected = torch.nn.init.dirac_(torch.empty(shape), groups).numpy()
        np.testing.assert_array_equal(init.dirac_(nn.Parameter(shape), groups).initial("x"), expected)
    np.testing.assert_array_equal(init.eye_(nn.Parameter((3, 5))).initial("x"), np.eye(3, 5))


def test_sparse_columns_have_as_many_zeros():
    array = init.sparse_(nn.Parameter((10, 30)), 0.25, std=2.0).initial("x")
    assert ((array == 0).sum(axis=0) == 3).all()
    assert len(set(map(tuple, (array == 0).T))) > 20
    np.testing.assert_allclose(array[array != 0].std(), 2, rtol=0.15)
    for initializer, shape in ((init.sparse(0.5), (3,)), (init.eye(), (3,)), (init.dirac(2), (3, 3, 3))):
        with pytest.raises(ValueError, match=f"parameter x: .* got shape {re.escape(str(shape))}"):
            drawn(initializer, shape)
    with pytest.raises(ValueError, match="sparsity is from 0 to 1, got 2"):
        init.sparse(2)
    with pytest.raises(ValueError, match="groups is 1 or more, got 0"):
        init.dirac(0)


@pytest.mark.peers
def test_layers_begin_as_torchs():
    torch = pytest.importorskip("torch")
    for ours, theirs in (
        (nn.Linear(200, 300), torch.nn.Linear(200, 300)),
        (nn.Embedding(300, 40), torch.nn.Embedding(300, 40)),
        (nn.LayerNorm((4, 5)), torch.nn.LayerNorm((4, 5))),
    ):
        values = nn.init_parameters(ours)
        expected = {name: p.detach().numpy() for name, p in theirs.named_parameters()}
        assert {n: v.shape for n, v in values.items()} == {n: v.shape for n, v in expected.items()}
        for name, array in expected.items():
            np.testing.assert_allclose(values[name].std(), array.std(), rtol=0.15)
            np.testing.assert_allclose(np.abs(values[name]).max(), np.abs(array).max(), rtol=0.25)


@pytest.mark.peers
@pytest.mark.parametrize("name", ["linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu"])
def test_gains_are_torchs(name):
    torch = pytest.importorskip("torch")
    assert init.calculate_gain(name) == torch.nn.init.calculate_gain(name)
    assert init.calculate_gain("leaky_relu", 0.2) == torch.nn.init.calculate_gain("leaky_relu", 0.2)


def test_names_with_an_underscore_set_the_initializer_of_a_parameter():
    layer = nn.Linear(3, 4)
    assert init.zeros_(layer.bias) is layer.bias
    init.kaiming_normal_(layer.weight, nonlinearity="relu")
    values = nn.init_parameters(layer)
    assert not values["bias"].any()
    expected = nn.Parameter((4, 3), "float32", init.kaiming_normal(nonlinearity="relu")).initial("weight")
    np.testing.assert_array_equal(values["weight"], expected)


def test_the_padding_row_of_an_embedding_is_zeros():
    array = nn.init_parameters(nn.Embedding(5, 3, padding_idx=-2))["weight"]
    assert not array[3].any()
    assert array[2].all()


def test_what_cannot_be_initialized_is_named():
    with pytest.raises(ValueError, match=r"parameter x: fan_in and fan_out need a weight of two axes"):
        drawn(init.kaiming_normal(), (3,))
    with pytest.raises(ValueError, match="no gain is known for the nonlinearity 'cosine'"):
        init.kaiming_normal(nonlinearity="cosine")
    with pytest.raises(ValueError, match="mode is 'fan_in' or 'fan_out'"):
        init.kaiming_normal(mode="fan")
    with pytest.raises(
        ValueError, match=r"parameter x: an array of shape \(2,\) cannot be the initial value of shape \(3,\)"
    ):
        drawn(init.constant(np.zeros(2)), (3,))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (nn.init.zeros, r"nn.init.zeros is no initializer itself; write nn.init.zeros\(\.\.\.\), at .*test_init"),
        (nn.init.normal_, r"nn.init.normal_ is no initializer itself; write nn.init.normal\("),
        (0.0, r"an initializer is made by nn.init, such as nn.init.normal\(std=0.02\), .*; got 0.0, at .*test_init"),
    ],
)
def test_what_is_no_initializer_is_refused_where_it_is_given(given, message):
    for make in (nn.Parameter, nn.Buffer):
        with pytest.raises(TypeError, match=message):
            make((2, 3), "float32", given)


def test_seeds_are_those_of_steps():
    weight = nn.Parameter((3, 4))
    assert init.normal_(weight, generator=None) is weight
    with pytest.raises(TypeError, match=r"generator=.*; leave it away: gl\.compile_step\(\.\.\., seed=0\)"):
        init.xavier_uniform_(weight, generator=np.random.default_rng(0))
