"""`gl.while_loop`: JAX's values and errors, interpreted and compiled, with loops and branches inside and around it."""

import gradloom as gl
import numpy as np
import pytest
from control_flow import check


def newton(x):
    """The square root, and the iterations that it took."""
    return gl.while_loop(lambda s: abs(s[1] ** 2 - x) > 1e-9 * x, lambda s: (s[0] + 1, 0.5 * (s[1] + x / s[1])), (0, x))


def test_it_ends_when_the_condition_is_false():
    steps, root = newton(np.float64(2.0))
    assert (int(steps), float(root)) == (4, pytest.approx(np.sqrt(2), abs=1e-9))


def test_what_is_false_at_once_leaves_the_value_as_it_is():
    (x,) = check(lambda x: gl.while_loop(lambda x: x.sum() > 10, lambda x: x * 2, x), np.ones(3))
    np.testing.assert_array_equal(x, np.ones(3))


def test_the_value_is_a_pytree_that_the_iterations_exchange():
    def fn(x, y):
        def body(s):
            return {"n": s["n"] + 1, "pair": [s["pair"][1], s["pair"][0] + s["pair"][1]], "none": None}

        return gl.while_loop(lambda s: s["n"] < 5, body, {"n": 0, "pair": [x, y], "none": None})

    n, x, y = check(fn, np.ones((2, 0)), np.zeros((2, 0)))
    assert (int(n), x.shape) == (5, (2, 0))
    _, x, y = check(fn, np.float32(1), np.float32(1))
    assert (float(x), float(y)) == (8, 13)


def test_loops_and_branches_stand_in_each_other():
    def fn(x):
        def step(c, row):
            n, v = gl.while_loop(lambda s: s[1].sum() < 10.0, lambda s: (s[0] + 1, s[1] * 2 + row), (0, c))
            c = gl.cond(n > 2, lambda: v / n, lambda: gl.scan(lambda a, b: (a + b, None), v, x)[0])
            return c * 0.1, n

        def outer(s):
            i, v = s
            last, counts = gl.scan(step, v, x)
            _, w = gl.while_loop(lambda q: q[0] < i, lambda q: (q[0] + 1, q[1] * 1.01 + counts.sum()), (0, last))
            return i + 1, gl.cond(i % 2 == 0, lambda: w, lambda: -abs(w) + gl.fori_loop(0, 3, lambda t, z: z + t, w))

        return gl.while_loop(lambda s: s[0] < 4, outer, (0, abs(x[0])))

    check(fn, abs(np.random.default_rng(0).normal(size=(3, 4))))


def test_workers_share_the_iterations():
    def fn(x):
        return gl.while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, np.tanh(s[1] @ x.T @ s[1] * 1e-3) + x), (0, x))

    check(fn, np.linspace(0.1, 2, 300 * 200).reshape(300, 200))


def test_every_iteration_draws_other_numbers_and_the_same_again():
    def fn(x):
        with gl.random.key(3):
            return gl.while_loop(
                lambda s: s[0] < 4, lambda s: (s[0] + 1, [s[1][1], s[1][2], gl.random.uniform((3,)) + x]), (0, [x] * 3)
            )[1]

    first = check(fn, np.zeros(3, np.float32))
    assert len({x.tobytes() for x in first}) == 3
    again = fn(np.zeros(3, np.float32))
    assert all(np.array_equal(a, b) for a, b in zip(first, again))


def test_numbers_take_the_dtype_that_the_body_gives_them():
    def fn(x):
        return gl.while_loop(lambda s: s[0] < 2, lambda s: (s[0] + 1, s[1] + x), (0, 0.0))

    n, total = fn(np.float32(1.5))
    assert (n.dtype, total.dtype, float(total)) == (np.dtype("int64"), np.dtype("float32"), 3)


def test_a_gradient_may_be_taken_in_an_iteration():
    def descend(x):
        def loss(w):
            return gl.cond(w.sum() > 0, lambda: np.sum((w - 1) ** 4), lambda: np.sum((w - 1) ** 2))

        return gl.while_loop(lambda w: loss(w) > 1e-3, lambda w: w - 0.1 * gl.grad(loss)(w), x)

    check(descend, np.array([-2.0, 3.0]))


def test_a_derivative_in_reverse_mode_says_what_to_write():
    def fn(x):
        return newton(x)[1]

    with pytest.raises(
        ValueError, match=r"no derivative in reverse mode.*write gl.scan or gl.fori_loop.*test_while_loop"
    ):
        gl.grad(fn)(2.0)
    # What stands beside it may be differentiated.
    assert gl.grad(lambda x: x * newton(gl.stop_gradient(x))[1])(4.0) == pytest.approx(2)


def test_an_index_out_of_range_in_an_iteration_stops_the_run():
    def fn(x, limit):
        return gl.while_loop(lambda s: s[0] < limit, lambda s: (s[0] + 1, s[1] + x[s[0]]), (np.int64(0), x[0] * 0))

    compiled = gl.compile(fn)
    assert compiled(np.arange(5.0), np.array(5))[1] == 10
    with pytest.raises(IndexError, match=r"out of range for 5 entries at .*test_while_loop.py"):
        compiled(np.arange(5.0), np.array(6))
    assert compiled(np.arange(5.0), np.array(2))[1] == 1


def test_a_step_whose_loop_trapped_has_changed_nothing():
    class Sum(gl.nn.Module):
        def __init__(self):
            self.w = gl.nn.Parameter(np.ones(4, np.float32))

        def forward(self, n):
            w = gl.stop_gradient(self.w)
            return gl.while_loop(lambda s: s[0] < n, lambda s: (s[0] + 1, s[1] + w[s[0]]), (np.int64(0), w[0]))[1]

    def loss(model, batch):
        return model(batch["n"]) + np.sum(model.w**2)

    step = gl.compile_step(Sum(), loss, gl.optim.SGD(0.1, momentum=0.9), {"n": gl.spec((), "int64")})
    step.report.check()
    step({"n": np.array(4)})
    before = step.parameters()["w"].copy()
    with pytest.raises(IndexError, match="out of range"):
        step({"n": np.array(5)})
    np.testing.assert_array_equal(step.parameters()["w"], before)


@pytest.mark.parametrize(
    ("cond", "body", "error", "message"),
    [
        (lambda x: x, lambda x: x, gl.TracingError, r"cond_fun returns a bool scalar.* got \(2,\) float64"),
        (lambda x: x > 0, lambda x: x, gl.TracingError, r"cond_fun returns a bool scalar.* got \(2,\) bool"),
        (lambda x: None, lambda x: x, gl.TracingError, "cond_fun returns a bool scalar.* got NoneType"),
        (lambda x: 1, lambda x: x, gl.TracingError, "cond_fun returns a bool scalar.* got"),
        (lambda x: True, lambda x: x[:1], gl.ShapeError, r"begins as \(2,\) float64, but body_fun returns \(1,\)"),
        (lambda x: True, lambda x: x > 0, gl.TracingError, r"but body_fun returns \(2,\) bool; begin with bool"),
        (lambda x: True, lambda x: (x, x), gl.TracingError, "the carry begins as .* but body_fun returns"),
        (
            lambda x: True,
            lambda x: "no",
            gl.TracingError,
            "body_fun returns pytrees of arrays, got an object of type str",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_the_line(cond, body, error, message):
    with pytest.raises(error, match=message + r"(.|\n)*, at .*test_while_loop\.py"):
        gl.while_loop(cond, body, np.ones(2))


@pytest.mark.peers
def test_it_agrees_with_jax():
    jax = pytest.importorskip("jax")

    def fn(xp, loop, cond, x):
        def body(s):
            i, v = s
            return i + 1, cond(v.sum() > 1, lambda: v * 0.7, lambda: xp.sin(v) + 1)

        return loop(lambda s: (s[0] < 9) & (s[1].max() < 3), body, (0, x))[1]

    x = np.random.default_rng(0).normal(size=5)
    with jax.enable_x64(True):
        expected = fn(jax.numpy, jax.lax.while_loop, jax.lax.cond, jax.numpy.asarray(x))
    np.testing.assert_allclose(fn(np, gl.while_loop, gl.cond, x), expected, rtol=1e-14)
