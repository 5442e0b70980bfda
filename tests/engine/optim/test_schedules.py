"""Every schedule's rates and momenta against torch's, how they combine, and what is refused."""

import math
import pickle
from pathlib import Path

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn, optim
from gradloom.optim import schedules

STEPS = 40


def torchs(make, momentum=0.5, steps=STEPS, lr=0.1):
    """The rate and the momentum of every step by torch's scheduler, which `make(lr_scheduler, optimizer)` gives."""
    torch = pytest.importorskip("torch")
    peer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr, momentum=momentum)
    scheduler, found = make(torch.optim.lr_scheduler, peer), []
    for i in range(steps):
        found.append((peer.param_groups[0]["lr"], peer.param_groups[0]["momentum"]))
        peer.step()
        if i < steps - 1:
            scheduler.step()
    return np.array(found)


def assert_rates(schedule, make, steps=STEPS, momentum=False, lr=0.1):
    found = torchs(make, steps=steps, lr=lr)
    ours = optim.SGD(schedule, momentum=0.5)
    np.testing.assert_allclose([ours.learning_rate(i) for i in range(steps)], found[:, 0], rtol=1e-9, atol=1e-16)
    # Asked for in any other order they are the same.
    assert [schedule(i) for i in (steps - 1, 3, 7)] == [schedule(steps - 1), schedule(3), schedule(7)]
    if momentum:
        own = ours.momentum_schedule
        np.testing.assert_allclose([own(np.asarray(i)) for i in range(steps)], found[:, 1], rtol=1e-12)


def wave(step):
    return 0.5 + 0.4 * math.sin(step)


SCHEDULES = [
    (optim.Step(0.1, 7), lambda s, o: s.StepLR(o, 7)),
    (optim.Step(0.1, 3, 0.5), lambda s, o: s.StepLR(o, 3, 0.5)),
    (optim.MultiStep(0.1, [5, 9, 9, 30]), lambda s, o: s.MultiStepLR(o, [5, 9, 9, 30])),
    (optim.MultiStep(0.1, (4,), gamma=0.3), lambda s, o: s.MultiStepLR(o, (4,), gamma=0.3)),
    (optim.Constant(0.1, 0.25), lambda s, o: s.ConstantLR(o, 0.25)),
    (optim.Constant(0.1, total_iters=9), lambda s, o: s.ConstantLR(o, total_iters=9)),
    (optim.Linear(0.1), lambda s, o: s.LinearLR(o)),
    (optim.Linear(0.1, 1.0, 0.2, 11), lambda s, o: s.LinearLR(o, 1.0, 0.2, 11)),
    (optim.Exponential(0.1, 0.93), lambda s, o: s.ExponentialLR(o, 0.93)),
    (optim.Polynomial(0.1), lambda s, o: s.PolynomialLR(o)),
    (optim.Polynomial(0.1, 30, 2.5), lambda s, o: s.PolynomialLR(o, 30, 2.5)),
    (optim.Cosine(0.1, 39, 0.01), lambda s, o: s.CosineAnnealingLR(o, 39, 0.01)),
    (optim.Cosine(0.1, T_max=39, eta_min=0.02), lambda s, o: s.CosineAnnealingLR(o, T_max=39, eta_min=0.02)),
    (optim.CosineWarmRestarts(0.1, 7), lambda s, o: s.CosineAnnealingWarmRestarts(o, 7)),
    (optim.CosineWarmRestarts(0.1, 3, 2, 0.01), lambda s, o: s.CosineAnnealingWarmRestarts(o, 3, 2, 0.01)),
    (optim.Lambda(0.1, wave), lambda s, o: s.LambdaLR(o, wave)),
    (optim.Multiplicative(0.1, wave), lambda s, o: s.MultiplicativeLR(o, wave)),
    (optim.OneCycle(0.3, 40), lambda s, o: s.OneCycleLR(o, 0.3, 40, cycle_momentum=False)),
    (
        optim.OneCycle(0.3, 40, 0.2, 10, 100, three_phase=True),
        lambda s, o: s.OneCycleLR(
            o,
            0.3,
            40,
            pct_start=0.2,
            div_factor=10,
            final_div_factor=100,
            three_phase=True,
            cycle_momentum=False,
        ),
    ),
]
COMBINED = [
    (
        lambda s, lr: s.Chained([s.Constant(lr, 0.1, 8), s.Exponential(lr, 0.9)]),
        lambda s, o: [s.ConstantLR(o, 0.1, 8), s.ExponentialLR(o, 0.9)],
    ),
    (
        lambda s, lr: s.Chained([s.Linear(lr, 0.25, 1, 6), s.Cosine(lr, 39, 0.01), s.MultiStep(lr, [12, 20], 0.5)]),
        lambda s, o: [
            s.LinearLR(o, 0.25, 1, 6),
            s.CosineAnnealingLR(o, 39, 0.01),
            s.MultiStepLR(o, [12, 20], 0.5),
        ],
    ),
    (
        lambda s, lr: s.Chained([s.Polynomial(lr, 30, 2), s.Step(lr, 5, 0.7), s.Multiplicative(lr, wave)]),
        lambda s, o: [s.PolynomialLR(o, 30, 2), s.StepLR(o, 5, 0.7), s.MultiplicativeLR(o, wave)],
    ),
    (
        lambda s, lr: s.Chained([s.CosineWarmRestarts(lr, 9), s.Linear(lr, 0.5, 1, 8)]),
        lambda s, o: [s.CosineAnnealingWarmRestarts(o, 9), s.LinearLR(o, 0.5, 1, 8)],
    ),
]


@pytest.mark.peers
@pytest.mark.parametrize(("schedule", "make"), SCHEDULES, ids=lambda value: type(value).__name__)
def test_the_rate_of_every_step_is_torchs(schedule, make):
    assert_rates(schedule, make)


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step.*")
@pytest.mark.parametrize(("ours", "theirs"), COMBINED)
def test_chained_schedules_are_torchs(ours, theirs):
    chained = ours(schedules, 0.1)
    assert_rates(chained, lambda s, o: s.ChainedScheduler(theirs(s, o), o))
    assert pickle.loads(pickle.dumps(chained)) == chained


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step.*", "ignore:.*deprecated.*")
def test_sequential_schedules_are_torchs():
    ours = optim.Sequential(
        [optim.Linear(0.1, 0.1, 1, 10), optim.Cosine(0.1, 12, 0.01), optim.Constant(0.1, 0.5, 4)], [10, 20]
    )
    parts = [
        lambda s, o: s.LinearLR(o, 0.1, 1, 10),
        lambda s, o: s.CosineAnnealingLR(o, 12, 0.01),
        lambda s, o: s.ConstantLR(o, 0.5, 4),
    ]
    assert_rates(ours, lambda s, o: s.SequentialLR(o, [part(s, o) for part in parts], [10, 20]))


@pytest.mark.peers
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"step_size_down": 5},
        {"mode": "triangular2", "step_size_down": 3},
        {"mode": "exp_range", "gamma": 0.95},
        {"scale_fn": lambda x: 1 / x, "base_momentum": 0.7},
        {"scale_fn": lambda x: 0.9**x, "scale_mode": "iterations", "max_momentum": 0.95},
    ],
)
def test_cyclic_rates_and_momenta_are_torchs(options):
    def make(s, o):
        return s.CyclicLR(o, 0.1, 0.4, 7, **options)

    assert_rates(optim.Cyclic(0.1, 0.4, 7, **options), make, momentum=True)
    assert optim.SGD(optim.Cyclic(0.1, 0.4, cycle_momentum=False)).momentum_schedule is None


def test_the_momentum_of_parts_follows_the_part_that_cycles_it():
    cycle = optim.OneCycle(0.3, 10, cycle_momentum=True)
    own = optim.SGD(optim.Sequential([0.1, cycle, optim.Exponential(0.1, 0.9)], [4, 9]), momentum=0.5).momentum_schedule
    values = [float(own(np.asarray(i))) for i in range(15)]
    assert values == [0.5] * 4 + [float(cycle.momentum(i)) for i in range(5)] + [float(cycle.momentum(4))] * 6
    own = optim.Adam(optim.Chained([cycle, optim.Exponential(0.1, 0.9)])).momentum_schedule
    assert [float(own(i)) for i in range(12)] == [float(cycle.momentum(i)) for i in range(12)]
    assert optim.Adam(optim.Sequential([0.1, optim.OneCycle(0.3, 10)], [2])).momentum_schedule is None


@pytest.mark.parametrize(
    "make",
    [
        lambda lr: optim.SGD(lr, 0.5),
        lambda lr: optim.RMSprop(lr, momentum=0.5),
        lambda lr: optim.Adam(lr, (0.5, 0.99)),
        lambda lr: optim.Adamax(lr, (0.5, 0.99)),
        lambda lr: optim.NAdam(lr, (0.5, 0.99)),
        lambda lr: optim.RAdam(lr, (0.5, 0.99)),
        lambda lr: optim.SparseAdam(lr, (0.5, 0.99)),
        lambda lr: optim.Lion(lr, (0.5, 0.99)),
    ],
)
def test_a_momentum_that_is_cycled_to_one_value_is_that_one(make):
    cycle = optim.Cyclic(0.1, 0.1, base_momentum=0.5, max_momentum=0.5)
    p, g = np.arange(1.0, 5), np.array([0.5, -1, 2, 0.25])
    results = []
    for optimizer in (make(cycle), make(0.1)):
        state = {name: np.ones(4) for name in optimizer.init_parameter(gl.spec(4, "float64"))}
        shared = {name: np.asarray(0.7) for name in optimizer.init_shared()}
        step, lr = np.asarray(6), np.asarray(0.1)
        added, _ = optimizer.advance(step, lr, shared)
        new, state = optimizer.update_parameter(
            p, g, state, {**optimizer.scalars(step, lr, np.dtype("float64")), **added}
        )
        results.append([new, *state.values()])
    np.testing.assert_allclose(*results, rtol=1e-14)
    assert not np.array_equal(results[0][0], p)


def test_what_stood_before_stands():
    assert [optim.Constant(0.3)(i) for i in (0, 4, 9)] == [0.3] * 3
    assert optim.Cosine(1.0, 4, 0.2) == optim.Cosine(1.0, steps=4, final=0.2) == optim.Cosine(1.0, T_max=4, eta_min=0.2)
    assert optim.Cosine(1.0, 4, 0.2)(100) == 0.2
    by_name = optim.OneCycle(0.3, total_steps=40, pct_start=0.2, div_factor=10, final_div_factor=100)
    assert by_name == optim.OneCycle(0.3, 40, 0.2, 10, 100)
    assert not by_name.cycle_momentum
    assert repr(optim.Cosine(1.0, 4)) == "Cosine(lr=1.0, steps=4, final=0.0)"


def test_numpy_scalars_are_numbers():
    n, i = np.float32(0.25), np.int64(8)
    assert optim.Chained([optim.Step(n, i, n), optim.Linear(n, n, n, i), np.float64(0.5)])(3) == 0.5
    assert optim.MultiStep(n, np.array([2, 4]), n)(3) == 0.0625
    assert optim.Sequential([n, optim.Polynomial(n, i, i)], np.array([3]))(2) == 0.25
    assert optim.Cyclic(n, n, i, i, gamma=n)(1) == optim.CosineWarmRestarts(n, i, i)(0) == 0.25
    assert optim.Exponential(n, n)(1) == optim.Constant(n, n, i)(0) == 0.0625
    assert optim.ReduceOnPlateau(n, "min", n, i, n, "abs", i, n, n)(0) == 0.25


@pytest.mark.parametrize("bad", [-0.1, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "make",
    [
        lambda lr: optim.Constant(lr),
        lambda lr: optim.Step(lr, 3),
        lambda lr: optim.MultiStep(lr, [3]),
        lambda lr: optim.Linear(lr),
        lambda lr: optim.Exponential(lr, 0.9),
        lambda lr: optim.Exponential(0.1, lr),
        lambda lr: optim.Polynomial(lr),
        lambda lr: optim.Cosine(lr, 3),
        lambda lr: optim.Cosine(0.1, 3, lr),
        lambda lr: optim.CosineWarmRestarts(lr, 3),
        lambda lr: optim.Cyclic(lr, 0.1),
        lambda lr: optim.Cyclic(0.1, lr),
        lambda lr: optim.OneCycle(lr, 3),
        lambda lr: optim.Lambda(lr, wave),
        lambda lr: optim.Multiplicative(lr, wave),
        lambda lr: optim.Sequential([0.1, lr], [3]),
        lambda lr: optim.Chained([lr]),
        lambda lr: optim.WarmUp(lr, 3),
        lambda lr: optim.StepDecay(lr, 3),
        lambda lr: optim.ReduceOnPlateau(lr),
        lambda lr: optim.Adagrad(lr),
        lambda lr: optim.SGD(optim.Lambda(1.0, lambda step: lr)).learning_rate(3),
        lambda lr: optim.SGD(optim.Chained([lambda step: lr])).learning_rate(3),
        lambda lr: optim.SGD(optim.Sequential([0.1, lambda step: lr], [2])).learning_rate(3),
    ],
)
def test_a_rate_that_is_negative_infinite_or_no_number_is_refused(make, bad):
    with pytest.raises(ValueError, match=r"a finite number of 0 or more|a number of 0 or more"):
        make(bad)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: optim.Step(0.1, 0), ValueError, "step_size is at least 1, and whole, got 0"),
        (lambda: optim.MultiStep(0.1, 5), TypeError, "MultiStep: milestones is a list of steps, got 5"),
        (lambda: optim.MultiStep(0.1, [1.5]), ValueError, "MultiStep: milestones are whole numbers of 0 or more"),
        (lambda: optim.Constant(0.1, 1.5), ValueError, "Constant: factor is from 0 to 1, got 1.5"),
        (lambda: optim.Linear(0.1, 0), ValueError, "Linear: start_factor is above 0, got 0"),
        (lambda: optim.Linear(0.1, total_iters=0), ValueError, "total_iters is at least 1"),
        (lambda: optim.Polynomial(0.1, power=math.inf), ValueError, "Polynomial: power is 0 or more, got inf"),
        (lambda: optim.Cosine(0.1), TypeError, "Cosine: steps is missing"),
        (lambda: optim.Cosine(0.1, 3, T_max=3), TypeError, "Cosine: T_max is steps by another name; give one of them"),
        (lambda: optim.CosineWarmRestarts(0.1, 3, 0.5), ValueError, "T_mult is at least 1, and whole, got 0.5"),
        (lambda: optim.Lambda(0.1, 0.5), TypeError, "Lambda: lr_lambda is a function, got float"),
        (lambda: optim.Cyclic(0.1, 0.2, mode="saw"), ValueError, "Cyclic: mode is 'triangular', 'triangular2' or"),
        (lambda: optim.Cyclic(0.1, 0.2, 0), ValueError, "Cyclic: step_size_up is 1 or more, got 0"),
        (lambda: optim.Cyclic(0.1, 0.2, max_momentum=1), ValueError, "Cyclic: max_momentum is 0 or more and below 1"),
        (lambda: optim.OneCycle(0.1, 9, rising=2), ValueError, "OneCycle: rising is from 0 to 1, got 2"),
        (lambda: optim.OneCycle(0.1, 9, cycle_momentum=1), ValueError, "OneCycle: cycle_momentum is True or False"),
        (lambda: optim.Sequential([0.1, 0.2], []), ValueError, r"2 schedules have 1 milestones between, got \[\]"),
        (lambda: optim.Sequential([1, 2, 3], [5, 4]), ValueError, r"milestones are in order, got \[5, 4\]"),
        (lambda: optim.Sequential(["a"], []), TypeError, "Sequential: schedules are schedules or rates, got 'a'"),
        (lambda: optim.Chained([]), ValueError, "Chained: there is no schedule"),
        (lambda: optim.Chained(optim.Step(0.1, 3)), TypeError, "Chained: schedules is a list of schedules, got Step"),
        (lambda: optim.Chained([optim.ReduceOnPlateau(0.1)]), ValueError, "ReduceOnPlateau follows the loss; give it"),
        (lambda: optim.WarmUp(optim.ReduceOnPlateau(0.1), 3), ValueError, "WarmUp holds schedules of the step alone"),
        (lambda: optim.ReduceOnPlateau(0.1, "least"), ValueError, "mode is 'min' or 'max', got 'least'"),
        (lambda: optim.ReduceOnPlateau(0.1, factor=1), ValueError, "factor is below 1, got 1"),
        (lambda: optim.Step(0.1, 3, gama=1), TypeError, "Step has no argument 'gama'; similar: gamma"),
        (lambda: optim.Step(0.1, 3, last_epoch=5), TypeError, "'last_epoch'; the rate of a step follows from its numb"),
        (lambda: optim.Linear(0.1, verbose=True), TypeError, "Linear has no argument 'verbose'; .*leave it out"),
        (lambda: optim.OneCycle(0.1, epochs=5), TypeError, "write total_steps=epochs . steps_per_epoch"),
        (lambda: optim.OneCycle(max_lr=0.1), TypeError, "no argument 'max_lr'; the rate comes first, and its name is"),
        (lambda: optim.Sequential(optim.SGD(0.1), [], []), TypeError, r"write gl.optim.SGD\(gl.optim.Sequential\("),
        (lambda: optim.Cosine(optimizer=optim.Adam(), T_max=5), TypeError, r"write gl.optim.Adam\(gl.optim.Cosine\("),
        (lambda: optim.StepLR, AttributeError, r"write gl.optim.Step\(lr, step_size, gamma\)"),
        (lambda: optim.ReduceLROnPlateau, AttributeError, r"write gl.optim.ReduceOnPlateau\(lr, mode"),
        (
            lambda: schedules.CosineAnnealingLR,
            AttributeError,
            r"schedules has no 'CosineAnnealingLR'; write gl.optim.Cos",
        ),
        (lambda: schedules.ChainedScheduler, AttributeError, r"write gl.optim.Chained\(schedules\)"),
        (lambda: schedules.Cosin, AttributeError, "schedules has no 'Cosin'; similar: gl.optim.schedules.Cosine"),
        (lambda: optim.lr_scheduler, AttributeError, r"the schedules are in gl.optim, such as"),
    ],
)
def test_wrong_arguments_are_told(make, error, message):
    with pytest.raises(error, match=message):
        make()


def by_torchs_rule(losses, lr, mode, factor, patience, threshold, threshold_mode, cooldown, min_lr, eps):
    """The rate after each loss."""
    best, bad, cooling = math.inf if mode == "min" else -math.inf, 0, 0
    for loss in losses:
        sign = -1 if mode == "min" else 1
        bound = best * (1 + sign * threshold) if threshold_mode == "rel" else best + sign * threshold
        if sign * loss > sign * bound:
            best, bad = loss, 0
        else:
            bad += 1
        if cooling > 0:
            cooling, bad = cooling - 1, 0
        if bad > patience:
            lower = max(lr * factor, min_lr)
            lr = lower if lr - lower > eps else lr
            cooling, bad = cooldown, 0
        yield lr


PLATEAUS = [
    ("min", 0.5, 2, 1e-4, "rel", 3, 0.03, 1e-8),
    ("max", 0.1, 0, 0.2, "abs", 0, 0.0, 1e-3),
    ("min", 0.5, 1, 0.1, "abs", 1, 0.0, 1e-8),
    ("max", 0.9, 3, 0.1, "rel", 2, 0.0, 1e-8),
]


@pytest.mark.parametrize("options", PLATEAUS)
def test_a_plateau_follows_the_rule(options):
    losses = np.abs(np.random.default_rng(0).standard_normal(60)) + np.linspace(2, 0.5, 60)
    schedule = optim.ReduceOnPlateau(0.5, *options)
    held = {name: np.asarray(value) for name, value in schedule.init().items()}
    for loss, rate in zip(losses, by_torchs_rule(losses, 0.5, *options), strict=True):
        held = schedule.advance(np.asarray(loss), held)
        assert held["plateau_lr"] == rate
    assert rate < 0.5


@pytest.mark.peers
@pytest.mark.parametrize("options", PLATEAUS)
def test_the_rule_of_a_plateau_is_torchs(options):
    torch = pytest.importorskip("torch")
    losses = np.abs(np.random.default_rng(1).standard_normal(60)) + np.linspace(2, 0.5, 60)
    peer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(peer, *options)
    for loss, rate in zip(losses, by_torchs_rule(losses, 0.5, *options), strict=True):
        scheduler.step(loss)
        assert peer.param_groups[0]["lr"] == rate


def test_a_step_on_a_plateau_lowers_its_rate_and_resumes(tmp_path: Path):
    schedule = optim.ReduceOnPlateau(0.5, factor=0.5, patience=1, cooldown=1, threshold=0.01)
    batch = np.ones((2, 3), "float32")

    def loss_fn(model, batch):
        return nn.functional.softplus(model(batch)).mean() + 1

    step = gl.compile_step(nn.Linear(3, 1), loss_fn, optim.SGD(schedule), batch, threads=1)
    losses, rates = [], []
    for i in range(30):
        rates.append(step.learning_rate)
        if i == 12:
            step.save(tmp_path / "c")
        losses.append(float(step(batch)))
    expected = list(by_torchs_rule(losses, 0.5, "min", 0.5, 1, 0.01, "rel", 1, 0.0, 1e-8))
    assert [*rates[1:], step.learning_rate] == expected
    assert step.learning_rate < 0.5
    end = {name: array.tobytes() for name, array in (step.parameters() | step.state()).items()}
    assert {"plateau_lr", "plateau_best", "plateau_bad", "plateau_cooldown"} < step.state().keys()
    step.load(tmp_path / "c")
    assert step.learning_rate == rates[12]
    assert [float(step(batch)) for _ in range(18)] == losses[12:]
    assert {name: array.tobytes() for name, array in (step.parameters() | step.state()).items()} == end


def test_combined_schedules_and_their_momenta_resume_to_the_same_bits(tmp_path: Path):
    parts = [
        optim.OneCycle(0.5, 5, cycle_momentum=True),
        optim.Chained([optim.Linear(0.5, total_iters=3), optim.Multiplicative(0.5, wave)]),
        optim.WarmUp(optim.Cyclic(0.1, 0.5, 2), 2),
    ]
    batch = np.ones((2, 3), "float32")
    optimizer = optim.Adam(optim.Sequential(parts, [4, 9]))
    step = gl.compile_step(nn.Linear(3, 1), lambda m, b: (m(b) ** 2).mean(), optimizer, batch, threads=1)
    rates, losses = [], []
    for i in range(16):
        if i == 7:
            step.save(tmp_path / "c")
        rates.append(step.learning_rate)
        losses.append(step(batch))
    assert len(set(rates)) > 8
    end = {name: array.tobytes() for name, array in (step.parameters() | step.state()).items()}
    optimizer.learning_rate(100)  # whatever was asked for before
    step.load(tmp_path / "c")
    for i in range(7, 16):
        assert step.learning_rate == rates[i]
        assert step(batch) == losses[i]
    assert {name: array.tobytes() for name, array in (step.parameters() | step.state()).items()} == end


def test_there_is_a_way_back_to_the_schedule():
    batch = np.ones((2, 3), "float32")
    step = gl.compile_step(
        nn.Linear(3, 1), lambda m, b: m(b).mean(), optim.SGD(optim.Exponential(0.5, 0.5)), batch, threads=1
    )
    step(batch)
    step.learning_rate = 0.125
    step(batch)
    assert step.learning_rate == 0.125
    step.learning_rate = None
    assert step.learning_rate == 0.125
    step(batch)
    assert step.learning_rate == 0.0625
    with pytest.raises(ValueError, match="a learning rate is a number of 0 or more, or None for the optimizer's own"):
        step.learning_rate = -1.0
