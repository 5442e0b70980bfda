"""The transformer's decoder, and encoder and decoder together, against torch; attention with keys behind the sequence,
and with fewer heads of keys than of queries.
"""

import itertools

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn
from modules_against_torch import assert_module_like_torch

pytestmark = pytest.mark.usefixtures("one_thread_for_torch")

F = nn.functional
T, S, N, E, H = 4, 6, 3, 8, 2
RNG = np.random.default_rng(0)
PADDING = np.arange(S) >= np.array([[6], [4], [2]])
HIDDEN = ~np.tri(T, dtype=bool)


def sequence(length, batch_first, width=E):
    return RNG.standard_normal((N, length, width) if batch_first else (length, N, width))


@pytest.mark.peers
@pytest.mark.parametrize(("norm_first", "batch_first", "bias"), list(itertools.product([False, True], repeat=3)))
def test_a_decoder_layer_is_torchs(norm_first, batch_first, bias):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    options = {"norm_first": norm_first, "batch_first": batch_first, "bias": bias, "layer_norm_eps": 1e-3}
    for activation in ("gelu", "relu"):
        ours = nn.TransformerDecoderLayer(E, H, 12, 0.0, activation, **options)
        theirs = torch.nn.TransformerDecoderLayer(E, H, 12, 0.0, activation, **options)
        masks = {
            "tgt_mask": HIDDEN,
            "memory_mask": RNG.random((T, S)) < 0.2,
            "tgt_key_padding_mask": np.arange(T) >= np.array([[4], [3], [1]]),
            "memory_key_padding_mask": PADDING,
        }
        inputs = [sequence(T, batch_first), sequence(S, batch_first)]
        assert_module_like_torch(ours, theirs, *inputs, options=masks if activation == "gelu" else {})


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize(("norm_first", "batch_first"), [(False, False), (True, True)])
def test_a_transformer_is_torchs(norm_first, batch_first):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    sizes = (E, H, 2, 2, 12, 0.0)
    options = {"norm_first": norm_first, "batch_first": batch_first}
    ours = nn.Transformer(*sizes, activation=F.silu, **options)
    theirs = torch.nn.Transformer(*sizes, activation=torch.nn.functional.silu, **options)
    assert [name for name, _ in ours.named_modules()] == [name for name, _ in theirs.named_modules()]
    mask = nn.Transformer.generate_square_subsequent_mask(T, device=None, dtype="float64")
    np.testing.assert_array_equal(mask, theirs.generate_square_subsequent_mask(T).numpy())
    inputs = [sequence(S, batch_first), sequence(T, batch_first)]
    masks = {"tgt_mask": mask, "tgt_is_causal": True, "memory_key_padding_mask": np.where(PADDING, -np.inf, 0)}
    assert_module_like_torch(ours, theirs, *inputs, options=masks)
    assert_module_like_torch(ours, theirs, *(x[:, 0] if not batch_first else x[0] for x in inputs))


def test_a_causal_decoder_needs_no_mask():
    decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(E, H, 12, 0.0), 2, nn.LayerNorm(E)).to("float64")
    values, tgt, memory = nn.init_parameters(decoder), sequence(T, False), sequence(S, False)
    causal = nn.functional_call(decoder, values, tgt, memory, tgt_is_causal=True)
    np.testing.assert_array_equal(causal, nn.functional_call(decoder, values, tgt, memory, HIDDEN))
    later = nn.functional_call(decoder, values, np.concatenate([tgt[:2], tgt[:2]]), memory, tgt_is_causal=True)
    np.testing.assert_allclose(causal[:2], later[:2], rtol=1e-12)
    memory_causal = nn.functional_call(decoder, values, tgt, memory, memory_is_causal=True)
    masked = nn.functional_call(decoder, values, tgt, memory, memory_mask=~np.tri(T, S, dtype=bool))
    np.testing.assert_array_equal(memory_causal, masked)


def test_a_transformer_takes_other_encoders_and_begins_as_xavier_says():
    class Twice(nn.Module):
        def forward(self, src, mask=None, src_key_padding_mask=None, is_causal=None):
            return src * 2

    model = nn.Transformer(E, H, 1, 1, 12, 0.0, custom_encoder=Twice()).to("float64")
    assert {name.partition(".")[0] for name, _ in model.named_parameters()} == {"decoder"}
    assert nn.functional_call(model, nn.init_parameters(model), sequence(S, False), sequence(T, False)).shape == (
        T,
        N,
        E,
    )
    wide = nn.init_parameters(nn.Transformer(64, 4, 1, 1, 32))["encoder.layers.0.linear1.weight"]
    assert 0.2 < abs(wide).max() < (6 / 96) ** 0.5
    with pytest.raises(ValueError, match="'relu', 'gelu' or a function, got 'silu'"):
        nn.TransformerDecoderLayer(E, H, activation="silu")
    with pytest.raises(ValueError, match="num_layers is 0 or more, got -1"):
        nn.TransformerDecoder(nn.TransformerDecoderLayer(E, H), -1)


def test_a_transformer_trains_in_a_step():
    model = nn.Transformer(E, H, 1, 1, 12, 0.1)
    batch = {"x": sequence(S, False).astype("float32"), "y": sequence(T, False).astype("float32")}

    def loss_fn(model, batch):
        return ((model(batch["x"], batch["y"], tgt_is_causal=True) - batch["y"][::-1]) ** 2).mean()

    step = gl.compile_step(model, loss_fn, gl.optim.Adam(3e-3), batch, threads=1)
    losses = [step(batch) for _ in range(30)]
    assert losses[-1] < 0.8 * losses[0]


# MultiheadAttention with keys behind the sequence.


@pytest.mark.peers
@pytest.mark.parametrize(("bias_kv", "zero"), [(True, False), (False, True), (True, True)])
@pytest.mark.parametrize("kdim", [None, 5])
def test_learned_keys_and_keys_of_zeros_are_torchs(bias_kv, zero, kdim):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    options = {"add_bias_kv": bias_kv, "add_zero_attn": zero, "kdim": kdim, "batch_first": kdim is None}
    ours, theirs = nn.MultiheadAttention(E, H, **options), torch.nn.MultiheadAttention(E, H, **options)
    first = kdim is None
    inputs = [sequence(T, first), sequence(S, first, kdim or E), sequence(S, first)]
    masks = {"key_padding_mask": PADDING, "attn_mask": RNG.random((T, S)) < 0.2}
    added = {"attn_mask": RNG.standard_normal((N * H, T, S))}
    for call in ({}, masks, added, masks | {"need_weights": False}):
        assert_module_like_torch(ours, theirs, *inputs, options=call)
    assert_module_like_torch(ours, theirs, *inputs, options=masks | {"average_attn_weights": False}, pick=1)


@pytest.mark.parametrize("mask", [None, RNG.random((T, S)) < 0.3, RNG.standard_normal((T, S))])
def test_causal_attention_sees_the_keys_behind_the_sequence(mask):
    attention = nn.MultiheadAttention(E, H, add_bias_kv=True, add_zero_attn=True, batch_first=True).to("float64")
    inputs = [sequence(n, True) for n in (T, S, S)]
    values = nn.init_parameters(attention)
    output, weights = nn.functional_call(attention, values, *inputs, attn_mask=mask, is_causal=True)
    hidden = ~np.tri(T, S, dtype=bool)
    if mask is not None:
        hidden = np.where(hidden, -np.inf, mask) if mask.dtype.kind == "f" else hidden | mask
    expected, _ = nn.functional_call(attention, values, *inputs, attn_mask=hidden)
    np.testing.assert_array_equal(output, expected)
    assert (weights[:, :, S:] > 0).all()


# Grouped queries.

GROUPED_MASKS = {
    "none": None,
    "bool": RNG.random((T, S)) < 0.7,
    "by head": RNG.random((6, T, S)) < 0.7,
    "by batch": RNG.standard_normal((N, 1, T, S)),
    "by key": RNG.random((N, 1, 1, S)) < 0.7,
    "by all": RNG.standard_normal((N, 6, T, S)),
}


@pytest.mark.peers
@pytest.mark.parametrize("name", GROUPED_MASKS)
@pytest.mark.parametrize("heads", [1, 2, 6])
def test_grouped_queries_are_torchs(name, heads):
    torch = pytest.importorskip("torch")
    mask = GROUPED_MASKS[name]
    arrays = [RNG.standard_normal(shape) for shape in ((N, 6, T, 4), (N, heads, S, 4), (N, heads, S, 5))]
    tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
    options = {"is_causal": name == "none", "scale": 0.4, "enable_gqa": True}
    expected = torch.nn.functional.scaled_dot_product_attention(
        *tensors, None if mask is None else torch.tensor(mask), **options
    )
    (expected * expected).sum().backward()

    def loss(q, k, v):
        value = F.scaled_dot_product_attention(q, k, v, mask, **options)
        return (value * value).sum(), value

    (_, value), gradients = gl.value_and_grad(loss, (0, 1, 2), has_aux=True)(*arrays)
    np.testing.assert_allclose(value, expected.detach().numpy(), rtol=1e-9, atol=1e-9)
    for gradient, tensor in zip(gradients, tensors):
        np.testing.assert_allclose(gradient, tensor.grad.numpy(), rtol=1e-9, atol=1e-9)


def test_compiled_grouped_queries_are_repeated_keys():
    q, k, v = (RNG.standard_normal(s).astype("float32") for s in ((2, 6, 200, 8), (2, 2, 200, 8), (2, 2, 200, 8)))

    def grouped(q, k, v):
        value = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return (value * value).sum(), value

    def repeated(q, k, v):
        value = F.scaled_dot_product_attention(q, np.repeat(k, 3, 1), np.repeat(v, 3, 1), is_causal=True)
        return (value * value).sum(), value

    (_, value), gradients = gl.compile(gl.value_and_grad(grouped, (0, 1, 2), has_aux=True))(q, k, v)
    (_, expected), wanted = gl.value_and_grad(repeated, (0, 1, 2), has_aux=True)(q, k, v)
    for mine, other in zip((value, *gradients), (expected, *wanted)):
        np.testing.assert_allclose(mine, other, rtol=2e-4, atol=2e-4)


def test_grouped_queries_refuse_heads_that_do_not_divide():
    x = np.ones((2, 6, 3, 4))
    for key, value in ((x[:, :4], x[:, :4]), (x[:, :2], x[:, :3]), (x[0, 0], x[0, 0]), (x[:, :0], x[:, :0])):
        with pytest.raises(
            gl.ShapeError, match=r"key and value are as many, and divide those of query; got .*, at \S*"
        ):
            F.scaled_dot_product_attention(x, key, value, enable_gqa=True)
    with pytest.raises(gl.ShapeError, match=r"must broadcast to the scores .* = \(2, 6, 3, 3\)"):
        F.scaled_dot_product_attention(x, x[:, :2], x[:, :2], np.ones((2, 2, 3, 3), bool), enable_gqa=True)
