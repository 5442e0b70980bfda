"""L-BFGS: torch's trajectory, small problems solved to the end, and what a step with several evaluations keeps."""

import gradloom as gl
import numpy as np
import optree
import pytest
from gradloom import nn, optim

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 6))
LABELS = (X @ RNG.normal(size=6) + RNG.normal(size=40) > 0).astype("int64")
BATCH = {"x": X, "y": LABELS}
VARIANTS = [
    {"lr": 0.5, "max_iter": 3, "history_size": 4},
    {"max_iter": 3, "history_size": 4, "line_search_fn": "strong_wolfe"},
    {"lr": 0.1, "max_iter": 6, "max_eval": 4, "history_size": 100},
    {"lr": 3.0, "max_iter": 4, "max_eval": 6, "history_size": 2, "line_search_fn": "strong_wolfe"},
]


class Logistic(nn.Module):
    def __init__(self, dtype="float64", drop=0.0):
        self.linear, self.drop = nn.Linear(6, 2, dtype=dtype), nn.Dropout(drop)

    def forward(self, x):
        return self.linear(self.drop(x))


def logistic_loss(model, batch):
    return nn.cross_entropy(model(batch["x"]), batch["y"]) + 0.05 * np.sum(model.linear.weight**2)


@pytest.mark.peers
@pytest.mark.parametrize("options", VARIANTS, ids=lambda o: ",".join(map(str, o)))
def test_the_trajectory_is_torchs_when_the_history_overflows_too(options):
    torch = pytest.importorskip("torch")
    step = gl.compile_step(Logistic(), logistic_loss, optim.LBFGS(**options), BATCH)
    linear = torch.nn.Linear(6, 2).double()
    x, y = torch.tensor(X), torch.tensor(LABELS)
    with torch.no_grad():
        for name, parameter in linear.named_parameters():
            parameter.copy_(torch.tensor(step.parameters()[f"linear.{name}"]))
    optimizer = torch.optim.LBFGS(linear.parameters(), **options)

    def closure():
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(linear(x), y) + 0.05 * (linear.weight**2).sum()
        loss.backward()
        return loss

    for _ in range(12):
        assert float(step(BATCH)) == pytest.approx(optimizer.step(closure).item(), rel=1e-12)
        found = step.parameters()
        for name, parameter in linear.named_parameters():
            np.testing.assert_allclose(found[f"linear.{name}"], parameter.detach().numpy(), rtol=1e-9, atol=1e-9)
    state = optimizer.state[linear.weight]
    assert [int(step.state()[name]) for name in ("func_evals", "n_iter")] == [state["func_evals"], state["n_iter"]]


class Point(nn.Module):
    def __init__(self, start):
        self.x = nn.Parameter(np.asarray(start, "float64"))
        self.unread = nn.Parameter(np.ones(2))

    def forward(self):
        return self.x


def rosenbrock(model, batch):
    x = model() - batch["shift"]
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def test_rosenbrocks_valley_is_followed_to_its_end():
    batch = {"shift": np.zeros(())}
    wolfe = optim.LBFGS(line_search_fn="strong_wolfe", tolerance_grad=0, tolerance_change=0)
    step = gl.compile_step(Point([-1.2, 1.0, -0.5, 2.0]), rosenbrock, wolfe, batch)
    losses = [float(step(batch)) for _ in range(6)]
    assert losses[-1] < 1e-20
    np.testing.assert_allclose(step.parameters()["x"], np.ones(4), atol=1e-10)
    np.testing.assert_array_equal(step.parameters()["unread"], np.ones(2))


def test_least_squares_are_solved_and_the_loss_is_the_first_evaluations():
    a, b = RNG.normal(size=(30, 5)), RNG.normal(size=30)

    def loss(model, batch):
        return np.mean((batch["a"] @ model() - batch["b"]) ** 2)

    batch = {"a": a, "b": b}
    for options in ({"max_iter": 100}, {"line_search_fn": "strong_wolfe"}):
        rule = optim.LBFGS(tolerance_grad=0, tolerance_change=0, **options)
        step = gl.compile_step(Point(np.zeros(5)), loss, rule, batch)
        assert float(step(batch)) == pytest.approx(np.mean(b**2), rel=1e-14)
        for _ in range(3):
            step(batch)
        np.testing.assert_allclose(step.parameters()["x"], np.linalg.lstsq(a, b)[0], atol=1e-10)


def test_a_resumed_run_and_other_threads_have_the_same_bits(tmp_path):
    batch = {"x": X.astype("float32"), "y": LABELS}
    rule = optim.LBFGS(optim.Cosine(1.0, 9), max_iter=4, history_size=3, line_search_fn="strong_wolfe")

    def new(threads):
        return gl.compile_step(Logistic("float32", drop=0.3), logistic_loss, rule, batch, threads=threads)

    whole, half = new(1), new(2)
    losses = [float(whole(batch)) for _ in range(7)]
    assert [float(half(batch)) for _ in range(4)] == losses[:4]
    half.save(tmp_path / "half.safetensors")
    resumed = new(1)
    resumed.load(tmp_path / "half.safetensors")
    assert [float(resumed(batch)) for _ in range(3)] == losses[4:]
    for one, other in zip(whole.parameters().values(), resumed.parameters().values(), strict=True):
        assert one.tobytes() == other.tobytes()
    assert len(set(losses)) == 7


def test_all_evaluations_of_a_step_draw_the_same_numbers():
    """With other draws in each, the search could not bring the loss to the least value for this dropout."""
    batch = {"x": X, "y": LABELS}
    rule = optim.LBFGS(max_iter=200, line_search_fn="strong_wolfe", tolerance_grad=0, tolerance_change=0)
    step = gl.compile_step(Logistic(drop=0.5), logistic_loss, rule, batch, seed=3)
    step(batch)
    again = gl.compile_step(Logistic(drop=0.5), logistic_loss, optim.SGD(0.0), batch, seed=3)
    again.set_parameters(step.parameters())
    least = float(again(batch))
    moved = {name: p + 1e-4 * RNG.normal(size=p.shape) for name, p in step.parameters().items()}
    other = gl.compile_step(Logistic(drop=0.5), logistic_loss, optim.SGD(0.0), batch, seed=3)
    other.set_parameters(moved)
    assert least < float(other(batch)) < least + 1e-6


def test_the_state_is_counted_and_the_history_written_where_it_is():
    arenas = []
    for history in (2, 50):
        plan = gl.plan_step(Logistic(), logistic_loss, optim.LBFGS(history_size=history), BATCH)
        plan.report.check()
        arenas.append(plan.report.arena_bytes)
        vectors, numbers = 14 * (2 + 2 * history), history + len(("H_diag", "t", "pairs", "n_iter", "func_evals"))
        assert plan.report.state_bytes == 8 * (vectors + numbers + len(("step", "lr", "key")))
    assert arenas[1] - arenas[0] <= 2 * 8 * 48 + 128
    assert "iteration of a loop that ends as its values say" in str(plan.report)
    assert "of two branches, of which one runs" in str(plan.report)


def test_a_budget_recomputes_in_the_evaluations_to_the_same_bits():
    def model():
        return nn.Sequential(*(layer for _ in range(3) for layer in (nn.Linear(6, 6), nn.Tanh(), nn.LayerNorm(6))))

    def loss(model, batch):
        return nn.cross_entropy(model(batch["x"]), batch["y"])

    batch = {"x": np.tile(X.astype("float32"), (8, 1)), "y": np.tile(LABELS, 8)}
    rule = optim.LBFGS(max_iter=3, history_size=2)
    steps = [gl.compile_step(model(), loss, rule, batch, memory=memory) for memory in (None, "75%")]
    assert steps[1].report.recompute_flops > 0
    for step in steps:
        step.report.check()
    assert [float(steps[0](batch)) for _ in range(3)] == [float(steps[1](batch)) for _ in range(3)]


def test_an_average_may_be_kept_beside_it_and_a_part_be_trained():
    rule = optim.EMA(optim.LBFGS(max_iter=2), decay=0.5)
    step = gl.compile_step(Logistic(), logistic_loss, rule, BATCH)
    losses = [float(step(BATCH)) for _ in range(3)]
    assert losses[2] < losses[0]
    part = gl.compile_step(Logistic(), logistic_loss, optim.LBFGS(), BATCH, train="*.weight")
    before = part.parameters()["linear.bias"].copy()
    assert float(part(BATCH)) > float(part(BATCH))
    np.testing.assert_array_equal(part.parameters()["linear.bias"], before)


def test_running_statistics_move_with_the_first_evaluation():
    def model():
        return nn.Sequential(nn.BatchNorm1d(6, dtype="float64"), nn.Linear(6, 2, dtype="float64"))

    def loss(model, batch):
        return nn.cross_entropy(model(batch["x"]), batch["y"])

    steps = [gl.compile_step(model(), loss, rule, BATCH) for rule in (optim.LBFGS(), optim.SGD(0.1))]
    for step in steps:
        step(BATCH)
    means = [optree.tree_leaves({k: v for k, v in s.state_dict().items() if "running_mean" in k}) for s in steps]
    np.testing.assert_array_equal(*means)


def test_bare_pytrees_are_trained_with_their_loss():
    def loss(p):
        return np.sum((p["a"] - np.arange(3.0)) ** 2) + (p["b"] - 1) ** 4

    rule = optim.LBFGS(max_iter=30, line_search_fn="strong_wolfe", tolerance_grad=0, tolerance_change=0)
    p = {"a": np.full(3, 7.0), "b": np.float64(3)}
    state = rule.init(p)
    p, state = rule.update(p, gl.grad(loss)(p), state, loss_fn=loss)
    np.testing.assert_allclose(p["a"], np.arange(3.0), atol=1e-6)
    with pytest.raises(NotImplementedError, match=r"LBFGS evaluates the loss several times.*loss_fn=.*test_lbfgs"):
        rule.update(p, gl.grad(loss)(p), state)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -1}, "LBFGS: lr is a number of 0 or more or a schedule, got -1"),
        ({"line_search_fn": "weak"}, "LBFGS: line_search_fn is None or 'strong_wolfe', got 'weak'"),
        ({"max_iter": 0}, "LBFGS: max_iter is a whole number of 1 or more, got 0"),
        ({"max_eval": True}, "LBFGS: max_eval is a whole number of 1 or more, got True"),
        ({"history_size": 2.5}, "LBFGS: history_size is a whole number of 1 or more, got 2.5"),
        ({"tolerance_grad": "no"}, "LBFGS: tolerance_grad is"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        optim.LBFGS(**options)


@pytest.mark.parametrize("options", [{"clip_norm": 1.0}, {"clip_value": 1.0}, {"accumulate": 2}])
def test_what_changes_its_gradients_is_refused(options):
    for rule in (optim.LBFGS(), optim.SWA(optim.LBFGS(), 2, 1)):
        with pytest.raises(ValueError, match=f"{next(iter(options))}=.* with .*LBFGS.*: it.*leave"):
            gl.plan_step(Logistic(), logistic_loss, rule, BATCH, **options)


def test_groups_are_refused_with_the_way_to_train_a_part():
    with pytest.raises(TypeError, match=r"default is LBFGS, which moves all parameters together.*train="):
        optim.groups({"*.bias": {"lr": 1.0}}, default=optim.LBFGS())


@pytest.mark.peers
def test_the_line_search_is_torchs_on_bumpy_functions():
    torch = pytest.importorskip("torch")
    from gradloom.engine.optim.strong_wolfe import strong_wolfe
    from torch.optim.lbfgs import _strong_wolfe

    def value(xp, x, a):
        return xp.sum(a[0] * xp.sin(a[1] * x + a[2]) + 0.1 * x**4 - a[3] * x**2)

    def search(x, t, d, a, max_ls):
        evaluate = gl.value_and_grad(lambda x: value(np, x, a))
        f, g = evaluate(x)
        return strong_wolfe(evaluate, x, t, d, f, g, np.sum(g * d), 1e-9, max_ls)

    ours = gl.compile(search)
    for seed in range(40):
        rng = np.random.default_rng(seed)
        x, a = rng.normal(size=3), rng.uniform(0.5, 3, size=(4, 3))
        t, max_ls = float(rng.choice([1e-3, 0.3, 1.0, 20.0])), int(rng.integers(0, 12))

        def evaluated(x, t, d, a=a):
            at = (x + t * d).requires_grad_(True)
            f = value(torch, at, torch.tensor(a))
            return f.item(), torch.autograd.grad(f, at)[0]

        start = torch.tensor(x)
        f, g = evaluated(start, 0.0, torch.zeros(3, dtype=torch.float64))
        wanted = _strong_wolfe(evaluated, start, t, -g, f, g, -g.dot(g), max_ls=max_ls)
        found = ours(x, t, -g.numpy(), a, np.array(max_ls))
        assert int(found[3]) == wanted[3], seed
        np.testing.assert_allclose([float(found[0]), float(found[2])], [float(wanted[0]), float(wanted[2])], rtol=1e-9)
        np.testing.assert_allclose(found[1], wanted[1], rtol=1e-9, atol=1e-9)
