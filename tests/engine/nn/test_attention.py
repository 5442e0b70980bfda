"""Attention and the transformer's encoder against torch: values, gradients, names, training, and what they refuse."""

import itertools

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn
from safetensors.numpy import save_file

pytestmark = pytest.mark.usefixtures("one_thread_for_torch")

F = nn.functional
RNG = np.random.default_rng(0)


def assert_torchs(ours, theirs, *arrays, tolerance=1e-9):
    """Compare values and the gradients of a weighted sum with respect to all `arrays`, float64."""
    torch = pytest.importorskip("torch")
    tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
    expected = theirs(*tensors)
    weight = np.random.default_rng(1).standard_normal(tuple(expected.shape))
    (expected * torch.tensor(weight)).sum().backward()

    def weighted(*xs):
        value = ours(*xs)
        return (value * weight).sum(), value

    argnums = tuple(range(len(arrays)))
    (_, value), gradients = gl.value_and_grad(weighted, argnums=argnums, has_aux=True)(*arrays)
    np.testing.assert_allclose(value, expected.detach().numpy(), rtol=tolerance, atol=tolerance)
    for gradient, tensor in zip(gradients, tensors):
        wanted = np.zeros(gradient.shape) if tensor.grad is None else tensor.grad.numpy()
        np.testing.assert_allclose(gradient, wanted, rtol=tolerance, atol=tolerance)


def qkv(lead=(2, 3), queries=5, keys=7, width=4, value_width=6):
    return (
        RNG.standard_normal((*lead, queries, width)),
        RNG.standard_normal((*lead, keys, width)),
        RNG.standard_normal((*lead, keys, value_width)),
    )


# scaled_dot_product_attention

SOME = np.arange(35).reshape(5, 7) % 3 != 0
WITH_AN_EMPTY_ROW = np.where(np.arange(5)[:, None] == 2, False, SOME)
MASKS = {
    "none": None,
    "bool": SOME,
    "bool by key": np.arange(7)[None] < 4,
    "bool by query": np.arange(5)[:, None] != 1,
    "bool by batch": RNG.random((2, 1, 5, 7)) < 0.6,
    "bool with an empty row": WITH_AN_EMPTY_ROW,
    "float": RNG.standard_normal((5, 7)),
    "float by head": RNG.standard_normal((3, 5, 7)),
    "float with an empty row": np.where(WITH_AN_EMPTY_ROW, 0.5, -np.inf),
}


@pytest.mark.peers
@pytest.mark.parametrize("name", MASKS)
def test_attention_with_a_mask_is_torchs(name):
    torch = pytest.importorskip("torch")
    mask = MASKS[name]
    tensor = None if mask is None else torch.tensor(mask)
    theirs = torch.nn.functional.scaled_dot_product_attention
    assert_torchs(
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, mask), lambda q, k, v: theirs(q, k, v, tensor), *qkv()
    )


@pytest.mark.peers
@pytest.mark.parametrize(("queries", "keys"), [(5, 5), (5, 7), (7, 5), (1, 4)])
def test_causal_attention_is_torchs_for_any_lengths(queries, keys):
    torch = pytest.importorskip("torch")
    theirs = torch.nn.functional.scaled_dot_product_attention
    assert_torchs(
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=0.3),
        lambda q, k, v: theirs(q, k, v, is_causal=True, scale=0.3),
        *qkv(queries=queries, keys=keys),
    )


@pytest.mark.peers
def test_leading_axes_of_attention_broadcast():
    torch = pytest.importorskip("torch")
    q, k, v = qkv()
    theirs = torch.nn.functional.scaled_dot_product_attention
    assert_torchs(F.scaled_dot_product_attention, theirs, q[0, 0], k[0, 0], v[0, 0])
    assert_torchs(F.scaled_dot_product_attention, lambda q, k, v: theirs(q, k[:1], v[:1]), q, k[:1], v[:1])


@pytest.mark.peers
def test_the_gradient_of_an_added_mask_is_torchs():
    torch = pytest.importorskip("torch")
    theirs = torch.nn.functional.scaled_dot_product_attention
    assert_torchs(F.scaled_dot_product_attention, theirs, *qkv(), RNG.standard_normal((3, 5, 7)))


def test_causal_and_a_mask_together_allow_what_both_do():
    q, k, v = qkv()
    both = F.scaled_dot_product_attention(q, k, v, SOME, is_causal=True)
    np.testing.assert_array_equal(both, F.scaled_dot_product_attention(q, k, v, SOME & np.tri(5, 7, dtype=bool)))
    added = F.scaled_dot_product_attention(q, k, v, np.where(SOME, 0, -np.inf), is_causal=True)
    np.testing.assert_allclose(added, both, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_compiled_attention_gives_zeros_and_finite_gradients_for_a_query_that_sees_nothing(dtype):
    q, k, v = (x.astype(dtype) for x in qkv())
    mask = np.broadcast_to(WITH_AN_EMPTY_ROW, (2, 1, 5, 7)).copy()

    def total(q, k, v, mask):
        value = F.scaled_dot_product_attention(q, k, v, mask)
        return (value * value).sum(), value

    f = gl.compile(gl.value_and_grad(total, argnums=(0, 1, 2), has_aux=True))
    (_, value), gradients = f(q, k, v, mask)
    assert value.dtype == dtype
    np.testing.assert_array_equal(value[:, :, 2], 0)
    np.testing.assert_array_equal(gradients[0][:, :, 2], 0)
    (_, expected), expected_gradients = gl.value_and_grad(total, argnums=(0, 1, 2), has_aux=True)(
        *(x.astype("float64") for x in (q, k, v)), mask
    )
    tolerance = 1e-10 if dtype == "float64" else 1e-4
    for a, b in zip((value, *gradients), (expected, *expected_gradients)):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def test_dropped_weights_keep_their_mean():
    q, k = np.zeros((2, 400, 4), np.float32), np.zeros((2, 64, 4), np.float32)
    v = np.ones((2, 64, 1), np.float32)
    with gl.random.key(3):
        dropped = F.scaled_dot_product_attention(q, k, v, dropout_p=0.25)
    places = np.unique(np.round(dropped * 64 * 0.75, 3))
    np.testing.assert_allclose(places, np.round(places))
    assert abs(dropped.mean() - 1) < 0.02


def test_attention_refuses_what_does_not_fit():
    q, k, v = qkv()
    attend = F.scaled_dot_product_attention
    with pytest.raises(gl.ShapeError, match=r"expected query \(\.\.\., L, E\)"):
        attend(q, k[..., :3], v)
    with pytest.raises(gl.ShapeError, match="as many keys as values"):
        attend(q, k, v[..., :4, :])
    with pytest.raises(gl.TracingError, match="floats of one dtype"):
        attend(q, k, v.astype("float32"))
    with pytest.raises(gl.TracingError, match=r"got \(5, 7\) int64; write attn_mask.astype\(bool\)"):
        attend(q, k, v, SOME.astype("int64"))
    for shape in [(7, 5), (4, 1, 5, 7), (1, 2, 3, 5, 7)]:
        with pytest.raises(gl.ShapeError, match=r"must broadcast to the scores \(\.\.\., L, S\) = \(2, 3, 5, 7\)"):
            attend(q, k, v, np.ones(shape, bool))


# MultiheadAttention

L, S, N, E, H = 4, 6, 3, 8, 2
SIZES = [{}, {"bias": False}, {"kdim": 5, "vdim": 3}, {"kdim": 5, "bias": False}]


def pair(**options):
    """Our module, torch's, and its parameters as float64 by name."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    ours = nn.MultiheadAttention(E, H, **options).to("float64")
    theirs = torch.nn.MultiheadAttention(E, H, **options).double()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return ours, theirs, {name: p.detach().numpy().copy() for name, p in theirs.named_parameters()}


def assert_module_is_torchs(ours, theirs, parameters, arrays, options, pick=0):
    """Compare the result number `pick`, and the gradients by all parameters and arrays."""
    torch = pytest.importorskip("torch")
    names = list(parameters)
    assert {name: p.shape for name, p in ours.named_parameters()} == {n: a.shape for n, a in parameters.items()}
    tensor_options = {k: torch.tensor(o) if isinstance(o, np.ndarray) else o for k, o in options.items()}

    def called(*values):
        given = dict(zip(names, values))
        return nn.functional_call(ours, given, *values[len(names) :], training=True, **options)

    def torch_called(*values):
        given = dict(zip(names, values))
        return torch.func.functional_call(theirs, given, values[len(names) :], tensor_options)

    def picked(function):
        return lambda *values: r[pick] if isinstance(r := function(*values), tuple) else r

    assert_torchs(picked(called), picked(torch_called), *parameters.values(), *arrays)


def inputs(options, batched=True):
    kdim, vdim = options.get("kdim", E), options.get("vdim", E)
    shapes = [(L, N, E), (S, N, kdim), (S, N, vdim)]
    if options.get("batch_first"):
        shapes = [(n, length, width) for length, n, width in shapes]
    if not batched:
        shapes = [(length, width) for length, _, width in [(L, N, E), (S, N, kdim), (S, N, vdim)]]
    return [RNG.standard_normal(shape) for shape in shapes]


@pytest.mark.peers
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("sizes", SIZES)
def test_multihead_attention_is_torchs(sizes, batch_first):
    options = {**sizes, "batch_first": batch_first}
    ours, theirs, parameters = pair(**options)
    arrays = inputs(options)
    assert_module_is_torchs(ours, theirs, parameters, arrays, {})
    assert_module_is_torchs(ours, theirs, parameters, arrays, {"average_attn_weights": False}, pick=1)
    assert_module_is_torchs(ours, theirs, parameters, arrays, {"need_weights": False})


@pytest.mark.peers
def test_self_attention_is_torchs():
    ours, theirs, parameters = pair()
    x = RNG.standard_normal((L, N, E))

    class Self(nn.Module):
        def __init__(self):
            self.attention = ours

        def forward(self, x, **options):
            return self.attention(x, x, x, **options)

    def torch_self(*values):
        import torch

        given = dict(zip(parameters, values))
        return torch.func.functional_call(theirs, given, (values[-1],) * 3)[0]

    def our_self(*values):
        given = {"attention." + name: value for name, value in zip(parameters, values)}
        return nn.functional_call(Self(), given, values[-1])[0]

    assert_torchs(our_self, torch_self, *parameters.values(), x)


PADDING = np.arange(S) >= np.array([[6], [4], [2]])
HIDDEN = np.arange(L * S).reshape(L, S) % 5 == 3
MULTIHEAD_MASKS = [
    {"key_padding_mask": PADDING},
    {"key_padding_mask": np.where(PADDING, -np.inf, 0.25)},
    {"attn_mask": HIDDEN},
    {"attn_mask": RNG.standard_normal((L, S))},
    {"attn_mask": RNG.random((N * H, L, S)) < 0.3},
    {"attn_mask": RNG.standard_normal((N * H, L, S))},
    {"key_padding_mask": PADDING, "attn_mask": HIDDEN},
    {"key_padding_mask": np.where(PADDING, -np.inf, 0.25), "attn_mask": RNG.standard_normal((N * H, L, S))},
    {"attn_mask": ~np.tri(L, S, dtype=bool), "is_causal": True},
]


@pytest.mark.peers
@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("masks", MULTIHEAD_MASKS)
def test_masks_of_multihead_attention_are_torchs(masks, need_weights):
    ours, theirs, parameters = pair(batch_first=True)
    arrays = inputs({"batch_first": True})
    options = {**masks, "need_weights": need_weights}
    assert_module_is_torchs(ours, theirs, parameters, arrays, options)
    if need_weights:
        assert_module_is_torchs(ours, theirs, parameters, arrays, options, pick=1)


@pytest.mark.peers
def test_a_boolean_and_an_added_mask_combine():
    ours, _, parameters = pair()
    arrays, bias = inputs({}), RNG.standard_normal((L, S))
    mixed, _ = nn.functional_call(ours, parameters, *arrays, key_padding_mask=PADDING, attn_mask=bias)
    padding = np.where(PADDING, -np.inf, 0.0)
    added, _ = nn.functional_call(ours, parameters, *arrays, key_padding_mask=padding, attn_mask=bias)
    np.testing.assert_array_equal(mixed, added)


@pytest.mark.peers
def test_causal_multihead_attention_needs_no_mask():
    ours, _, parameters = pair()
    arrays = inputs({})
    causal, weights = nn.functional_call(ours, parameters, *arrays, is_causal=True)
    masked, _ = nn.functional_call(ours, parameters, *arrays, attn_mask=~np.tri(L, S, dtype=bool))
    np.testing.assert_array_equal(causal, masked)
    assert not weights[:, ~np.tri(L, S, dtype=bool)].any()


@pytest.mark.peers
@pytest.mark.parametrize("average", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
def test_multihead_attention_without_a_batch_is_torchs(batch_first, average):
    ours, theirs, parameters = pair(batch_first=batch_first)
    arrays = inputs({}, batched=False)
    options = {"key_padding_mask": PADDING[1], "attn_mask": HIDDEN, "average_attn_weights": average}
    for pick in (0, 1):
        assert_module_is_torchs(ours, theirs, parameters, arrays, options, pick)
    per_head = {"attn_mask": RNG.random((H, L, S)) < 0.3}
    assert_module_is_torchs(ours, theirs, parameters, arrays, per_head)


@pytest.mark.peers
def test_a_query_without_keys_gets_the_output_of_zeros():
    ours, _, parameters = pair()
    padding = np.broadcast_to(np.array([[False], [True], [False]]), (N, S)).copy()
    output, weights = nn.functional_call(ours, parameters, *inputs({}), key_padding_mask=padding)
    np.testing.assert_array_equal(weights[1], 0)
    np.testing.assert_allclose(output[:, 1], np.broadcast_to(parameters["out_proj.bias"], (L, E)))


@pytest.mark.peers
def test_initial_values_of_attention_are_distributed_as_torchs():
    torch = pytest.importorskip("torch")
    for options in ({}, {"kdim": 32, "vdim": 16}):
        ours = nn.init_parameters(nn.MultiheadAttention(64, 4, **options))
        theirs = dict(torch.nn.MultiheadAttention(64, 4, **options).named_parameters())
        assert set(ours) == set(theirs)
        for name, parameter in theirs.items():
            values = parameter.detach().numpy()
            assert abs(ours[name].mean()) < 0.01
            np.testing.assert_allclose(ours[name].std(), values.std(), rtol=0.05)
            np.testing.assert_allclose(abs(ours[name]).max(), abs(values).max(), rtol=0.02)


def test_multihead_attention_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="embed_dim 10 does not divide into num_heads 4 equal heads"):
        nn.MultiheadAttention(10, 4)
    with pytest.raises(ValueError, match=r"from 0 to 1, got 1\.5"):
        nn.MultiheadAttention(8, 4, dropout=1.5)
    attention = nn.MultiheadAttention(E, H, batch_first=True).to("float64")
    parameters = nn.init_parameters(attention)

    def attend(q, k, v, **options):
        return nn.functional_call(attention, parameters, q, k, v, **options)

    q, k, v = inputs({"batch_first": True})
    with pytest.raises(gl.ShapeError, match=r"embed_dim, kdim and vdim = \(8, 8, 8\), got query \(3, 4, 8\) float64"):
        attend(q, k[..., :5], v)
    with pytest.raises(gl.ShapeError, match=r"expected \(N, L, E\) or \(L, E\), got query \(3, 8\)"):
        attend(q[:, 0], k, v)
    with pytest.raises(gl.ShapeError, match="axis 0 is the batch, batch_first=True"):
        attend(q[:2], k, v)
    with pytest.raises(gl.ShapeError, match=r"key_padding_mask is \(6, 3\) bool, expected shape \(3, 6\)"):
        attend(q, k, v, key_padding_mask=PADDING.T)
    with pytest.raises(gl.ShapeError, match=r"attn_mask is \(6, 4\) bool, expected shape \(4, 6\) or \(6, 4, 6\)"):
        attend(q, k, v, attn_mask=HIDDEN.T)
    with pytest.raises(gl.TracingError, match=r"attn_mask is booleans or floats, got \(4, 6\) int64; write attn_mask"):
        attend(q, k, v, attn_mask=HIDDEN.astype("int64"))


# TransformerEncoderLayer and TransformerEncoder

LAYERS = list(itertools.product([False, True], [False, True], [False, True], ["relu", "gelu"]))


@pytest.mark.peers
@pytest.mark.parametrize(("norm_first", "batch_first", "bias", "activation"), LAYERS)
def test_an_encoder_layer_is_torchs(norm_first, batch_first, bias, activation):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    options = {"norm_first": norm_first, "batch_first": batch_first, "bias": bias, "activation": activation}
    ours = nn.TransformerEncoderLayer(E, H, 12, 0.0, layer_norm_eps=1e-3, **options).to("float64")
    theirs = torch.nn.TransformerEncoderLayer(E, H, 12, 0.0, layer_norm_eps=1e-3, **options).double()
    parameters = {name: p.detach().numpy().copy() for name, p in theirs.named_parameters()}
    x = RNG.standard_normal((N, S, E) if batch_first else (S, N, E))
    masks = {"src_mask": ~np.tri(S, dtype=bool), "src_key_padding_mask": np.arange(S) >= np.array([[6], [4], [2]])}
    assert_module_is_torchs(ours, theirs, parameters, [x], masks)


@pytest.mark.peers
@pytest.mark.parametrize("norm", [False, True])
def test_an_encoder_is_torchs(norm):
    torch = pytest.importorskip("torch")
    ours = encoder(nn, norm).to("float64")
    theirs = encoder(torch.nn, norm).double()
    parameters = {name: p.detach().numpy().copy() for name, p in theirs.named_parameters()}
    x = RNG.standard_normal((N, S, E))
    for options in ({}, {"mask": ~np.tri(S, dtype=bool), "is_causal": True}):
        assert_module_is_torchs(ours, theirs, parameters, [x], options)


def encoder(namespace, norm=True, layers=2, dropout=0.0):
    layer = namespace.TransformerEncoderLayer(E, H, 12, dropout, "gelu", batch_first=True, norm_first=True)
    options = {} if namespace is nn else {"enable_nested_tensor": False}
    return namespace.TransformerEncoder(layer, layers, namespace.LayerNorm(E) if norm else None, **options)


def test_the_layers_of_an_encoder_begin_with_values_of_their_own():
    values = nn.init_parameters(encoder(nn))
    assert not np.array_equal(values["layers.0.linear1.weight"], values["layers.1.linear1.weight"])
    assert len(values) == 2 * 12 + 2


@pytest.mark.peers
def test_an_encoder_trains_as_torchs_from_its_state_dict(tmp_path):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    theirs = encoder(torch.nn)
    path = str(tmp_path / "torch.safetensors")
    save_file({name: t.numpy() for name, t in theirs.state_dict().items()}, path)
    x, y = RNG.standard_normal((2, 4, S, E)).astype("float32")
    batch = {"x": x, "y": y, "padding": np.arange(S) >= np.array([[6], [6], [4], [2]])}

    def loss_fn(model, batch):
        output = model(batch["x"], ~np.tri(S, dtype=bool), batch["padding"])
        return ((output - batch["y"]) ** 2).mean()

    step = gl.compile_step(encoder(nn), loss_fn, gl.optim.AdamW(3e-3), batch, threads=1)
    step.load(path)
    losses = [float(step(batch)) for _ in range(60)]
    optimizer = torch.optim.AdamW(theirs.parameters(), 3e-3)
    expected = []
    for _ in range(60):
        output = theirs(torch.tensor(x), ~torch.ones(S, S).tril().bool(), torch.tensor(batch["padding"]))
        loss = ((output - torch.tensor(y)) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        expected.append(loss.item())
    np.testing.assert_allclose(losses, expected, rtol=2e-4)
    assert losses[-1] < 0.5 * losses[0]


def test_an_encoder_drops_in_training_and_not_in_prediction():
    x = RNG.standard_normal((2, S, E)).astype("float32")
    model = encoder(nn, layers=1, dropout=0.5)
    step = gl.compile_step(model, lambda model, x: (model(x) ** 2).mean(), gl.optim.SGD(0.0), x, threads=1)
    assert step(x) != step(x)
    predict = step.bind(lambda model, x: model(x))
    first = predict(x)
    np.testing.assert_array_equal(first, predict(x))
    plain = nn.functional_call(encoder(nn, layers=1), step.parameters(), x)
    np.testing.assert_allclose(first, plain, rtol=1e-4, atol=1e-5)


def test_an_encoder_layer_takes_a_function_as_activation_and_refuses_another_name():
    layer = nn.TransformerEncoderLayer(E, H, 12, 0.0, activation=lambda x: x * 0)
    values = nn.init_parameters(layer)
    values["linear2.bias"] = np.full(E, 0.0, np.float32)
    assert np.isfinite(nn.functional_call(layer, values, RNG.standard_normal((S, N, E)).astype("float32"))).all()
    with pytest.raises(ValueError, match="'relu', 'gelu' or a function, got 'swish'"):
        nn.TransformerEncoderLayer(E, H, activation="swish")
    with pytest.raises(ValueError, match="num_layers is 0 or more, got -1"):
        nn.TransformerEncoder(layer, -1)


# What else language models and retrieval need.


class Tied(nn.Module):
    def __init__(self):
        self.embedding = nn.Embedding(11, 6)
        self.norm = nn.LayerNorm(6)
        self.lm_head = nn.Linear(6, 11, bias=False)
        self.lm_head.weight = self.embedding.weight

    def forward(self, tokens):
        return self.lm_head(self.norm(self.embedding(tokens)))


@pytest.mark.peers
def test_a_tied_head_trains_as_in_torch():
    torch = pytest.importorskip("torch")
    tokens = RNG.integers(0, 11, (4, 9))
    batch = {"x": tokens[:, :-1].copy(), "y": tokens[:, 1:].copy()}

    def loss_fn(model, batch):
        return nn.cross_entropy(model(batch["x"]).reshape(-1, 11), batch["y"].reshape(-1))

    step = gl.compile_step(Tied(), loss_fn, gl.optim.AdamW(1e-2), batch, threads=1)
    assert set(step.parameters()) == {"embedding.weight", "norm.weight", "norm.bias"}
    weight = torch.nn.Parameter(torch.tensor(step.parameters()["embedding.weight"]))
    norm = torch.nn.LayerNorm(6)
    optimizer = torch.optim.AdamW([weight, *norm.parameters()], 1e-2)
    for _ in range(40):
        logits = norm(torch.nn.functional.embedding(torch.tensor(batch["x"]), weight)) @ weight.T
        expected = torch.nn.functional.cross_entropy(logits.reshape(-1, 11), torch.tensor(batch["y"]).reshape(-1))
        optimizer.zero_grad()
        expected.backward()
        optimizer.step()
        np.testing.assert_allclose(step(batch), expected.item(), rtol=1e-4)
    np.testing.assert_allclose(step.parameters()["embedding.weight"], weight.detach().numpy(), rtol=1e-3, atol=1e-4)


@pytest.mark.peers
@pytest.mark.parametrize("p", [1, 2, 2.5, 0.5, -1.5, 0, np.inf, -np.inf])
@pytest.mark.parametrize("axis", [1, -1, 0])
def test_normalize_is_torchs(p, axis):
    torch = pytest.importorskip("torch")
    x = RNG.standard_normal((3, 4, 5))
    theirs = torch.nn.functional.normalize
    assert_torchs(lambda x: F.normalize(x, p, axis), lambda x: theirs(x, p, axis), x)


@pytest.mark.peers
def test_normalize_of_zeros_is_zeros_with_finite_gradients():
    torch = pytest.importorskip("torch")
    x = np.array([[0.0, 0.0], [3.0, 4.0], [1e-14, 0.0]])
    assert_torchs(F.normalize, torch.nn.functional.normalize, x)
    np.testing.assert_array_equal(F.normalize(x, np.inf)[:2], [[0, 0], [0.75, 1]])
    with pytest.raises(gl.TracingError, match="floats are normalized"):
        F.normalize(np.array([[1, 2]]))


@pytest.mark.parametrize("name", ["sdpa_kernel", "SDPBackend", "flex_attention"])
def test_names_of_torchs_kernels_say_what_to_write(name):
    with pytest.raises(AttributeError, match=r"nn\.attention has no .*; write nn\.scaled_dot_product_attention"):
        getattr(nn.attention, name)
