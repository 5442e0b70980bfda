"""`vmap`: what JAX's gives, for trees of axes, nested, with derivatives and loops; random numbers; what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradloom as gl
import gradloom.numpy as gnp
import numpy as np
import pytest
from gradloom import nn

RNG = np.random.default_rng(2)
X, Y, W = RNG.normal(size=(3, 4)), RNG.normal(size=(4, 3)), RNG.normal(size=(4, 2))
IMAGES, KERNELS = RNG.normal(size=(3, 2, 4, 5, 5)), RNG.normal(size=(3, 6, 2, 3, 3))


def programs(module: Any, xp: Any) -> list[Any]:
    """What a library gives for one program after the other; the names are JAX's."""
    vmap, grad = module.vmap, module.grad
    scan = gl.scan if module is gl else module.lax.scan

    def norm(x: Any, w: Any) -> Any:
        return xp.sum(xp.tanh(x @ w) ** 2)

    def looped(x: Any, w: Any) -> Any:
        def step(c: Any, t: Any) -> Any:
            state, count = c
            return (xp.tanh(state + t * w[0, 0]), count + 1.0), state * t

        (last, count), ys = scan(step, (xp.zeros(4), 0.0), x)
        return last, count, ys

    def tree(d: Any, y: Any, scale: Any) -> Any:
        return {"a": d["x"] * scale, "b": [xp.sum(d["w"]) + y, scale * 2]}

    return [
        vmap(lambda x: x * 2 + 1)(X),
        vmap(norm, in_axes=(0, None))(X, W),
        vmap(norm, (-1, None), 0)(Y, W),
        vmap(lambda x, y: xp.outer(x, y), in_axes=(0, 1), out_axes=-1)(X, Y),
        vmap(tree, in_axes=({"x": 0, "w": None}, 1, None), out_axes={"a": 1, "b": [0, None]})(
            {"x": X, "w": W}, Y, X[0]
        ),
        vmap(lambda x, *, y: x @ y)(X, y=X),
        vmap(lambda x: (x, 3.0, x[0]), out_axes=(1, 0, 0))(X),
        vmap(lambda: xp.arange(3.0), axis_size=2)(),
        vmap(vmap(lambda a, b: a * b + 1, (None, 0)), (0, None))(X[0], X[1]),
        vmap(vmap(lambda a, b: a @ b, (0, None), 0), (None, 1), 1)(X, W),
        vmap(grad(norm), in_axes=(0, None))(X, W),
        vmap(grad(norm, argnums=1), in_axes=(0, None))(X, W),
        grad(lambda w: xp.sum(vmap(norm, in_axes=(0, None))(X, w) ** 2))(W),
        vmap(grad(lambda x: xp.sum(grad(norm)(x, W) ** 2)))(X),
        vmap(looped, in_axes=(0, None))(X, W),
        vmap(looped, in_axes=(None, 0))(X[0], xp.stack([W, 2 * W])),
        vmap(grad(lambda x: xp.sum(looped(x, W)[2])))(X),
        vmap(lambda x, i: x[i], in_axes=(0, 0))(X, np.array([1, 3, 0])),
        vmap(lambda x, i: xp.asarray(x)[i], in_axes=(None, 0))(X, np.array([[1, 2], [0, 0]])),
        vmap(lambda x, i: x.at[i].add(x[0]).at[0].set(5.0))(X, np.array([1, 3, 0])),
        vmap(lambda x: (xp.sort(x), xp.argsort(x), xp.cumsum(x), xp.max(x), xp.argmax(x), xp.var(x)))(X),
        vmap(lambda x: xp.where(x > 0, x, 0) @ xp.ones((4, 3)))(X),
        vmap(lambda x: xp.concatenate([x, xp.zeros(2), x[::-1]]))(X),
        vmap(lambda x: xp.einsum("i,ij,kj->k", x, W, xp.ones((5, 2))))(X),
        module.jvp(vmap(norm, in_axes=(0, None)), (X, W), (X, W)),
    ]


@pytest.mark.peers
def test_programs_agree_with_jax() -> None:
    jax = pytest.importorskip("jax")
    with jax.enable_x64(True):
        one, other = programs(gl, gnp), programs(jax, jax.numpy)
    for k, (ours, theirs) in enumerate(zip(one, other, strict=True)):
        for x, y in zip(gl.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
            assert x.shape == y.shape, k
            np.testing.assert_allclose(x, y, rtol=1e-10, atol=1e-12, err_msg=str(k))


def one_by_one(fun: Callable[..., Any], *args: Any) -> Any:
    results = [fun(*example) for example in zip(*args)]
    return gl.tree.map(lambda *leaves: np.stack(leaves), *results)


@gl.custom_vjp
def tripled(x: Any, w: Any) -> Any:
    return np.sum(x * w)


tripled.defvjp(lambda x, w: (np.sum(x * w), (x, w)), lambda kept, g: (3 * g * kept[1], g * kept[0]))


def a_model(x: Any) -> Any:
    layer = nn.Sequential(nn.Conv2d(4, 6, 3, groups=2), nn.MaxPool2d(2), nn.GELU())
    parameters = nn.init_parameters(layer, 0)
    return nn.functional_call(layer, parameters, gnp.astype(x, "float32"))


def test_what_examples_share_and_what_they_do_not_when_compiled() -> None:
    def f(x: Any) -> Any:
        kept = gl.checkpoint(lambda x: np.sin(x) @ W)(x)
        return kept, gl.grad(lambda x, w: np.sum(np.exp(tripled(x, w))), argnums=(0, 1))(x, X[0])

    expected = one_by_one(f, X)
    for given in (gl.vmap(f)(X), gl.compile(gl.vmap(f))(X)):
        for one, other in zip(gl.tree.leaves(given), gl.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12)
    # What the examples share is summed over them in the derivative.
    shared = gl.grad(lambda w: np.sum(gl.vmap(tripled, in_axes=(0, None))(X, w)))(X[0])
    np.testing.assert_allclose(shared, X.sum(axis=0))


def test_images_and_kernels() -> None:
    np.testing.assert_allclose(gl.vmap(a_model)(IMAGES), one_by_one(a_model, IMAGES), rtol=1e-5, atol=1e-6)

    def loss(x: Any, w: Any) -> Any:
        return np.sum(nn.conv2d(x, w, groups=2) ** 2)

    both = gl.compile(gl.vmap(gl.grad(loss, argnums=(0, 1))))(IMAGES, KERNELS)
    for one, other in zip(both, one_by_one(gl.grad(loss, argnums=(0, 1)), IMAGES, KERNELS), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10)


def test_each_example_draws_its_own_numbers() -> None:
    def f(x: Any) -> Any:
        def step(c: Any, _: Any) -> Any:
            return c, gl.random.uniform(2, "float64")

        with gl.random.key(7):
            same = gl.random.normal((2,), "float64")
        return x * 0 + gl.random.uniform(4, "float64"), gl.scan(step, 0.0, length=3)[1], same

    def drawn(fun: Callable[..., Any]) -> Any:
        with gl.random.key(1):
            return fun(X)

    own, looped, same = drawn(gl.vmap(f))
    assert np.unique(own).size == own.size
    assert np.unique(looped).size == looped.size
    assert np.unique(same).size == 2
    assert (own >= 0).all()
    assert (own < 1).all()
    for one, other in zip(drawn(gl.compile(gl.vmap(f))), (own, looped, same), strict=True):
        np.testing.assert_array_equal(one, other)


def test_dropout_of_one_example_at_a_time() -> None:
    drop = nn.Dropout(0.5)

    def f(x: Any) -> Any:
        return nn.functional_call(drop, {}, x, training=True)

    with gl.random.key(0):
        dropped = gl.vmap(f)(np.ones((50, 40)))
    assert 0.4 < (dropped == 0).mean() < 0.6
    assert len({tuple(row) for row in dropped}) == 50


def test_inside_a_compiled_step() -> None:
    def loss_fn(model: Any, batch: Any) -> Any:
        each = gl.vmap(lambda x, y: nn.mse_loss(model(x), y))(batch["x"], batch["y"])
        return np.mean(each)

    def plain(model: Any, batch: Any) -> Any:
        return nn.mse_loss(model(batch["x"]), batch["y"])

    batch = {"x": X.astype("float32"), "y": X[:, :2].astype("float32")}
    steps = [gl.compile_step(nn.Linear(4, 2), f, gl.optim.SGD(0.1), batch) for f in (loss_fn, plain)]
    for _ in range(3):
        losses = [step(batch) for step in steps]
    np.testing.assert_allclose(*losses, rtol=1e-5)
    steps[0].report.check()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: gl.vmap(lambda x, y: x)(X, Y), gl.ShapeError, "examples differs: axis 0 of x 3, axis 0 of y 4"),
        (lambda: gl.vmap(lambda x: x, axis_size=5)(X), gl.ShapeError, "axis_size 5, axis 0 of x 3"),
        (lambda: gl.vmap(lambda d: d, ({"a": 0, "b": 1},))({"a": X, "b": X}), gl.ShapeError, "axis 1 of d.b 4"),
        (lambda: gl.vmap(lambda: 1.0, axis_size=-1)(), ValueError, "axis_size is 0 or more, got -1"),
        (lambda: gl.vmap(lambda x: x)(3.0), TypeError, "x is of type float and has no axis; in_axes=None"),
        (lambda: gl.vmap(lambda x: x)(np.float64(3.0)), TypeError, "x is .* and has no axis"),
        (lambda: gl.vmap(lambda m, x: x)(nn.ReLU(), X), TypeError, "m is of type ReLU and has no axis; in_axes=None"),
        (lambda: gl.vmap(lambda x: x, in_axes=2)(X), ValueError, r"x has shape \(3, 4\) and no axis 2"),
        (lambda: gl.vmap(lambda x: x, in_axes=(0, 0))(X), ValueError, "in_axes has 2 entries for 1 arguments"),
        (lambda: gl.vmap(lambda x: x, in_axes=({"a": 0},))(X), ValueError, "is no prefix of the arguments"),
        (lambda: gl.vmap(lambda x: x, out_axes=(0, 0))(X), ValueError, "is no prefix of the result"),
        (lambda: gl.vmap(lambda x: x, in_axes=None)(X), ValueError, "no argument has the examples; write axis_size="),
        (lambda: gl.vmap(lambda x: x, out_axes=None)(X), ValueError, "which depends on the example"),
        (lambda: gl.vmap(lambda x: x, out_axes=2)(X), ValueError, "axis 2 is out of bounds"),
        (lambda: gl.vmap(lambda x: "a")(X), TypeError, "returned an object of type str"),
        (lambda: gl.vmap(X), TypeError, r"vmap takes a function, got ndarray; write vmap\(f\)\(x\)"),
        (lambda: gl.vmap(np.sin, in_axes="x"), TypeError, "in_axes is an integer, None or a tuple"),
        (lambda: gl.vmap(np.sin, axis_name="i"), NotImplementedError, "axis_name is not supported"),
    ],
)
def test_what_does_not_fit_is_refused(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def controlled(module: Any, xp: Any) -> list[Any]:
    """`cond` and `while_loop` of one example after the other."""
    cond = gl.cond if module is gl else module.lax.cond
    while_loop = gl.while_loop if module is gl else module.lax.while_loop
    table = xp.asarray(X[0])

    def chosen(x: Any, w: Any) -> Any:
        return cond(xp.sum(x) > 0, lambda x: (xp.sin(x), w), lambda x: (x @ W @ W.T, 2 * w), x)

    def shared(x: Any, flag: Any) -> Any:
        return cond(flag, lambda x: (x * 2, 1.0), lambda x: (xp.zeros(4), 2.0), x)

    def collatz(n: Any, x: Any) -> Any:
        def step(state: Any) -> Any:
            n, steps, total = state
            odd = 3 * n + 1
            return xp.where(n % 2 == 0, n // 2, odd), steps + 1, total + x

        return while_loop(lambda state: state[0] != 1, step, (n, 0, xp.zeros(4)))

    def summed(n: Any) -> Any:
        # An index that is in range only while the loop runs.
        return while_loop(lambda s: s[0] < n, lambda s: (s[0] + 1, s[1] + xp.take(table, s[0])), (0, 0.0))

    def counted(x: Any) -> Any:
        return while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, s[1] * x), (0, xp.ones(4)))

    numbers = np.array([1, 6, 7])
    return [
        module.vmap(chosen, in_axes=(0, None))(X, 3.0),
        module.vmap(module.grad(lambda x: xp.sum(chosen(x, 3.0)[0] ** 2)))(X),
        module.vmap(shared, in_axes=(0, None))(X, np.array(True)),
        module.vmap(collatz, in_axes=(0, 0))(numbers, X),
        module.vmap(collatz, in_axes=(0, None))(numbers, X[0]),
        module.vmap(summed)(np.array([4, 0, 2])),
        module.vmap(counted)(X),
        module.vmap(module.vmap(lambda n, m: collatz(n + m, X[0])[1], (0, None)), (None, 0))(numbers, numbers),
    ]


@pytest.mark.peers
def test_branches_and_loops_that_differ_between_examples_agree_with_jax() -> None:
    jax = pytest.importorskip("jax")
    with jax.enable_x64(True):
        one, other = controlled(gl, gnp), controlled(jax, jax.numpy)
    for k, (ours, theirs) in enumerate(zip(one, other, strict=True)):
        for x, y in zip(gl.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-10, err_msg=str(k))


def test_a_loop_of_examples_that_end_at_different_times_compiled() -> None:
    def f(n: Any, x: Any) -> Any:
        def step(s: Any) -> Any:
            return s[0] + 1, s[1] + gl.random.uniform((), "float64") + x[s[0]]

        return gl.while_loop(lambda s: s[0] < n, step, (0, 0.0))

    n = np.array([4, 0, 2])
    with gl.random.key(3):
        count, total = gl.vmap(f)(n, X)
    np.testing.assert_array_equal(count, n)
    assert total[1] == 0
    with gl.random.key(3):
        for one, other in zip(gl.compile(gl.vmap(f))(n, X), (count, total), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12)
