"""`gl.cond`: one branch runs, its derivatives are those of the branch, and what does not fit is refused."""

import gradloom as gl
import numpy as np
import pytest
from control_flow import check
from gradloom.passes.pipeline import plan_graph
from gradloom.passes.remat.from_plan import graph_problem


def test_one_branch_runs_and_reads_what_is_around_it():
    def fn(x, y):
        def true(a, scale):
            return np.sin(a["v"]) * scale, y

        return gl.cond(x.sum() > 0, true, lambda a, _: (a["v"] @ y, y + 1), {"v": x}, 2)

    for x in (np.eye(3), -np.eye(3)):
        expected = (np.sin(x) * 2, np.eye(3) * 3) if x.sum() > 0 else (x @ (np.eye(3) * 3), np.eye(3) * 3 + 1)
        np.testing.assert_array_equal(check(fn, x, np.eye(3) * 3), expected)


def test_numbers_and_flags_of_python():
    assert gl.cond(True, lambda: 1, lambda: 2) == 1
    assert gl.cond(0.0, lambda: 1, lambda: 2) == 2
    assert gl.cond(np.int32(3), lambda x: x + 1, lambda x: x, 2.5) == 3.5
    x, y = gl.cond(np.bool_(False), lambda: (1, 2.0), lambda: (np.int32(5), np.float32(7)))
    assert (x.dtype, y.dtype) == (np.dtype("int32"), np.dtype("float32"))
    assert gl.compile(lambda t: gl.cond(t > 0, lambda: t, lambda: 0.0))(2.0) == 2


def test_a_branch_without_results_is_none():
    assert gl.cond(True, lambda: None, lambda: None) is None


def test_the_branch_that_does_not_run_does_not_trap():
    def fn(x, i):
        return gl.cond(i < x.shape[0], lambda: x[i], lambda: -1.0)

    compiled = gl.compile(fn)
    assert [compiled(np.arange(3.0), np.array(i)) for i in (2, 5)] == [2, -1]
    with pytest.raises(IndexError, match=r"out of range for 3 entries at .*test_cond.py"):
        compiled(np.arange(3.0), np.array(-7))


def branches(x):
    return np.sum(gl.cond(x.sum() > 0, lambda a: np.sin(a) * a, lambda a: np.exp(a) @ a, x) ** 2)


@pytest.mark.parametrize("sign", [1, -1])
def test_derivatives_of_two_orders_are_those_of_the_branch(sign):
    def alone(x):
        return np.sum((np.sin(x) * x if sign > 0 else np.exp(x) @ x) ** 2)

    def second(fn):
        return gl.grad(lambda x: np.sum(gl.grad(fn)(x) ** 3))

    x = sign * (np.eye(3) + 0.1)
    for of in (gl.grad, second):
        (found,) = check(of(branches), x)
        np.testing.assert_allclose(found, of(alone)(x), rtol=1e-12)


def test_a_loop_of_branches_has_derivatives():
    def fn(x):
        def step(c, row):
            c = gl.cond(c.sum() > 0.2, lambda: c * np.sin(row), lambda: c + row * x[0])
            return c, c * c

        last, ys = gl.scan(step, x[0], x)
        return ys.sum() + last.sum()

    def unrolled(x):
        c, total = x[0], 0.0
        for row in x:
            c = np.where(c.sum() > 0.2, c * np.sin(row), c + row * x[0])
            total = total + (c * c).sum()
        return total + c.sum()

    x = np.random.default_rng(0).normal(size=(7, 3))
    np.testing.assert_allclose(check(gl.grad(fn), x)[0], gl.grad(unrolled)(x), rtol=1e-12)
    np.testing.assert_allclose(gl.grad(gl.checkpoint(fn))(x), gl.grad(unrolled)(x), rtol=1e-12)


def test_the_branch_without_a_path_to_an_input_gives_it_zeros():
    def fn(x, y):
        return gl.cond(y.sum() > 0, lambda: np.sum(x * y), lambda: np.sum(y))

    for y in (np.ones(2), -np.ones(2)):
        dx, dy = check(gl.grad(fn, argnums=(0, 1)), np.full(2, 3.0), y)
        np.testing.assert_array_equal(dx, y if y.sum() > 0 else 0 * y)
        np.testing.assert_array_equal(dy, [3, 3] if y.sum() > 0 else [1, 1])


def test_it_trains_with_dropout_within_a_budget():
    class Net(gl.nn.Module):
        def __init__(self):
            self.layers = gl.nn.ModuleList([gl.nn.Linear(8, 8) for _ in range(5)])
            self.drop = gl.nn.Dropout(0.5)

        def forward(self, x):
            flag = x.sum() > 0
            for layer in self.layers:
                x = np.tanh(gl.cond(flag, np.tanh, lambda h: self.drop(np.sin(h)), layer(x)))
            return x

    def loss(model, batch):
        return gl.nn.cross_entropy(model(batch["x"]), batch["y"])

    spec = {"x": gl.spec((16, 8), "float32"), "y": gl.spec((16,), "int64")}
    rng = np.random.default_rng(0)
    batches = [{"x": rng.normal(size=(16, 8)).astype("f4") + s, "y": rng.integers(0, 8, 16)} for s in (1, -1, 1, -1)]
    ends = []
    for threads, memory in ((1, None), (2, None), (2, "85%")):
        step = gl.compile_step(Net(), loss, gl.optim.Adam(1e-2), spec, threads=threads, memory=memory)
        step.report.check()
        losses = [float(step(b)) for b in batches * 6]
        assert sum(losses[-4:]) < sum(losses[:4])
        ends.append(b"".join(x.tobytes() for x in step.parameters().values()))
    assert ends[0] == ends[1] == ends[2]


def test_a_branch_that_keeps_a_value_is_not_computed_again():
    def fn(x):
        for _ in range(3):
            x = gl.cond(x.sum() > 0, lambda x: gl.save(np.sin(x)) * 2, lambda x: x, x)
        return np.sum(x)

    problem = graph_problem(plan_graph(gl.trace(gl.grad(fn), gl.spec((3,), "float64"))))
    forward = [u for n, u in zip(problem.nodes, problem.units) if n.op.is_cond and n.origin.role == "forward"]
    assert forward
    assert not any(unit.recomputable for unit in forward)


@pytest.mark.parametrize(
    ("pred", "true", "false", "error", "message"),
    [
        (np.ones(2), lambda: 1, lambda: 2, gl.TracingError, r"pred is a scalar, got \(2,\) float64; np.where"),
        (True, lambda: 1, lambda: (1, 2), gl.TracingError, "true_fun returns .* but false_fun returns"),
        (True, lambda: np.ones(2), lambda: np.ones(3), gl.ShapeError, r"the result is \(2,\) float64 from true_fun"),
        (
            True,
            lambda: {"a": np.ones(2)},
            lambda: {"a": np.ones(2) > 0},
            gl.TracingError,
            "the result at a is .*astype",
        ),
        (
            True,
            lambda: "a",
            lambda: "b",
            gl.TracingError,
            "a branch returns pytrees of arrays, got an object of type str",
        ),
        (True, 1, lambda: 2, TypeError, "true_fun is a function, got int; write gl.cond"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_line(pred, true, false, error, message):
    with pytest.raises(error, match=message + r"(.|\n)*, at .*test_cond\.py"):
        gl.cond(pred, true, false)
