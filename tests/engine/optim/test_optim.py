"""Optimizers and schedules: whole training steps, interpreted, against torch's trajectories."""

import math

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn, optim
from gradloom.engine.step.step_graph import trace_step
from gradloom.random import key_of_seed

pytestmark = pytest.mark.usefixtures("one_thread_for_torch")

STEPS = 60


def model_of(dtype):
    layers = nn.Linear(6, 8), nn.Tanh(), nn.LayerNorm(8), nn.Linear(8, 8, bias=False), nn.GELU(), nn.Linear(8, 3)
    return nn.Sequential(*layers).to(dtype)


def loss_fn(model, batch):
    return nn.cross_entropy(model(batch["x"]), batch["y"])


def batches_of(dtype):
    rng = np.random.default_rng(0)
    return [{"x": rng.standard_normal((5, 6)).astype(dtype), "y": rng.integers(0, 3, 5)} for _ in range(4)]


def run(optimizer, dtype, steps=STEPS, **options):
    """Parameters by name and losses after `steps` interpreted steps."""
    model, batches = model_of(dtype), batches_of(dtype)
    step = trace_step(model, loss_fn, optimizer, batches[0], **options)
    step.graph.verify()
    carried = [*nn.init_parameters(model).values(), *step.initial_state()]
    losses = []
    for i in range(steps):
        batch = batches[i % len(batches)]
        lr = np.float64(optimizer.learning_rate(i))
        outputs = gl.interpret(step.graph, *carried, lr, key_of_seed(0), batch["x"], batch["y"])
        carried = list(outputs[: len(carried)])
        losses.append(outputs[step.loss_index].item())
    assert carried[step.state_range[-1]] == steps
    return dict(zip([name for name, _ in step.parameters], carried)), losses


def run_torch(make, dtype, steps=STEPS, clip=None, schedule=None):
    torch = pytest.importorskip("torch")
    layers = torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.LayerNorm(8), torch.nn.Linear(8, 8, bias=False)
    model = torch.nn.Sequential(*layers, torch.nn.GELU(), torch.nn.Linear(8, 3)).to(getattr(torch, dtype))
    model.load_state_dict({n: torch.tensor(a) for n, a in nn.init_parameters(model_of(dtype)).items()})
    optimizer, batches, losses = make(torch.optim, list(model.parameters())), batches_of(dtype), []
    for i in range(steps):
        batch = batches[i % len(batches)]
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(torch.tensor(batch["x"])), torch.tensor(batch["y"]))
        loss.backward()
        if clip:
            clip(torch.nn.utils, model.parameters())
        if schedule:
            optimizer.param_groups[0]["lr"] = schedule(i)
        optimizer.step()
        losses.append(loss.item())
    return {name: p.detach().numpy() for name, p in model.named_parameters()}, losses


def assert_same(ours, theirs, dtype):
    rtol, atol = (1e-11, 1e-12) if dtype == "float64" else (1e-3, 1e-4)
    np.testing.assert_allclose(ours[1], theirs[1], rtol=rtol, atol=atol)
    assert ours[0].keys() == theirs[0].keys()
    for name, array in theirs[0].items():
        assert ours[0][name].dtype == dtype
        np.testing.assert_allclose(ours[0][name], array, rtol=rtol, atol=atol)


SGD = [
    {},
    {"momentum": 0.9},
    {"momentum": 0.9, "dampening": 0.3, "weight_decay": 0.01},
    {"momentum": 0.8, "nesterov": True},
    {"weight_decay": 0.1},
    {"momentum": 0.5, "maximize": True},
]
ADAM = [
    {},
    {"betas": (0.8, 0.95), "eps": 1e-3},
    {"betas": (0.3, 0.9)},
    {"amsgrad": True},
    {"weight_decay": 0.1},
    {"weight_decay": 0.0},
    {"maximize": True},
]


@pytest.mark.peers
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("options", SGD)
def test_sgd_follows_torchs_trajectory(options, dtype):
    lr = 0.01 if options.get("maximize") else 0.03
    ours = run(optim.SGD(lr, **options), dtype)
    assert_same(ours, run_torch(lambda o, p: o.SGD(p, lr, **options), dtype), dtype)


@pytest.mark.peers
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("options", ADAM)
@pytest.mark.parametrize("name", ["Adam", "AdamW"])
def test_adam_follows_torchs_trajectory(name, options, dtype):
    ours = run(getattr(optim, name)(0.01, **options), dtype)
    assert_same(ours, run_torch(lambda o, p: getattr(o, name)(p, 0.01, foreach=False, **options), dtype), dtype)


@pytest.mark.peers
@pytest.mark.parametrize(("optimizer", "name"), [(optim.SGD(0.1, 0.9, 0.2, 0.1), "SGD"), (optim.AdamW(0.01), "AdamW")])
def test_an_update_is_torchs_to_a_few_last_bits(optimizer, name):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    p = rng.standard_normal(1000).astype(np.float32)
    tensor = torch.tensor(p.copy(), requires_grad=True)
    options = {"momentum": 0.9, "dampening": 0.2, "weight_decay": 0.1} if name == "SGD" else {"foreach": False}
    theirs = getattr(torch.optim, name)([tensor], 0.1 if name == "SGD" else 0.01, **options)
    state = {n: np.zeros(1000, np.float32) for n in optimizer.init_parameter(gl.spec(1000))}
    lr = np.asarray(optimizer.learning_rate(0))
    for i in range(50):
        gradient = rng.standard_normal(1000).astype(np.float32)
        tensor.grad = torch.tensor(gradient)
        theirs.step()
        p, state = optimizer.update_parameter(
            p, gradient, state, optimizer.scalars(np.asarray(i), lr, np.dtype("float32"))
        )
        np.testing.assert_allclose(p, tensor.detach().numpy(), rtol=0, atol=1e-6 * (i + 1))
    assert p.dtype == np.float32


@pytest.mark.peers
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_clipping_by_norm_and_by_value_is_torchs(dtype):
    ours = run(optim.SGD(0.1, 0.9), dtype, clip_norm=0.3)
    theirs = run_torch(lambda o, p: o.SGD(p, 0.1, 0.9), dtype, clip=lambda u, p: u.clip_grad_norm_(p, 0.3))
    assert_same(ours, theirs, dtype)
    ours = run(optim.AdamW(0.01), dtype, clip_value=0.02)
    theirs = run_torch(lambda o, p: o.AdamW(p, 0.01), dtype, clip=lambda u, p: u.clip_grad_value_(p, 0.02))
    assert_same(ours, theirs, dtype)


@pytest.mark.peers
def test_a_schedule_gives_the_rate_of_every_step_without_another_graph():
    schedule = optim.WarmUp(optim.Cosine(0.05, steps=20, final=0.001), steps=5)
    ours = run(optim.Adam(schedule), "float64", 30)
    theirs = run_torch(lambda o, p: o.Adam(p, 0.0), "float64", 30, schedule=schedule)
    assert_same(ours, theirs, "float64")


def test_schedules_have_their_shapes():
    assert [optim.WarmUp(1.0, 4)(i) for i in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    decay = optim.StepDecay(1.0, every=2, factor=0.5)
    assert [decay(i) for i in range(5)] == [1, 1, 0.5, 0.5, 0.25]
    cosine = optim.Cosine(1.0, steps=4, final=0.2)
    np.testing.assert_allclose([cosine(i) for i in (0, 2, 4, 9)], [1, 0.6, 0.2, 0.2])
    assert optim.Constant(0.3)(7) == 0.3
    assert optim.SGD(lambda step: 1 / (1 + step)).learning_rate(3) == 0.25


def cycles_of_torch(steps, **options):
    """Rate and momentum of every step, up to the first where torch divides by zero."""
    torch = pytest.importorskip("torch")
    peer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.5)
    found = []
    try:
        schedule = torch.optim.lr_scheduler.OneCycleLR(peer, 0.3, total_steps=steps, **options)
        for i in range(steps):
            found.append((peer.param_groups[0]["lr"], peer.param_groups[0]["momentum"]))
            peer.step()
            if i < steps - 1:
                schedule.step()
    except ZeroDivisionError:
        pass
    return found


@pytest.mark.peers
@pytest.mark.parametrize("anneal_strategy", ["cos", "linear"])
@pytest.mark.parametrize("three_phase", [False, True])
@pytest.mark.parametrize("rising", [0.0, 0.05, 0.1, 0.3, 0.5, 0.75, 1.0])
def test_one_cycle_of_any_length_is_torchs(rising, three_phase, anneal_strategy):
    options = {"three_phase": three_phase, "anneal_strategy": anneal_strategy, "base_momentum": 0.7}
    for steps in (1, 2, 3, 4, 7, 10, 20, 33):
        ours = optim.OneCycle(0.3, steps, rising, 10, 100, **options)
        peer = {**options, "pct_start": rising, "div_factor": 10, "final_div_factor": 100}
        values = [(ours(i), float(ours.momentum(i))) for i in range(steps)]
        theirs = cycles_of_torch(steps, **peer)
        np.testing.assert_allclose(values[: len(theirs)], theirs or values[:0], rtol=1e-12)
        # Where torch divides by zero the first part has no length, and is over.
        assert all(0 < rate < 0.31 and 0.69 < momentum < 0.96 for rate, momentum in values)
        assert (ours(steps + 5), ours.momentum(steps + 5)) == values[-1]


@pytest.mark.peers
@pytest.mark.parametrize(
    ("make", "peer"),
    [
        (lambda lr: optim.SGD(lr, 0.5), lambda o, p: o.SGD(p, 0.1, 0.5)),
        (lambda lr: optim.SGD(lr), lambda o, p: o.SGD(p, 0.1)),
        (lambda lr: optim.SGD(lr, 0.9, nesterov=True), lambda o, p: o.SGD(p, 0.1, 0.9, nesterov=True)),
        (lambda lr: optim.AdamW(lr), lambda o, p: o.AdamW(p, 0.1, foreach=False)),
        (lambda lr: optim.WarmUp(lr, 0) and optim.Adam(optim.WarmUp(lr, 0)), lambda o, p: o.Adam(p, foreach=False)),
    ],
)
def test_one_cycle_turns_the_momentum_too(make, peer):
    torch = pytest.importorskip("torch")
    ours = run(make(optim.OneCycle(0.05, 20, cycle_momentum=True)), "float64", 20)
    cycle = []

    def prepared(o, p):
        made = peer(o, p)
        cycle.append(torch.optim.lr_scheduler.OneCycleLR(made, 0.05, total_steps=20))
        return made

    def rate(i):
        if i:
            cycle[0].step()
        return cycle[0].get_last_lr()[0]

    assert_same(ours, run_torch(prepared, "float64", 20, schedule=rate), "float64")


def test_numpy_numbers_are_hyper_parameters_and_booleans_are_not():
    number, whole = np.float32(0.25), np.int64(1)
    array = np.array(0.25)
    assert optim.SGD(number, number, 0, array) == optim.SGD(0.25, 0.25, 0, 0.25)
    assert optim.AdamW(whole, np.float32([0.5, 0.25]), number, array) == optim.AdamW(1, (0.5, 0.25), 0.25, 0.25)
    assert all(type(b) is float for b in optim.Adam(betas=np.float64([0.5, 0.25])).betas)
    assert optim.OneCycle(number, np.int32(10), number)(3) == optim.OneCycle(0.25, 10, 0.25)(3)
    assert optim.WarmUp(optim.Cosine(number, np.int64(8), number), np.array(2))(1) == 0.25
    assert optim.StepDecay(number, np.int64(2), number)(5) == 0.25**3
    assert optim.SGD(lambda step: np.float32(0.25)).learning_rate(0) == 0.25
    assert optim.SGD(optim.Constant(array)).learning_rate(0) == 0.25
    for make in (
        lambda: optim.SGD(True),
        lambda: optim.SGD(np.True_),
        lambda: optim.SGD(0.1, momentum=True),
        lambda: optim.AdamW(betas=(True, 0.9)),
        lambda: optim.AdamW(eps=np.bool_(False)),
        lambda: optim.SGD(np.ones(1)),
        lambda: optim.SGD("0.1"),
        lambda: optim.SGD(1j),
        lambda: optim.SGD(0.1, 0.9, nesterov=0.5),
        lambda: optim.Cosine(0.1, True),
        lambda: optim.Cosine(0.1, 2.5),
        lambda: optim.OneCycle(0.1, np.float32(2.5)),
        lambda: optim.SGD(lambda step: True).learning_rate(0),
    ):
        with pytest.raises(ValueError, match=r"got|must be"):
            make()
    with pytest.raises(TypeError, match="Constant: lr is a number, got True"):
        optim.Constant(True)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, -0.5, None, "0.1", np.float32("inf"), True])
def test_a_schedule_that_gives_no_rate_is_refused_with_its_step(value):
    message = "the learning rate for step 7 is .*; it must be a finite number of 0 or more"
    with pytest.raises(ValueError, match=message):
        optim.SGD(lambda step: value if step == 7 else 0.1).learning_rate(7)


def test_a_schedule_that_overflows_is_refused_with_its_step():
    with pytest.raises(ValueError, match="the learning rate for step 5000 is inf"):
        optim.SGD(optim.StepDecay(1.0, 1, 2.0)).learning_rate(5000)
    with pytest.raises(ValueError, match="for step 3 is inf"):
        optim.SGD(optim.WarmUp(lambda step: math.inf if step else 1.0, 2)).learning_rate(3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optim.OneCycle(0.1, 0), "steps is at least 1, and whole, got 0"),
        (lambda: optim.SGD(-1), r"SGD: lr is a number of 0 or more or a schedule, got -1"),
        (lambda: optim.SGD(math.nan), "SGD: lr is a number"),
        (lambda: optim.SGD(0.1, momentum=-0.5), "SGD: momentum is 0 or more, got -0.5"),
        (lambda: optim.SGD(0.1, nesterov=True), "nesterov needs a momentum above 0 and no dampening"),
        (lambda: optim.Adam(betas=(0.9, 1.0)), r"Adam: betas is 0 or more and below 1, got \(0.9, 1.0\)"),
        (lambda: optim.Adam(betas=(0.9,)), "Adam: betas are two numbers"),
        (lambda: optim.AdamW(eps=-1e-8), "AdamW: eps is 0 or more"),
        (lambda: optim.AdamW(weight_decay="much"), "AdamW: weight_decay is 0 or more, got 'much'"),
        (lambda: optim.SGD(lambda step: -0.1).learning_rate(2), "the learning rate for step 2 is -0.1"),
        (lambda: optim.StepDecay(1, every=0), "every is at least 1"),
    ],
)
def test_hyper_parameters_out_of_range_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_adamw_decays_by_default_and_adam_does_not():
    assert optim.AdamW().weight_decay == 0.01
    assert optim.Adam().weight_decay == 0
    assert optim.Adam(lr=1e-3) == optim.Adam(1e-3)
