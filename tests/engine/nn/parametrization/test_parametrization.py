"""Spectral norm, weight norm and parametrizations of the user's, against torch's: names, values, training, removal."""

import copy
import inspect
import pickle

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn
from modules_against_torch import assert_module_like_torch

pytestmark = pytest.mark.usefixtures("one_thread_for_torch")

RNG = np.random.default_rng(0)
LAYERS = {
    "linear": (lambda n: n.Linear(3, 4), (5, 3)),
    "convolution": (lambda n: n.Conv2d(3, 4, (2, 1)), (2, 3, 4, 4)),
    "transposed": (lambda n: n.ConvTranspose1d(3, 4, 2, bias=False), (2, 3, 4)),
    "recurrent": (lambda n: n.GRUCell(3, 4), (5, 3)),
}
NORMS = {
    "spectral": lambda u, m, name: u.parametrizations.spectral_norm(m, name, n_power_iterations=2),
    "spectral along 1": lambda u, m, name: u.parametrizations.spectral_norm(m, name, dim=1, eps=1e-6),
    "weight": lambda u, m, name: u.parametrizations.weight_norm(m, name),
    "weight along 1": lambda u, m, name: u.parametrizations.weight_norm(m, name, dim=1),
    "weight as one": lambda u, m, name: u.parametrizations.weight_norm(m, name, dim=None),
    "old spectral": lambda u, m, name: u.spectral_norm(m, name),
    "old weight": lambda u, m, name: u.weight_norm(m, name, 1),
}


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated")
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("layer", LAYERS)
def test_norms_are_torchs(layer, norm):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    make, shape = LAYERS[layer]
    name = "weight_hh" if layer == "recurrent" else "weight"
    ours, theirs = NORMS[norm](nn.utils, make(nn), name), NORMS[norm](torch.nn.utils, make(torch.nn), name)
    inputs = [RNG.standard_normal(shape)] + ([RNG.standard_normal((5, 4))] if layer == "recurrent" else [])
    assert_module_like_torch(ours, theirs, *inputs, training=False)
    assert_module_like_torch(ours, theirs, *inputs, training=True)


@pytest.mark.peers
@pytest.mark.parametrize("trivial", [True, False])
@pytest.mark.parametrize("orthogonal_map", [None, "matrix_exp", "cayley", "householder"])
def test_orthogonal_weights_are_torchs(orthogonal_map, trivial):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    for shape in ((5, 5), (4, 6), (6, 4), (1, 3)):
        options = {"orthogonal_map": orthogonal_map, "use_trivialization": trivial}
        ours = nn.utils.parametrizations.orthogonal(nn.Linear(*shape), **options)
        theirs = torch.nn.utils.parametrizations.orthogonal(torch.nn.Linear(*shape), **options)
        original = theirs.parametrizations.weight.original
        with torch.no_grad():  # away from the identity, with the signs of "householder" as they are
            original.add_(0.3 * torch.randn_like(original) * (1 - torch.eye(*original.shape)))
        assert_module_like_torch(ours, theirs, RNG.standard_normal((3, shape[0])))


@pytest.mark.parametrize("orthogonal_map", ["matrix_exp", "cayley", "householder"])
def test_orthogonal_weights_begin_as_the_initial_value_made_orthogonal(orthogonal_map):
    begin = np.linalg.qr(RNG.standard_normal((6, 4)))[0]
    for value, shape in ((begin, (4, 6)), (begin.T, (6, 4)), (np.linalg.qr(RNG.standard_normal((5, 5)))[0], (5, 5))):
        for trivial in (True, False) if orthogonal_map == "householder" else (True,):
            layer = nn.Linear(*shape, bias=False).to("float64")
            nn.init.constant_(layer.weight, value)
            nn.utils.parametrizations.orthogonal(layer, "weight", orthogonal_map, use_trivialization=trivial)
            weight = nn.functional_call(layer, layer.state_dict(), np.eye(shape[0])).T
            np.testing.assert_allclose(weight, value, atol=1e-12)
    layer = nn.utils.parametrizations.orthogonal(nn.Conv1d(4, 3, 3), "weight", orthogonal_map, use_trivialization=False)
    batch = {"x": RNG.standard_normal((2, 4, 5)).astype("float32")}
    step = gl.compile_step(layer, lambda model, b: (model(b["x"]) ** 2).mean(), gl.optim.SGD(0.5), batch)
    losses = [step(batch) for _ in range(3)]
    assert losses[2] < losses[0]
    weight = step.bind(lambda model: model.weight)()
    np.testing.assert_allclose(weight.swapaxes(1, 2) @ weight, np.broadcast_to(np.eye(3), (3, 3, 3)), atol=1e-5)


def test_what_cannot_be_orthogonal():
    orthogonal = nn.utils.parametrizations.orthogonal
    with pytest.raises(ValueError, match=r"a matrix or several are expected, bias has shape \(4,\)"):
        orthogonal(nn.Linear(3, 4), "bias")
    with pytest.raises(ValueError, match="orthogonal_map is one of matrix_exp, cayley, householder, got 'qr'"):
        orthogonal(nn.Linear(3, 4), orthogonal_map="qr")
    with pytest.raises(ValueError, match="orthogonal is the first parametrization"):
        orthogonal(orthogonal(nn.Linear(3, 4)))


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated")
def test_a_discriminator_trains_as_torchs_and_its_vectors_go_on():
    torch = pytest.importorskip("torch")

    def made(n):
        norm, old = n.utils.parametrizations.spectral_norm, n.utils.spectral_norm
        return n.Sequential(norm(n.Linear(3, 8)), n.Tanh(), old(n.Linear(8, 8)), n.utils.weight_norm(n.Linear(8, 1)))

    ours, theirs = made(nn).to("float64"), made(torch.nn).double()
    theirs.load_state_dict({name: torch.tensor(a) for name, a in ours.state_dict(5).items()}, strict=True)
    batch = {"real": RNG.standard_normal((6, 3)), "fake": RNG.standard_normal((6, 3))}

    def loss_fn(model, batch):
        return (model(batch["real"]) ** 2).mean() - (model(batch["fake"]) ** 3).mean()

    step = gl.compile_step(ours, loss_fn, gl.optim.Adam(1e-2), batch, threads=1, seed=5)
    optimizer = torch.optim.Adam(theirs.parameters(), 1e-2)
    tensors = {name: torch.tensor(a) for name, a in batch.items()}
    for _ in range(5):
        optimizer.zero_grad()
        loss = loss_fn(theirs, tensors)
        loss.backward()
        optimizer.step()
        np.testing.assert_allclose(step(batch), loss.item(), rtol=1e-9)
    live = step.parameters() | step.buffers()
    assert set(live) == set(theirs.state_dict())
    for name, tensor in theirs.state_dict().items():
        np.testing.assert_allclose(live[name], tensor.numpy(), rtol=1e-8, atol=1e-9)
    predict = step.bind(lambda model, x: model(x))
    np.testing.assert_allclose(predict(batch["real"]), theirs.eval()(tensors["real"]).detach().numpy(), rtol=1e-8)


def test_weights_begin_as_they_would_and_spectral_norms_as_1():
    plain = nn.Linear(30, 20)
    for norm, prefix in ((nn.utils.parametrizations.weight_norm, "parametrizations."), (nn.utils.weight_norm, "")):
        layer = norm(nn.Linear(30, 20))
        state = layer.state_dict(seed=1)
        weight, length = ((prefix and "parametrizations.weight.original1") or "weight_v"), state[list(state)[1]]
        np.testing.assert_allclose(length[:, 0], np.linalg.norm(state[weight], axis=1), rtol=1e-6)
        x = RNG.standard_normal((2, 30)).astype("float32")
        expected = nn.functional_call(plain, {"weight": state[weight], "bias": state["bias"]}, x)
        np.testing.assert_allclose(nn.functional_call(layer, state, x), expected, rtol=1e-5, atol=1e-5)
    for norm in (nn.utils.parametrizations.spectral_norm, nn.utils.spectral_norm):
        layer = norm(nn.Linear(30, 20, bias=False))
        made = nn.functional_call(layer, layer.state_dict(), np.eye(30, dtype="float32"))
        np.testing.assert_allclose(np.linalg.norm(made, 2), 1, atol=0.05)


@pytest.mark.parametrize("old", [False, True])
def test_what_is_removed_leaves_the_weight_that_was_computed(old):
    x = RNG.standard_normal((2, 3)).astype("float32")
    names = nn.utils if old else nn.utils.parametrizations
    for kind in ("weight_norm", "spectral_norm"):
        layer = getattr(names, kind)(nn.Linear(3, 4))
        layer.load_state_dict({n: RNG.standard_normal(a.shape) for n, a in layer.state_dict().items()})
        expected = nn.functional_call(layer, layer.state_dict(), x)
        copied = pickle.loads(pickle.dumps(copy.deepcopy(layer)))
        np.testing.assert_array_equal(nn.functional_call(copied, copied.state_dict(), x), expected)
        if old:
            getattr(nn.utils, f"remove_{kind}")(layer)
        else:
            nn.utils.parametrize.remove_parametrizations(layer, "weight")
        assert list(layer.state_dict()) == ["bias", "weight"]
        assert [name for name, _ in layer.named_modules()] == [""]
        np.testing.assert_allclose(nn.functional_call(layer, layer.state_dict(3), x), expected, rtol=1e-5)
        with pytest.raises(ValueError, match=r"not found"):
            getattr(nn.utils, f"remove_{kind}")(layer)
    layer = nn.utils.parametrizations.spectral_norm(nn.Linear(3, 4))
    original = layer.state_dict()["parametrizations.weight.original"]
    nn.utils.parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
    assert layer.weight.shape == original.shape


class Symmetric(nn.Module):
    def forward(self, x):
        return np.triu(x) + np.triu(x, 1).T

    def right_inverse(self, x):
        return np.triu(x)


class Halved(nn.Module):
    def __init__(self):
        self.calls = nn.Buffer((), "int64")

    def forward(self, x):
        if self.training:
            self.calls = self.calls + 1
        return x / 2


class Reading(nn.Module):
    """Reads its weight twice."""

    def __init__(self):
        self.weight = nn.Parameter((3, 3), "float32", nn.init.normal())

    def forward(self, x):
        return x @ self.weight + self.weight.sum()


def test_a_module_of_the_users_computes_a_weight_once_in_each_call():
    parametrize = nn.utils.parametrize
    layer = parametrize.register_parametrization(Reading(), "weight", Symmetric())
    parametrize.register_parametrization(layer, "weight", Halved())
    assert parametrize.is_parametrized(layer)
    assert parametrize.is_parametrized(layer, "weight")
    assert not parametrize.is_parametrized(layer, "bias")
    x = np.eye(3, dtype="float32")
    step = gl.compile_step(layer, lambda m, x: (m(x) ** 2).mean(), gl.optim.SGD(0.1), x, threads=1)
    original = step.parameters()["parametrizations.weight.original"]
    assert not np.tril(original, -1).any()
    with parametrize.cached():
        step(x)
    assert step.buffers()["parametrizations.weight.1.calls"] == 1
    now = step.parameters()["parametrizations.weight.original"]
    made = step.bind(lambda m, x: m.weight)(x)
    np.testing.assert_allclose(made, (np.triu(now) + np.triu(now, 1).T) / 2, rtol=1e-6)
    np.testing.assert_array_equal(made, made.T)
    parametrize.remove_parametrizations(layer, "weight")
    assert not parametrize.is_parametrized(layer)


@pytest.mark.peers
def test_functions_take_torchs_arguments():
    torch = pytest.importorskip("torch")
    checked = {
        "": ["spectral_norm", "weight_norm", "remove_spectral_norm", "remove_weight_norm"],
        "parametrizations": ["spectral_norm", "weight_norm"],
        "parametrize": ["register_parametrization", "remove_parametrizations", "is_parametrized", "cached"],
    }
    for place, names in checked.items():
        ours, theirs = (getattr(n.utils, place) if place else n.utils for n in (nn, torch.nn))
        for name in names:
            own, peer = (inspect.signature(getattr(n, name)).parameters for n in (ours, theirs))
            assert [(p.name, p.kind, p.default) for p in own.values()] == [
                (p.name, p.kind, p.default) for p in peer.values()
            ], name


def test_what_cannot_be_is_refused():
    spectral, weight = nn.utils.parametrizations.spectral_norm, nn.utils.parametrizations.weight_norm
    for call, kind, message in (
        (
            lambda: spectral(nn.Linear(2, 2), "wait"),
            ValueError,
            "no parameter .wait. of its own; there is weight",
        ),
        (lambda: weight(nn.Linear(2, 2, bias=False), "bias"), ValueError, "no parameter 'bias'"),
        (lambda: spectral(nn.Linear(2, 2), n_power_iterations=0), ValueError, "1 or more, got 0"),
        (lambda: spectral(nn.Linear(2, 2), dim=2), IndexError, "dim 2 is none of 2 axes"),
        (lambda: weight(nn.Linear(2, 2), dim=2), IndexError, "dim 2 is none of 2 axes"),
        (lambda: nn.utils.clip_grad_norm_, AttributeError, "clip_norm="),
    ):
        with pytest.raises(kind, match=message):
            call()
    layer = spectral(nn.Linear(2, 2))
    with pytest.raises(TypeError, match=r"Linear\.weight is computed of other parameters; .*remove_parametrizations"):
        layer.weight = nn.Parameter((2, 2))
    with pytest.raises(NotImplementedError, match="unsafe=True"):
        nn.utils.parametrize.register_parametrization(nn.Linear(2, 2), "weight", Symmetric(), unsafe=True)

    class Shorter(nn.Module):
        def forward(self, x):
            return x[:1]

    layer = nn.utils.parametrize.register_parametrization(nn.Linear(2, 2), "weight", Shorter())
    with pytest.raises(TypeError, match=r"made it float32 of shape \(1, 2\), it is f32\[2,2\]"):
        nn.functional_call(layer, layer.state_dict(), np.ones(2, "float32"))
