"""Functions and layers against torch: values and gradients in float64, and what they refuse."""

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn

pytestmark = pytest.mark.usefixtures("one_thread_for_torch")

F = nn.functional
RNG = np.random.default_rng(0)
X = RNG.standard_normal((5, 7)) * 3
X[0, :3] = [0.0, 30.0, -30.0]


def against_torch(ours, theirs, *arrays, rtol=1e-11, atol=1e-12):
    """Compare values and the gradients of a weighted sum with respect to all `arrays`."""
    torch = pytest.importorskip("torch")
    tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
    expected = theirs(*tensors)
    weight = np.random.default_rng(1).standard_normal(tuple(expected.shape))
    (expected * torch.tensor(weight)).sum().backward()
    value = ours(*arrays)
    np.testing.assert_allclose(value, expected.detach().numpy(), rtol=rtol, atol=atol)
    gradients = gl.grad(lambda *xs: (ours(*xs) * weight).sum(), argnums=tuple(range(len(arrays))))(*arrays)
    for gradient, tensor in zip(gradients, tensors):
        np.testing.assert_allclose(gradient, tensor.grad.numpy(), rtol=rtol, atol=atol)


UNARY = [
    (F.relu, "relu", {}),
    (F.leaky_relu, "leaky_relu", {"negative_slope": 0.2}),
    (F.relu6, "relu6", {}),
    (F.hardtanh, "hardtanh", {"min_val": -0.5, "max_val": 0.75}),
    (F.elu, "elu", {"alpha": 1.3}),
    (F.gelu, "gelu", {}),
    (F.gelu, "gelu", {"approximate": "tanh"}),
    (F.silu, "silu", {}),
    (F.sigmoid, "sigmoid", {}),
    (F.tanh, "tanh", {}),
    (F.softplus, "softplus", {}),
    (F.softplus, "softplus", {"beta": 2.0, "threshold": 5.0}),
]


@pytest.mark.peers
@pytest.mark.parametrize(("ours", "name", "options"), UNARY)
def test_activations_are_torchs(ours, name, options):
    torch = pytest.importorskip("torch")
    theirs = getattr(torch.nn.functional, name)
    against_torch(lambda x: ours(x, **options), lambda x: theirs(x, **options), X)


@pytest.mark.peers
@pytest.mark.parametrize("axis", [-1, 0])
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp"])
def test_softmax_and_its_relatives_are_torchs(name, axis):
    torch = pytest.importorskip("torch")
    against_torch(lambda x: getattr(F, name)(x, axis=axis), lambda x: getattr(torch, name)(x, dim=axis), X)


def test_softmax_of_nothing_is_nothing():
    assert F.softmax(np.zeros((0, 3)), axis=0).shape == F.log_softmax(np.zeros((3, 0))).shape[::-1] == (0, 3)
    np.testing.assert_array_equal(F.logsumexp(np.zeros((0, 3)), axis=0), np.full(3, -np.inf))


@pytest.mark.parametrize("ours", [F.elu, F.gelu, F.silu, F.softplus, F.softmax, F.log_softmax, F.logsumexp])
def test_gradients_stay_finite_at_large_arguments(ours):
    x = np.array([1e4, -1e4, 800.0, 0.0], np.float32)
    value, gradient = gl.value_and_grad(lambda x: ours(x).sum())(x)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


def test_logsumexp_of_minus_infinity_is_minus_infinity():
    assert F.logsumexp(np.full(3, -np.inf)) == -np.inf
    np.testing.assert_allclose(F.logsumexp(np.array([0.0, -np.inf]), keepdims=True), [0.0])


@pytest.mark.peers
@pytest.mark.parametrize("shape", [(7,), (3, 7)])
def test_layer_norm_is_torchs(shape):
    torch = pytest.importorskip("torch")
    x = RNG.standard_normal((4, 3, 7))
    weight, bias = RNG.standard_normal((2, *shape))
    theirs = torch.nn.functional.layer_norm
    against_torch(
        lambda x, w, b: F.layer_norm(x, shape, w, b, 1e-3),
        lambda x, w, b: theirs(x, shape, w, b, 1e-3),
        x,
        weight,
        bias,
    )
    against_torch(lambda x: F.layer_norm(x, shape), lambda x: theirs(x, shape), x, rtol=1e-9)


@pytest.mark.peers
def test_linear_takes_any_number_of_leading_axes():
    torch = pytest.importorskip("torch")
    w, b = RNG.standard_normal((4, 7)), RNG.standard_normal(4)
    for shape in [(7,), (3, 7), (2, 3, 7)]:
        against_torch(F.linear, torch.nn.functional.linear, RNG.standard_normal(shape), w, b)


@pytest.mark.peers
def test_embedding_rows_and_the_gradient_without_the_padding_row():
    torch = pytest.importorskip("torch")
    index, weight = np.array([[1, 0], [1, 4]]), RNG.standard_normal((5, 3))
    theirs = torch.nn.functional.embedding
    against_torch(lambda w: F.embedding(index, w), lambda w: theirs(torch.tensor(index), w), weight)
    against_torch(lambda w: F.embedding(index, w, 1), lambda w: theirs(torch.tensor(index), w, 1), weight)
    small = F.embedding(index.astype(np.uint8), weight)
    np.testing.assert_array_equal(small, weight[index])


@pytest.mark.parametrize("bad", [-1, 5])
def test_an_index_that_is_no_row_is_an_index_error(bad):
    weight = np.zeros((5, 3))
    with pytest.raises(IndexError, match=f"index {bad} is out of range for 5"):
        F.embedding(np.array([bad]), weight)
    graph = gl.trace(F.embedding, gl.spec((1,), "int64"), gl.spec((5, 3)))
    with pytest.raises(IndexError, match=f"index {bad} is out of range for 5"):
        gl.interpret(graph, np.array([bad]), weight.astype(np.float32))


def test_one_hot_is_torchs():
    np.testing.assert_array_equal(F.one_hot(np.array([[2], [0]]), 3), [[[0, 0, 1]], [[1, 0, 0]]])
    assert F.one_hot(np.array([1]), 2).dtype == np.int64
    with pytest.raises(ValueError, match="num_classes must be given"):
        gl.trace(F.one_hot, np.array([1]))
    np.testing.assert_array_equal(F.one_hot(np.array([2, 0])), [[0, 0, 1], [1, 0, 0]])


CASES = [
    {},
    {"reduction": "sum"},
    {"reduction": "none"},
    {"label_smoothing": 0.1},
    {"ignore_index": 2},
    {"ignore_index": 2, "label_smoothing": 0.3, "reduction": "sum"},
]


@pytest.mark.peers
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("options", CASES)
@pytest.mark.parametrize("shape", [(6, 4), (3, 4, 5), (2, 4, 3, 2)])
def test_cross_entropy_of_labels_is_torchs(shape, options, weighted):
    torch = pytest.importorskip("torch")
    logits = RNG.standard_normal(shape) * 3
    labels = RNG.integers(0, 4, (shape[0], *shape[2:]))
    labels.flat[:3] = [2, 0, -100 if "ignore_index" not in options else 2]
    weight = np.array([0.5, 1.0, 2.0, 0.1]) if weighted else None
    theirs = torch.nn.functional.cross_entropy
    torch_weight = torch.tensor(weight) if weighted else None
    against_torch(
        lambda x: F.cross_entropy(x, labels, weight=weight, **options),
        lambda x: theirs(x, torch.tensor(labels), weight=torch_weight, **options),
        logits,
    )


@pytest.mark.peers
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("options", CASES[:4])
@pytest.mark.parametrize("shape", [(4,), (6, 4), (3, 4, 5)])
def test_cross_entropy_of_probabilities_is_torchs(shape, options, weighted):
    torch = pytest.importorskip("torch")
    logits, target = RNG.standard_normal(shape) * 3, RNG.random(shape)
    weight = np.array([0.5, 1.0, 2.0, 0.1]) if weighted else None
    theirs = torch.nn.functional.cross_entropy
    torch_weight = torch.tensor(weight) if weighted else None
    against_torch(
        lambda x, t: F.cross_entropy(x, t, weight=weight, **options),
        lambda x, t: theirs(x, t, weight=torch_weight, **options),
        logits,
        target,
    )


@pytest.mark.peers
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_nll_loss_is_torchs(reduction, weighted):
    torch = pytest.importorskip("torch")
    x, labels = RNG.standard_normal((6, 4)), np.array([0, 1, 3, 2, -100, 1])
    weight = np.array([0.5, 1.0, 2.0, 0.1]) if weighted else None
    torch_weight = torch.tensor(weight) if weighted else None
    against_torch(
        lambda x: F.nll_loss(x, labels, weight, reduction=reduction),
        lambda x: torch.nn.functional.nll_loss(x, torch.tensor(labels), torch_weight, reduction=reduction),
        x,
    )


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8"])
def test_labels_of_any_integer_dtype_and_many_classes(dtype):
    logits = RNG.standard_normal((3, 300))
    labels = np.array([0, 17, 255]).astype(dtype)
    expected = -F.log_softmax(logits)[[0, 1, 2], labels.astype(int)].mean()
    np.testing.assert_allclose(F.cross_entropy(logits, labels), expected, rtol=1e-12)


def test_cross_entropy_is_stable_and_has_no_gather():
    logits = np.array([[1e4, 0.0, -1e4], [3e38, 0.0, 1.0]], np.float32)
    labels = np.array([1, 0])
    value, gradient = gl.value_and_grad(lambda x: F.cross_entropy(x, labels))(logits)
    assert value == 5000
    np.testing.assert_array_equal(gradient, np.array([[0.5, -0.5, 0], [0, 0, 0]], np.float32))
    graph = gl.trace(gl.grad(F.cross_entropy), logits, labels)
    assert not {"gather", "scatter_add"} & {node.op.name for node in graph.nodes}


@pytest.mark.parametrize("bad", [-1, 3])
def test_a_label_that_is_no_class_is_an_index_error(bad):
    graph = gl.trace(F.cross_entropy, gl.spec((2, 3)), gl.spec((2,), "int64"))
    with pytest.raises(IndexError, match=f"index {bad} is out of range for 3"):
        gl.interpret(graph, np.zeros((2, 3), np.float32), np.array([0, bad]))


def test_targets_that_do_not_fit_are_named():
    logits = np.zeros((4, 3))
    for target, message in [
        (np.zeros(4), r"labels are integers of shape \(4,\), got \(4,\) float64; write target.astype\('int64'\)"),
        (np.zeros((4, 1), np.int64), r"labels are \(4, 1\) int64; write target\[..., 0\]"),
        (np.zeros((4, 3), np.int64), r"a one-hot or probability target must be floats"),
        (np.zeros(5, np.int64), r"input rows \(4,\), labels are \(5,\) int64"),
    ]:
        with pytest.raises((ValueError, TypeError), match=message):
            F.cross_entropy(logits, target)
    with pytest.raises(ValueError, match="weight has one number for each of 3 classes"):
        F.cross_entropy(logits, np.zeros(4, np.int64), weight=np.ones(4))
    with pytest.raises(ValueError, match="reduction is 'mean', 'sum' or 'none', got 'avg'"):
        F.cross_entropy(logits, np.zeros(4, np.int64), reduction="avg")
    with pytest.raises(ValueError, match=r"input is \(4, 1\) float64 and target \(4,\) float64"):
        F.mse_loss(np.zeros((4, 1)), np.zeros(4))


@pytest.mark.peers
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(
    ("name", "options"),
    [("mse_loss", {}), ("l1_loss", {}), ("smooth_l1_loss", {"beta": 0.7}), ("huber_loss", {"delta": 0.7})],
)
def test_regression_losses_are_torchs(name, options, reduction):
    torch = pytest.importorskip("torch")
    against_torch(
        lambda x, y: getattr(F, name)(x, y, reduction=reduction, **options),
        lambda x, y: getattr(torch.nn.functional, name)(x, y, reduction=reduction, **options),
        *RNG.standard_normal((2, 4, 3)),
    )


@pytest.mark.peers
def test_binary_cross_entropy_is_torchs():
    torch = pytest.importorskip("torch")
    x, y, w, p = X, RNG.random(X.shape), RNG.random(X.shape), RNG.random(7)
    theirs = torch.nn.functional.binary_cross_entropy_with_logits
    against_torch(F.binary_cross_entropy_with_logits, theirs, x, y)
    against_torch(
        lambda x, y: F.binary_cross_entropy_with_logits(x, y, w, "sum", p),
        lambda x, y: theirs(x, y, torch.tensor(w), reduction="sum", pos_weight=torch.tensor(p)),
        x,
        y,
    )


def test_layers_are_their_functions():
    x = RNG.standard_normal((2, 3, 4))
    for layer, expected in [
        (nn.ReLU(), F.relu(x)),
        (nn.LeakyReLU(0.3), F.leaky_relu(x, 0.3)),
        (nn.ReLU6(), np.clip(x, 0, 6)),
        (nn.Hardtanh(-0.5, 0.25), np.clip(x, -0.5, 0.25)),
        (nn.ELU(0.5), F.elu(x, 0.5)),
        (nn.GELU("tanh"), F.gelu(x, "tanh")),
        (nn.SiLU(), F.silu(x)),
        (nn.Sigmoid(), F.sigmoid(x)),
        (nn.Tanh(), np.tanh(x)),
        (nn.Softplus(2.0, 3.0), F.softplus(x, 2.0, 3.0)),
        (nn.Softmax(0), F.softmax(x, 0)),
        (nn.LogSoftmax(1), F.log_softmax(x, 1)),
        (nn.Identity(5, any="thing"), x),
        (nn.Flatten(), x.reshape(2, 12)),
        (nn.Flatten(0, 1), x.reshape(6, 4)),
        (nn.LayerNorm((3, 4), elementwise_affine=False), F.layer_norm(x, (3, 4))),
        (nn.Residual(nn.Tanh()), x + np.tanh(x)),
    ]:
        np.testing.assert_array_equal(nn.functional_call(layer, nn.init_parameters(layer), x), expected)


def test_hardtanh_between_bounds_in_the_wrong_order_is_refused():
    with pytest.raises(ValueError, match="hardtanh: min_val is not above max_val, got 1 and 0"):
        F.hardtanh(np.zeros(2), 1, 0)
    with pytest.raises(ValueError, match="Hardtanh: min_val is below max_val, got 1 and 1"):
        nn.Hardtanh(1, 1)


def test_float32_stays_float32():
    model = nn.Sequential(
        nn.Linear(4, 4), nn.GELU(), nn.LayerNorm(4), nn.Softplus(), nn.ELU(), nn.Dropout(0.5), nn.LeakyReLU()
    )
    with gl.random.key(0):
        y = nn.functional_call(model, nn.init_parameters(model), np.ones((2, 4), np.float32), training=True)
    assert y.dtype == np.float32
    assert F.cross_entropy(y, np.zeros(2, np.int64), label_smoothing=0.1).dtype == np.float32


def test_dropout_zeroes_a_share_and_scales_the_rest():
    x = np.ones((200, 500), np.float32)
    with gl.random.key(1):
        first, second = F.dropout(x, 0.3), F.dropout(x, 0.3)
    assert set(np.unique(first)) == {np.float32(0), np.float32(1 / 0.7)}
    np.testing.assert_allclose((first == 0).mean(), 0.3, atol=0.005)
    np.testing.assert_allclose(((first == 0) & (second == 0)).mean(), 0.09, atol=0.005)
    with gl.random.key(1):
        np.testing.assert_array_equal(F.dropout(x, 0.3), first)
    assert F.dropout(x, 0.3, training=False) is x
    assert F.dropout(x, 0.0) is x
    assert not F.dropout(x, 1.0).any()


def test_dropout_without_a_key_says_what_to_write():
    with pytest.raises(RuntimeError, match=r"needs a key: gl.compile_step .*with gl.random.key\(seed\)"):
        F.dropout(np.ones(3), 0.5)
    with pytest.raises(ValueError, match="from 0 to 1"):
        nn.Dropout(1.5)


def test_a_seed_inside_a_trace_is_drawn_from_when_the_program_runs():
    def fn(x):
        with gl.random.key(3):
            return F.dropout(x, 0.5)

    x = np.ones(100, np.float32)
    graph = gl.trace(fn, x)
    assert "random_bits" in {node.op.name for node in graph.nodes}
    np.testing.assert_array_equal(gl.interpret(graph, x)[0], fn(x))


def test_dropout_inside_a_checkpoint_has_the_same_mask_when_computed_again():
    def loss(x, checkpointed):
        with gl.random.key(5):
            layer = gl.checkpoint(lambda x: np.tanh(F.dropout(x, 0.5)) ** 2) if checkpointed else None
            return (layer(x) if layer else np.tanh(F.dropout(x, 0.5)) ** 2).sum()

    x = RNG.standard_normal(50)
    graph = gl.trace(gl.grad(lambda x: loss(x, True)), x)
    assert sum(node.op.name == "random_bits" for node in graph.nodes) == 2
    np.testing.assert_array_equal(gl.interpret(graph, x)[0], gl.grad(lambda x: loss(x, False))(x))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_random_numbers_have_their_distributions(dtype):
    with gl.random.key(0):
        u, n, b = (
            gl.random.uniform(100_000, dtype),
            gl.random.normal((1000, 100), dtype),
            gl.random.bernoulli(0.2, 100_000),
        )
    assert u.dtype == n.dtype == dtype
    assert 0 <= u.min() < u.max() < 1
    np.testing.assert_allclose([u.mean(), u.var()], [0.5, 1 / 12], atol=0.005)
    np.testing.assert_allclose([n.mean(), n.var(), (n**3).mean(), (n**4).mean()], [0, 1, 0, 3], atol=0.1)
    np.testing.assert_allclose(b.mean(), 0.2, atol=0.005)
