"""Each optimizer's rule: against its formula in NumPy, and against torch's trajectory under many options."""

import math

import gradloom as gl
import numpy as np
import pytest
from gradloom import optim

pytestmark = pytest.mark.usefixtures("one_thread_for_torch")

STEPS = 40
SHAPE = (5, 3)


def gradient_of(p, i):
    """A gradient that turns and shrinks as p moves; each step's has another part of noise, and some zeros."""
    noise = np.random.default_rng(i).standard_normal(p.shape)
    scale = 1 + np.arange(p.size).reshape(p.shape) % 3
    return ((p - 0.3) * scale + 0.3 * noise * (noise > -1)).astype(p.dtype)


def start(dtype, shape=SHAPE):
    return np.random.default_rng(99).standard_normal(shape).astype(dtype)


def follow(optimizer, dtype="float64", steps=STEPS, gradient=gradient_of, shape=SHAPE):
    """The parameter after each of `steps` updates, and the last state."""
    p, dt = np.asarray(start(dtype, shape)), np.dtype(dtype)
    specs = optimizer.init_parameter(gl.spec(shape, dtype))
    state = {n: np.full(s.type.shape, s.value, s.type.dtype) for n, s in specs.items()}
    shared = {name: np.asarray(spec.value) for name, spec in optimizer.init_shared().items()}
    path = []
    for i in range(steps):
        count, lr = np.asarray(i), np.asarray(optimizer.learning_rate(i))
        added, shared = optimizer.advance(count, lr, shared)
        scalars = dict(optimizer.scalars(count, lr, dt)) | {n: np.asarray(v).astype(dt) for n, v in added.items()}
        p, state = optimizer.update_parameter(p, gradient(p, i), state, scalars)
        assert (p.shape, p.dtype) == (shape, dt)
        assert {n: (a.shape, a.dtype) for n, a in state.items()} == {
            n: (s.type.shape, s.type.dtype) for n, s in specs.items()
        }
        path.append(p)
    return path, state


def adagrad(p, lr=0.01, eps=1e-10):
    total = 0.0
    for i in range(STEPS):
        g = gradient_of(p, i)
        total = total + g**2
        p = p - lr * g / (np.sqrt(total) + eps)
        yield p


def adagrad_of_the_lecture(p, lr=0.01, eps=1e-7):
    total = 0.0
    for i in range(STEPS):
        g = gradient_of(p, i)
        total = total + g**2
        p = p - lr * g / np.sqrt(total + eps)
        yield p


def adadelta(p, rho=0.9, eps=1e-6):
    v = u = 0.0
    for i in range(STEPS):
        g = gradient_of(p, i)
        v = rho * v + (1 - rho) * g**2
        d = np.sqrt(u + eps) / np.sqrt(v + eps) * g
        u = rho * u + (1 - rho) * d**2
        p = p - d
        yield p


def rmsprop(p, lr=0.01, alpha=0.99, eps=1e-8):
    v = 0.0
    for i in range(STEPS):
        g = gradient_of(p, i)
        v = alpha * v + (1 - alpha) * g**2
        p = p - lr * g / (np.sqrt(v) + eps)
        yield p


def centered_rmsprop_with_momentum(p, lr=0.01, alpha=0.9, eps=1e-8, momentum=0.5):
    v = m = b = 0.0
    for i in range(STEPS):
        g = gradient_of(p, i)
        v, m = alpha * v + (1 - alpha) * g**2, alpha * m + (1 - alpha) * g
        b = momentum * b + g / (np.sqrt(v - m**2) + eps)
        p = p - lr * b
        yield p


def rmsprop_of_the_lecture(p, lr=0.01, alpha=0.9, eps=1e-3):
    v = gradient_of(p, 0) ** 2
    for i in range(STEPS):
        g = gradient_of(p, i)
        v = alpha * v + (1 - alpha) * g**2
        p = p - lr * g / np.sqrt(v + eps)
        yield p


def adam_from_the_first_gradient(p, lr=0.01, beta1=0.9, beta2=0.99, eps=1e-3):
    m, v = gradient_of(p, 0), gradient_of(p, 0) ** 2
    for i in range(STEPS):
        g = gradient_of(p, i)
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
        p = p - lr * m / np.sqrt(v + eps)
        yield p


def adam_of_the_lecture(p, lr=0.01, beta1=0.9, beta2=0.99, eps=1e-3):
    m = v = 0.0
    for i in range(STEPS):
        g = gradient_of(p, i)
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
        p = p - lr * (m / (1 - beta1 ** (i + 1))) / np.sqrt(v / (1 - beta2 ** (i + 1)) + eps)
        yield p


def adamax(p, lr=2e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    m = u = 0.0
    for i in range(STEPS):
        g = gradient_of(p, i)
        m, u = beta1 * m + (1 - beta1) * g, np.maximum(beta2 * u, abs(g) + eps)
        p = p - lr / (1 - beta1 ** (i + 1)) * m / u
        yield p


def nadam(p, lr=2e-3, beta1=0.9, beta2=0.999, eps=1e-8, decay=4e-3):
    m = v = 0.0
    product = 1.0
    for t in range(1, STEPS + 1):
        g = gradient_of(p, t - 1)
        mu, following = (beta1 * (1 - 0.5 * 0.96 ** (s * decay)) for s in (t, t + 1))
        product *= mu
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
        mean = following * m / (1 - product * following) + (1 - mu) * g / (1 - product)
        p = p - lr * mean / (np.sqrt(v / (1 - beta2**t)) + eps)
        yield p


def radam(p, lr=1e-2, beta1=0.9, beta2=0.99, eps=1e-8):
    m = v = 0.0
    longest = 2 / (1 - beta2) - 1
    for t in range(1, STEPS + 1):
        g = gradient_of(p, t - 1)
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
        length = longest - 2 * t * beta2**t / (1 - beta2**t)
        step = m / (1 - beta1**t)
        if length > 5:
            r = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
            step = step * math.sqrt(r) * math.sqrt(1 - beta2**t) / (np.sqrt(v) + eps)
        p = p - lr * step
        yield p


def rprop(p, lr=0.01):
    size, before = np.full(SHAPE, lr), np.zeros(SHAPE)
    for i in range(STEPS):
        g = gradient_of(p, i)
        size = np.clip(np.where(g * before > 0, 1.2, np.where(g * before < 0, 0.5, 1.0)) * size, 1e-6, 50)
        before = np.where(g * before < 0, 0, g)
        p = p - np.sign(before) * size
        yield p


def asgd(p, lr=0.01, lambd=0.1, alpha=0.75):
    for i in range(STEPS):
        eta = lr / (1 + lambd * lr * i) ** alpha
        p = (1 - lambd * eta) * p - eta * gradient_of(p, i)
        yield p


def lion(p, lr=1e-3, beta1=0.9, beta2=0.99, decay=0.1):
    m = np.zeros(SHAPE)
    for i in range(STEPS):
        g = gradient_of(p, i)
        p = p - lr * (np.sign(beta1 * m + (1 - beta1) * g) + decay * p)
        m = beta2 * m + (1 - beta2) * g
        yield p


def sign_descent(p, lr=0.01):
    for i in range(STEPS):
        p = p - lr * np.sign(gradient_of(p, i))
        yield p


def adafactor(p, lr=0.01, least=1e-3, d=1.0):
    rows, columns = np.zeros((5, 1)), np.zeros((1, 3))
    for t in range(1, STEPS + 1):
        g = gradient_of(p, t - 1)
        beta = 1 - t**-0.8
        rows = beta * rows + (1 - beta) * (g**2).mean(1, keepdims=True)
        columns = beta * columns + (1 - beta) * (g**2).mean(0, keepdims=True)
        u = g / np.sqrt(rows @ columns / rows.mean())
        u = u / max(1, np.sqrt((u**2).mean()) / d)
        p = p - max(least, np.sqrt((p**2).mean())) * min(lr, 1 / math.sqrt(t)) * u
        yield p


def muon(p, lr=1e-3, decay=0.1, momentum=0.95):
    b = np.zeros(SHAPE)
    for i in range(STEPS):
        g = gradient_of(p, i)
        b = momentum * b + (1 - momentum) * g
        u, s, vt = np.linalg.svd((1 - momentum) * g + momentum * b, full_matrices=False)
        s = s / np.sqrt((s**2).sum())
        for _ in range(5):  # the iteration keeps the singular vectors
            s = 3.4445 * s - 4.775 * s**3 + 2.0315 * s**5
        p = p - lr * (decay * p + math.sqrt(5 / 3) * (u * s) @ vt)
        yield p


RULES = [
    (optim.Adafactor(), adafactor),
    (optim.Muon(), muon),
    (optim.Adagrad(), adagrad),
    (optim.Adagrad(eps=1e-7, eps_inside_root=True), adagrad_of_the_lecture),
    (optim.Adadelta(), adadelta),
    (optim.RMSprop(), rmsprop),
    (optim.RMSProp(alpha=0.9, centered=True, momentum=0.5), centered_rmsprop_with_momentum),
    (optim.RMSprop(alpha=0.9, eps=1e-3, eps_inside_root=True, init_moments="gradient"), rmsprop_of_the_lecture),
    (optim.Adam(0.01, (0.9, 0.99), 1e-3, eps_inside_root=True), adam_of_the_lecture),
    (
        optim.AdamW(0.01, (0.9, 0.99), 1e-3, 0, eps_inside_root=True, init_moments="gradient"),
        adam_from_the_first_gradient,
    ),
    (optim.Adamax(), adamax),
    (optim.NAdam(), nadam),
    (optim.RAdam(1e-2, (0.9, 0.99)), radam),
    (optim.Rprop(), rprop),
    (optim.ASGD(lambd=0.1), asgd),
    (optim.Lion(1e-3, weight_decay=0.1), lion),
    (optim.Lion(0.01, (0, 0)), sign_descent),
    (optim.RMSprop(alpha=0, eps=0), sign_descent),
    (optim.Adam(0.01, (0, 0), 0), sign_descent),
    (optim.Adam(0.01, (0, 0), 0, eps_inside_root=True, init_moments="gradient"), sign_descent),
]


@pytest.mark.parametrize(("optimizer", "formula"), RULES, ids=lambda value: getattr(value, "__name__", None))
def test_a_rule_is_its_formula(optimizer, formula):
    expected = list(formula(start("float64")))
    np.testing.assert_allclose(follow(optimizer)[0], expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(follow(optimizer, "float32")[0], expected, rtol=0, atol=3e-4)


@pytest.mark.parametrize(
    "optimizer",
    [
        optim.Adagrad(eps=0),
        optim.Adadelta(eps=0),
        optim.RMSprop(eps=0),
        optim.RMSprop(eps=0, centered=True),
        optim.Adam(eps=0),
        optim.AdamW(eps=0, weight_decay=0, eps_inside_root=True),
        optim.Adamax(eps=0),
        optim.NAdam(eps=0),
        optim.RAdam(eps=0),
        optim.SparseAdam(eps=0),
        optim.Lion(),
        optim.Rprop(),
    ],
)
def test_an_element_without_a_gradient_stays_where_it_is(optimizer):
    held = np.arange(3) == 1

    def gradient(p, i):
        return np.where(held, 0, gradient_of(p, i))

    path = follow(optimizer, gradient=gradient)[0]
    np.testing.assert_array_equal(path[-1][:, 1], start("float64")[:, 1])
    assert np.isfinite(path).all()


def test_a_gradient_that_is_nan_is_not_hidden_without_eps():
    for optimizer in (optim.Adagrad(eps=0), optim.RMSprop(eps=0), optim.Adam(eps=0), optim.Adamax(eps=0)):
        path = follow(optimizer, steps=1, gradient=lambda p, i: np.where(np.arange(3) == 1, np.nan, p))[0]
        assert np.isnan(path[-1]).tolist() == [[False, True, False]] * 5


def test_sparse_adam_leaves_elements_of_gradient_0_and_their_state_alone():
    def gradient(p, i):
        return np.where((np.arange(15).reshape(SHAPE) + i) % 3 == 0, gradient_of(p, i), 0)

    path, _ = follow(optim.SparseAdam(), gradient=gradient)
    p, m, v = start("float64"), np.zeros(SHAPE), np.zeros(SHAPE)
    for i in range(STEPS):
        g = gradient(p, i)
        for at in zip(*np.nonzero(g)):
            m[at] += 0.1 * (g[at] - m[at])
            v[at] += 0.001 * (g[at] ** 2 - v[at])
            corrected = 1e-3 * math.sqrt(1 - 0.999 ** (i + 1)) / (1 - 0.9 ** (i + 1))
            p[at] -= corrected * m[at] / (math.sqrt(v[at]) + 1e-8)
        np.testing.assert_allclose(path[i], p, rtol=1e-11)


def test_asgd_averages_from_t0_on():
    path, state = follow(optim.ASGD(t0=9))
    np.testing.assert_allclose(state["ax"], np.mean(path[10:], axis=0), rtol=1e-12)
    np.testing.assert_array_equal(follow(optim.ASGD(t0=9), steps=11)[1]["ax"], path[10])


@pytest.mark.parametrize("shape", [(7, 50), (5, 64)])
def test_an_adam_of_8_bits_stays_near_adam(shape):
    steps, n = 200, math.prod(shape)

    def gradient(p, i):
        scale = ((1 + np.arange(shape[1])) ** 2 / 50).astype("float32")  # magnitudes of 1 to 2,500 in a block
        return gradient_of(p, i) * scale

    ours, state = follow(optim.Adam8bit(0.01, min_8bit_size=0, block_size=64), "float32", steps, gradient, shape)
    adams, own = follow(optim.Adam(0.01), "float32", steps, gradient, shape)
    way = np.abs(adams[-1] - start("float32", shape))
    assert np.abs(ours[-1] - adams[-1]).mean() < 0.03 * way.mean()
    assert state["exp_avg"].dtype == state["exp_avg_sq"].dtype == np.uint8
    assert state["exp_avg"].shape == {350: (6, 64), 320: shape}[n]  # pieces, the last one filled up, or rows
    square = (state["exp_avg_sq"] / 255.0) ** 4 * state["exp_avg_sq_scale"][:, None]
    # v is not stuck where it once was, and not biased.
    assert abs(np.log(square.ravel()[:n] / own["exp_avg_sq"].ravel()).mean()) < 0.03


def test_an_adam_of_8_bits_has_adams_state_for_small_parameters():
    optimizer = optim.Adam8bit(0.01, weight_decay=0.1)
    for ours, adams in zip(follow(optimizer)[0], follow(optim.Adam(0.01, weight_decay=0.1))[0], strict=True):
        np.testing.assert_array_equal(ours, adams)
    large, small = (sum(s.type.nbytes for s in optimizer.init_parameter(gl.spec(n)).values()) for n in (4096, 4095))
    assert large == 2 * 4096 + 2 * 4 * 2
    assert small == 8 * 4095


@pytest.mark.peers
@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4)])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"weight_decay": 0.0, "nesterov": False, "adjust_lr_fn": "original"},
        {"adjust_lr_fn": "match_rms_adamw", "momentum": 0.5, "ns_steps": 3, "ns_coefficients": (2, -1.5, 0.5)},
    ],
)
def test_muon_is_torchs_in_the_precision_of_the_parameter(options, shape, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.Tensor, "bfloat16", lambda self: self.clone())
    tensor = torch.tensor(start("float64", shape), requires_grad=True)
    theirs = torch.optim.Muon([tensor], 0.01, **options)
    for i, ours in enumerate(follow(optim.Muon(0.01, **options), shape=shape)[0]):
        tensor.grad = torch.tensor(gradient_of(tensor.detach().numpy(), i))
        theirs.step()
        np.testing.assert_allclose(ours, tensor.detach().numpy(), rtol=1e-9, atol=1e-10)


@pytest.mark.peers
@pytest.mark.parametrize("shape", [(), (7,), (1, 6), (2, 3, 4)])
def test_adafactor_is_torchs_for_other_shapes(shape):
    torch = pytest.importorskip("torch")
    tensor = torch.tensor(start("float64", shape), requires_grad=True)
    theirs = torch.optim.Adafactor([tensor], foreach=False)
    for i, ours in enumerate(follow(optim.Adafactor(), shape=shape)[0]):
        tensor.grad = torch.tensor(gradient_of(tensor.detach().numpy(), i))
        theirs.step()
        np.testing.assert_allclose(ours, tensor.detach().numpy(), rtol=1e-6)


TORCHS = [
    ("Adafactor", {}),
    ("Adafactor", {"lr": 0.1, "beta2_decay": -0.5, "d": 2.0, "weight_decay": 0.1, "maximize": True}),
    ("Adafactor", {"eps": (1e-4, 0.5)}),
    ("SGD", {}),
    ("SGD", {"momentum": 0.9, "dampening": 0.1, "weight_decay": 0.1, "maximize": True}),
    ("Adagrad", {}),
    ("Adagrad", {"lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.3, "eps": 1e-3}),
    ("Adagrad", {"maximize": True}),
    ("Adadelta", {}),
    ("Adadelta", {"lr": 0.5, "rho": 0.8, "eps": 1e-4, "weight_decay": 0.1, "maximize": True}),
    ("Adamax", {}),
    ("Adamax", {"betas": (0.7, 0.9), "eps": 1e-3, "weight_decay": 0.1, "maximize": True}),
    ("NAdam", {}),
    ("NAdam", {"weight_decay": 0.1, "momentum_decay": 0.1, "maximize": True}),
    ("NAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True, "betas": (0.3, 0.9), "eps": 1e-3}),
    ("RAdam", {}),
    ("RAdam", {"betas": (0.8, 0.9), "weight_decay": 0.1, "maximize": True}),
    ("RAdam", {"betas": (0.8, 0.5), "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("RMSprop", {}),
    ("RMSprop", {"alpha": 0.9, "eps": 1e-4, "weight_decay": 0.1, "momentum": 0.9, "maximize": True, "lr": 1e-3}),
    ("RMSprop", {"centered": True, "alpha": 0.5}),
    ("RMSprop", {"centered": True, "momentum": 0.5, "weight_decay": 0.1}),
    ("Rprop", {}),
    ("Rprop", {"etas": (0.3, 1.5), "step_sizes": (1e-3, 0.1), "maximize": True}),
    ("ASGD", {}),
    ("ASGD", {"lambd": 0.1, "alpha": 0.5, "t0": 9, "weight_decay": 0.1, "maximize": True}),
    ("Adam", {"weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("Adam", {"weight_decay": 0.1, "amsgrad": True, "maximize": True}),
    ("AdamW", {"weight_decay": 0.1, "amsgrad": True, "maximize": True}),
]


@pytest.mark.peers
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("name", "options"), TORCHS)
def test_a_trajectory_is_torchs(name, options, dtype):
    torch = pytest.importorskip("torch")
    rtol, atol = (1e-10, 1e-11) if dtype == "float64" else (3e-4, 3e-5)
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))  # torch keeps some of its scalars in this dtype
    try:
        tensor = torch.tensor(start(dtype), requires_grad=True)
        theirs = getattr(torch.optim, name)([tensor], foreach=False, **options)
        for i, ours in enumerate(follow(getattr(optim, name)(**options), dtype)[0]):
            tensor.grad = torch.tensor(gradient_of(tensor.detach().numpy(), i))
            theirs.step()
            np.testing.assert_allclose(ours, tensor.detach().numpy(), rtol=rtol, atol=atol)
    finally:
        torch.set_default_dtype(before)


@pytest.mark.peers
def test_names_and_defaults_are_torchs():
    torch = pytest.importorskip("torch")
    import inspect

    compared = 0
    for name in optim.__all__:
        peer = getattr(torch.optim, name, None)
        if peer is None or name == "Optimizer":
            continue
        own = {n: p.default for n, p in inspect.signature(getattr(optim, name)).parameters.items()}
        for argument, parameter in inspect.signature(peer).parameters.items():
            if argument not in ("params", "foreach", "fused", "capturable", "differentiable"):
                assert own[argument] == parameter.default, (name, argument)
                compared += 1
    assert compared > 60


@pytest.mark.peers
def test_sparse_adam_is_torchs_on_rows_of_a_table():
    torch = pytest.importorskip("torch")

    def gradient(p, i):
        return np.where(np.arange(5)[:, None] % 3 == i % 3, p * p + 0.1, 0)

    tensor = torch.tensor(start("float64"), requires_grad=True)
    theirs = torch.optim.SparseAdam([tensor], 0.01, maximize=True)
    for i, ours in enumerate(follow(optim.SparseAdam(0.01, maximize=True), gradient=gradient)[0]):
        tensor.grad = torch.tensor(gradient(tensor.detach().numpy(), i)).to_sparse(1)
        theirs.step()
        np.testing.assert_allclose(ours, tensor.detach().numpy(), rtol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optim.Adagrad(lr_decay=-1), "Adagrad: lr_decay is 0 or more, got -1"),
        (lambda: optim.Adagrad(eps=math.nan), "Adagrad: eps is 0 or more, got nan"),
        (lambda: optim.Adagrad(initial_accumulator_value=-0.1), "initial_accumulator_value is 0 or more"),
        (lambda: optim.Adadelta(rho=1.5), "Adadelta: rho is from 0 to 1, got 1.5"),
        (lambda: optim.Adamax(betas=(0.9, 1)), r"Adamax: betas is 0 or more and below 1, got \(0.9, 1\)"),
        (lambda: optim.NAdam(betas=0.9), "NAdam: betas are two numbers, got 0.9"),
        (lambda: optim.NAdam(momentum_decay=math.inf), "NAdam: momentum_decay is 0 or more, got inf"),
        (lambda: optim.RAdam(decoupled_weight_decay=1), "decoupled_weight_decay is True or False, got 1"),
        (lambda: optim.RMSprop(alpha=2), "RMSprop: alpha is from 0 to 1, got 2"),
        (lambda: optim.RMSprop(momentum=-1), "RMSprop: momentum is 0 or more, got -1"),
        (lambda: optim.RMSprop(init_moments="g"), "RMSprop: init_moments is 'zero' or 'gradient', got 'g'"),
        (lambda: optim.Adam(init_moments=0), "Adam: init_moments is 'zero' or 'gradient', got 0"),
        (lambda: optim.Adam(init_moments=np.zeros(2)), "Adam: init_moments is 'zero' or 'gradient'"),
        (lambda: optim.Adam(eps_inside_root="yes"), "Adam: eps_inside_root is True or False, got 'yes'"),
        (
            lambda: optim.Rprop(etas=(1.2, 0.5)),
            r"Rprop: etas are one between 0 and 1 and one above 1, got \(1.2, 0.5\)",
        ),
        (lambda: optim.Rprop(step_sizes=(1, 0.5)), "Rprop: step_sizes are the least and the largest"),
        (lambda: optim.Rprop(etas="ab"), "Rprop: etas are two numbers, got 'ab'"),
        (lambda: optim.ASGD(t0=-1), "ASGD: t0 is 0 or more, got -1"),
        (lambda: optim.Lion(betas=(0.9, 0.99, 0.5)), "Lion: betas are two numbers"),
        (lambda: optim.SparseAdam(math.inf), "SparseAdam: lr is a number of 0 or more or a schedule, got inf"),
        (lambda: optim.Adafactor(beta2_decay=0.5), "Adafactor: beta2_decay is from -inf to 0, got 0.5"),
        (lambda: optim.Adafactor(eps=1e-3), "Adafactor: eps are two numbers of 0 or more, or None and one, got 0.001"),
        (lambda: optim.Adafactor(eps=(1e-3, None)), "Adafactor: eps are two numbers of 0 or more, or None and one"),
        (lambda: optim.Adafactor(eps="ab"), "Adafactor: eps are two numbers of 0 or more, or None and one, got 'ab'"),
        (lambda: optim.Adafactor(eps=np.ones(3)), "Adafactor: eps are two numbers of 0 or more, or None and one"),
        (lambda: optim.Adafactor(d=0.5), "Adafactor: d is 1 or more, got 0.5"),
        (lambda: optim.Muon(ns_steps=100), "Muon: ns_steps is a whole number from 0 to 99, got 100"),
        (lambda: optim.Muon(ns_coefficients=(1, 2)), "Muon: ns_coefficients are three numbers"),
        (lambda: optim.Muon(adjust_lr_fn="adam"), "Muon: adjust_lr_fn is None or 'original' or 'match_rms_adamw'"),
        (
            lambda: optim.Muon().init_parameter(gl.spec((3,))),
            r"Muon is for matrices, this parameter has shape \(3,\); freeze it",
        ),
        (lambda: optim.Adam8bit(block_size=0), "Adam8bit: block_size is a whole number of 1 or more, got 0"),
        (lambda: optim.Adagrad(optim.OneCycle(0.1, 10, cycle_momentum=True)), "Adagrad has no momentum that OneCycle"),
    ],
)
def test_options_out_of_range_are_told(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_what_an_optimizer_has_not_is_told():
    with pytest.raises(TypeError, match="AdamW has no argument 'decoupled_weight_decay'; similar: weight_decay"):
        optim.AdamW(decoupled_weight_decay=False)
    with pytest.raises(TypeError, match="'fused'; it says how torch runs an update, which is always fused here; leave"):
        optim.Adagrad(fused=True)
    with pytest.raises(
        TypeError, match="Rprop has no argument 'weight_decay'; there are lr, etas, step_sizes, maximize"
    ):
        optim.Rprop(weight_decay=0.1)
