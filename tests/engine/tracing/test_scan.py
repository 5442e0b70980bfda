"""`scan`: what a Python loop gives, its derivatives, its randomness, its errors, and a program that does not grow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradloom as gl
import gradloom.numpy as gnp
import numpy as np
import optree
import pytest
from gradloom.ir import Graph
from gradloom.passes.pipeline import plan_graph, run_passes

RNG = np.random.default_rng(5)


def floats(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape)


def loop(f: Any, init: Any, xs: Any = None, length: int | None = None, reverse: bool = False) -> Any:
    """What `scan` means, step by step."""
    leaves, tree = optree.tree_flatten(xs)
    steps = len(leaves[0]) if leaves else length
    assert steps is not None
    carry, ys = init, [None] * steps
    for t in reversed(range(steps)) if reverse else range(steps):
        carry, ys[t] = f(carry, optree.tree_unflatten(tree, [leaf[t] for leaf in leaves]))
    return carry, optree.tree_map(lambda *parts: gnp.stack(list(parts)), *ys)


def rnn(scan: Any, w: Any, b: Any, h: Any, x: Any) -> Any:
    def step(h: Any, x: Any) -> Any:
        h = np.tanh(x + h @ w + b)
        return h, h

    last, all_states = scan(step, h, x)
    return np.sum(last**2) + np.sum(all_states * np.arange(1.0, 4.0))


def lstm_like(scan: Any, w: Any, v: Any, h: Any, x: Any) -> Any:
    def step(carry: Any, x: Any) -> Any:
        i, f, g = gnp.split(x["in"] @ w + carry["h"] @ w + x["b"], 3, axis=-1)
        c = carry["c"] / (1 + np.exp(-f)) + i * np.tanh(g)
        h = np.concatenate([c, i, f], axis=-1) * 0.1
        return {"h": h, "c": c}, (h @ v, np.sum(c, axis=0))

    start = {"h": h, "c": h[:, :1] * 2}
    end, (out, sums) = scan(step, start, {"in": x, "b": x[:, 0]}, reverse=True)
    return np.sum(out[0] ** 2) + np.sum(np.exp(-out)) + np.sum(end["c"]) + np.sum(sums * sums)


def counter(scan: Any, w: Any, b: Any, h: Any, x: Any) -> Any:
    def step(carry: Any, x: Any) -> Any:
        n, total = carry
        total = np.where(n % 2 == 0, total + x @ w, total * b)
        return (n + 1, total), n

    (_, total), numbers = scan(step, (np.array(3), h), x)
    return np.sum(total * numbers[-1]) + np.sum(numbers)


def attention(scan: Any, w: Any, b: Any, h: Any, x: Any) -> Any:
    """A body with products of values that both change from step to step, and a softmax."""

    def step(h: Any, x: Any) -> Any:
        scores = h @ x.T
        weights = np.exp(scores - np.max(scores, axis=-1, keepdims=True))
        weights = weights / np.sum(weights, axis=-1, keepdims=True)
        return weights @ x + b * np.exp(w)[0], np.max(weights)

    last, largest = scan(step, h, x)
    return np.sum(last**3) + np.sum(largest)


def nested(scan: Any, w: Any, b: Any, h: Any, x: Any) -> Any:
    def outer(h: Any, x: Any) -> Any:
        def inner(g: Any, row: Any) -> Any:
            g = np.tanh(g @ w + row * b)
            return g, np.sum(g)

        g, sums = scan(inner, h[0], x)
        return h * 0.5 + g, sums

    last, sums = scan(outer, h, x)
    return np.sum(last**2) + np.sum(sums**2)


def no_carry(scan: Any, w: Any, b: Any, h: Any, x: Any) -> Any:
    _, ys = scan(lambda _, x: (None, np.tanh(x @ w) @ w + b), None, x)
    return np.sum(ys**2)


def no_sequence(scan: Any, w: Any, b: Any, h: Any, x: Any) -> Any:
    def step(h: Any, _: Any) -> Any:
        return np.tanh(h @ w + b), None

    return np.sum(scan(step, h, None, length=4)[0] ** 2)


MODELS = [rnn, lstm_like, counter, attention, nested, no_carry, no_sequence]
ARGS = (floats(3, 3) * 0.5, floats(3), floats(2, 3), floats(5, 2, 3))


def args_of(model: Any) -> tuple[np.ndarray, ...]:
    return (ARGS[0], floats(3, 2), *ARGS[2:]) if model is lstm_like else ARGS


def assert_close(actual: Any, expected: Any) -> None:
    for one, other in zip(optree.tree_leaves(actual), optree.tree_leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)


def of(model: Any, scan: Any) -> Callable[..., Any]:
    return lambda *args: model(scan, *args)


def second(f: Any) -> Any:
    """The gradient of the squared length of the gradient."""
    first = gl.grad(f, argnums=(0, 1, 2, 3))
    return gl.grad(lambda *args: sum(np.sum(g * g) for g in first(*args)), argnums=(0, 1, 2, 3))


def checkpointed(f: Any, *args: Any, **kwargs: Any) -> Any:
    return gl.scan(gl.checkpoint(f), *args, **kwargs)


def unrolled(f: Any, *args: Any, **kwargs: Any) -> Any:
    return gl.scan(f, *args, **kwargs, unroll=True)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("run", [lambda f: f, gl.compile], ids=["at once", "compiled"])
def test_a_scan_is_its_loop_and_so_is_its_gradient(model, run):
    args = args_of(model)
    assert_close(run(of(model, gl.scan))(*args), of(model, loop)(*args))
    both = gl.value_and_grad(of(model, gl.scan), argnums=(0, 1, 2, 3))
    assert_close(run(both)(*args), gl.value_and_grad(of(model, loop), argnums=(0, 1, 2, 3))(*args))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("run", [lambda f: f, gl.compile], ids=["at once", "compiled"])
def test_the_second_derivative_of_a_scan_is_that_of_its_loop(model, run):
    args = args_of(model)
    assert_close(run(second(of(model, gl.scan)))(*args), second(of(model, loop))(*args))


@pytest.mark.parametrize("model", MODELS)
def test_gradients_are_the_same_with_checkpoints_inside_and_around_and_with_steps_written_out(model):
    args = args_of(model)
    expected = gl.grad(of(model, loop), argnums=(0, 1, 2, 3))(*args)
    for f in (of(model, checkpointed), gl.checkpoint(of(model, gl.scan)), of(model, unrolled)):
        assert_close(gl.grad(f, argnums=(0, 1, 2, 3))(*args), expected)
        assert_close(gl.compile(gl.grad(f, argnums=(0, 1, 2, 3)))(*args), expected)
    assert_close(second(of(model, checkpointed))(*args), second(of(model, loop))(*args))


def test_a_pullback_may_be_asked_several_times():
    f = of(rnn, gl.scan)
    out, pull = gl.vjp(f, *ARGS)
    expected = gl.grad(f, argnums=(0, 1, 2, 3))(*ARGS)
    assert_close(out, f(*ARGS))
    assert_close(pull(np.array(1.0)), expected)
    assert_close(pull(np.array(2.0)), [2 * g for g in expected])


def test_a_gradient_may_be_taken_inside_a_step():
    def descend(scan: Any, w: Any) -> Any:
        return scan(lambda w, x: (w - 0.1 * gl.grad(lambda w: np.sum((w * x - 1) ** 2))(w), w), w, ARGS[3][:, 0])

    assert_close(descend(gl.scan, ARGS[1]), descend(loop, ARGS[1]))
    assert_close(gl.compile(lambda w: descend(gl.scan, w))(ARGS[1]), descend(loop, ARGS[1]))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("unroll", [1, 2, 4, 6, 100, True, False])
def test_steps_written_out_change_nothing(reverse, unroll):
    xs = floats(6, 2)

    def f(x: Any) -> Any:
        return gl.scan(lambda c, x: (np.tanh(c + x), c * x), np.zeros(2), x, reverse=reverse, unroll=unroll)

    expected = loop(lambda c, x: (np.tanh(c + x), c * x), np.zeros(2), xs, reverse=reverse)
    assert_close(f(xs), expected)
    assert_close(gl.compile(f)(xs), expected)


@pytest.mark.parametrize("length", [0, 1])
def test_no_step_and_a_single_one(length):
    x = floats(length, 2)

    def f(h: Any, x: Any) -> Any:
        return gl.scan(lambda h, x: (h * x, (h, x)), h, x)

    h, (before, same) = gl.compile(f)(ARGS[1][:2], x)
    assert_close(h, ARGS[1][:2] * np.prod(x, axis=0))
    assert before.shape == same.shape == (length, 2)
    gradient = gl.compile(gl.grad(lambda h: np.sum(f(h, x)[0])))(ARGS[1][:2])
    assert_close(gradient, np.prod(x, axis=0))


def test_a_python_number_takes_the_dtype_that_a_step_gives_it():
    x = np.arange(4, dtype="float32")
    total, before = gl.scan(lambda c, x: (c + x, c), 0.0, x)
    assert total.dtype == before.dtype == np.dtype("float32")
    assert total == 6
    assert gl.scan(lambda c, _: (c + 1, None), 0, length=3)[0] == 3
    assert gl.scan(lambda c, x: ((c[0], c[1] + x), None), (2, 0.0), x)[0][0].dtype == np.dtype("int64")


def test_fori_loop_counts_from_the_lower_bound_to_below_the_upper():
    assert gl.fori_loop(2, 5, lambda i, v: v * 10 + i, 0) == 234
    assert gl.fori_loop(5, 2, lambda i, v: v * 10 + i, 7) == 7
    assert_close(gl.grad(lambda x: gl.fori_loop(0, 3, lambda i, v: v * x, np.array(1.0)))(2.0), 12.0)


# Randomness.


def noise(c: Any, _: Any) -> Any:
    return c, gl.random.uniform((3,), "float64")


def drawn(**kwargs: Any) -> np.ndarray:
    with gl.random.key(3):
        return gl.scan(noise, np.zeros(()), length=6, **kwargs)[1]


def test_every_step_draws_other_numbers_the_same_in_every_run():
    values = drawn()
    assert len(np.unique(values)) == 18
    np.testing.assert_array_equal(values, drawn())
    np.testing.assert_array_equal(values, drawn(unroll=3))
    np.testing.assert_array_equal(values, drawn(reverse=True))
    with gl.random.key(4):
        assert not np.isin(gl.scan(noise, np.zeros(()), length=6)[1], values).any()


def test_two_loops_and_nested_ones_draw_other_numbers():
    def outer(c: Any, _: Any) -> Any:
        return c, gl.scan(noise, c, length=2)[1]

    with gl.random.key(3):
        first = gl.scan(noise, np.zeros(()), length=6)[1]
        other = gl.scan(noise, np.zeros(()), length=6)[1]
        inside = gl.scan(outer, np.zeros(()), length=3)[1]
    assert len(np.unique([first, other, inside.reshape(6, 3)])) == 54


def test_dropout_in_a_step_is_the_same_when_it_is_computed_again():
    def loss(x: Any, wrap: Any) -> Any:
        def step(h: Any, x: Any) -> Any:
            h = gl.nn.dropout(np.tanh(h + x), 0.5)
            return h, h

        with gl.random.key(1):
            return np.sum(gl.scan(wrap(step), np.ones(50), x)[1] ** 2)

    x = floats(4, 50)
    plain = gl.value_and_grad(lambda x: loss(x, lambda f: f))(x)
    again = gl.value_and_grad(lambda x: loss(x, gl.checkpoint))(x)
    assert_close(again, plain)
    assert_close(gl.compile(gl.value_and_grad(lambda x: loss(x, gl.checkpoint)))(x), plain)
    dropped = np.mean(plain[1] == 0)
    assert 0.3 < dropped < 0.7


def test_a_step_of_training_draws_other_masks_than_the_one_before():
    model = gl.nn.Sequential(gl.nn.Linear(8, 8))

    def loss_fn(model: Any, batch: Any) -> Any:
        _, ys = gl.scan(lambda c, x: (c, gl.nn.dropout(model(x), 0.5) == 0), 0, batch)
        return np.sum(model(batch) ** 2), {"mask": ys}

    step = gl.compile_step(model, loss_fn, gl.optim.SGD(0.0), np.ones((3, 4, 8), "float32"))
    masks = [step(np.ones((3, 4, 8), "float32"))[1]["mask"] for _ in range(2)]
    assert len({mask.tobytes() for mask in [*masks[0], *masks[1]]}) == 6


# Errors.

X = np.zeros((3, 2))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: gl.scan(lambda c, x: ({"h": c["h"][:1]}, None), {"h": np.zeros(2)}, X),
            gl.ShapeError,
            r"the carry at h begins as \(2,\) float64, but f returns \(1,\) float64; it keeps its shape",
        ),
        (
            lambda: gl.scan(lambda c, x: (c + x, None), np.zeros(2, "float32"), X),
            gl.TracingError,
            r"the carry begins as \(2,\) float32, but f returns \(2,\) float64; begin with float64, or return "
            r"\.astype\('float32'\)",
        ),
        (
            lambda: gl.scan(lambda c, x: ((c, c), None), np.zeros(2), X),
            gl.TracingError,
            "the carry begins as .*, but f returns",
        ),
        (
            lambda: gl.scan(lambda c, x: c, np.zeros(2), X),
            gl.TracingError,
            r"f returns a pair \(carry, y\), got Tracer",
        ),
        (lambda: gl.scan(lambda c, x: (c, c, c), 0, X), gl.TracingError, r"a pair \(carry, y\), got a tuple of 3"),
        (lambda: gl.scan(lambda c, x: (c, "y"), 0, X), gl.TracingError, "got an object of type str"),
        (
            lambda: gl.scan(lambda c, x: (c, None), 0, {"a": X, "b": np.zeros(4)}),
            gl.ShapeError,
            "the lengths are xs at a 3, xs at b 4",
        ),
        (lambda: gl.scan(lambda c, x: (c, None), 0, X, length=4), gl.ShapeError, "the lengths are length 4, xs 3"),
        (lambda: gl.scan(lambda c, x: (c, None), 0), gl.TracingError, "the number of steps is needed: length=10"),
        (lambda: gl.scan(lambda c, x: (c, None), 0, length=-1), gl.ShapeError, "a length is 0 or more, got -1"),
        (lambda: gl.scan(lambda c, x: (c, None), 0, 3.0), gl.ShapeError, "xs is a scalar and has no steps"),
        (lambda: gl.scan(lambda c, x: (c, None), 0, X, unroll=0), ValueError, "unroll is 1 or more, or a bool, got 0"),
        (
            lambda: gl.trace(lambda n: gl.scan(lambda c, x: (c, None), 0, length=n), np.array(3)),
            gl.TracingError,
            "the length must be known while tracing",
        ),
    ],
)
def test_what_is_no_scan_is_refused_with_the_users_line(call, error, message):
    with pytest.raises(error, match=message) as caught:
        call()
    assert "test_scan.py:" in str(caught.value)


def test_an_array_of_a_step_cannot_leave_it_but_by_being_returned():
    kept: list[Any] = []

    def step(c: Any, x: Any) -> Any:
        kept.append(c * 2)
        return c, None

    with pytest.raises(gl.TracingError, match="left over from a trace that has ended"):
        gl.trace(lambda x: gl.scan(step, np.zeros(2), x) and kept[-1] + x, X)


# The program.


def counted(graph: Graph) -> int:
    """Nodes, with those of bodies."""
    return sum(1 + sum(counted(v) for v in node.attrs.values() if isinstance(v, Graph)) for node in graph.nodes)


def test_a_program_of_500_steps_is_as_large_as_one_of_5():
    sizes: list[tuple[int, ...]] = []
    for length in (5, 500):
        x = gl.spec((length, 2, 3), "float64")
        graph = gl.trace(gl.grad(of(rnn, gl.scan), argnums=(0, 1)), *ARGS[:3], x)
        plan = plan_graph(graph)
        sizes.append((counted(graph), counted(run_passes(graph)), len(plan.graph.nodes)))
    assert sizes[0] == sizes[1]


def test_constants_of_a_step_stand_outside_of_the_loop():
    table = floats(4, 3)
    graph = gl.trace(lambda x: gl.scan(lambda c, x: (c + x @ table.T, None), np.zeros(4), x), X[:, [0, 1, 1]])
    (node,) = [n for n in graph.nodes if n.op.name == "scan"]
    assert all(n.op.name != "constant" for n in node.attrs["body"].nodes)
    assert node.attrs["consts"] == 1


@pytest.mark.parametrize("model", [rnn, lstm_like])
def test_a_gradient_of_weights_is_one_product_of_all_steps(model):
    """No matrix of the size of the weights is summed up in the loop, and the input is projected before it."""
    graph = run_passes(gl.trace(gl.grad(of(model, gl.scan), argnums=(0, 1)), *args_of(model)), after="simplify")
    loops = [n for n in graph.nodes if n.op.name == "scan"]
    assert len(loops) == 2
    for node in loops:
        body = node.attrs["body"]
        assert sum(n.op.name == "dot" for n in body.nodes) == 1
        assert all(v.type.shape != (3, 3) for v in body.outputs)


def test_what_no_one_reads_is_not_carried_backwards():
    def f(w: Any) -> Any:
        def step(carry: Any, x: Any) -> Any:
            a, b = carry
            return (np.tanh(a * w + x), b + x), b

        (a, _), _ = gl.scan(step, (ARGS[1], ARGS[1]), ARGS[3][:, 0])
        return np.sum(a)

    graph = run_passes(gl.trace(gl.grad(f), ARGS[1]), after="simplify")
    # Forward a; backwards the cotangent of a and the sum of that of w, which is used element by element.
    assert [n.attrs["carries"] for n in graph.nodes if n.op.name == "scan"] == [1, 2]
