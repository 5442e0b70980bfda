"""bfloat16 in traced code: promotion as in JAX, numbers that stay weak, derivatives through casts."""

import gradloom as gl
import ml_dtypes
import numpy as np
import pytest
from gradloom.engine.tracing.promotion import result_dtype, ufunc_dtypes

BF = np.dtype(ml_dtypes.bfloat16)
MET = {"bool": "bfloat16", "uint8": "bfloat16", "int32": "bfloat16", "int64": "bfloat16", "float32": "float32"}


@pytest.mark.parametrize(("other", "common"), [*MET.items(), ("float64", "float64"), ("bfloat16", "bfloat16")])
def test_it_stands_below_float32_and_above_integers(other, common):
    for keys in ((BF, np.dtype(other)), (np.dtype(other), BF)):
        assert result_dtype(*keys) == common
        assert ufunc_dtypes(np.add, *keys) == (np.dtype(common),) * 3
        assert ufunc_dtypes(np.less, *keys)[-1] == np.dtype("bool")
        assert ufunc_dtypes(np.exp, BF) == (BF, BF)


def test_numbers_of_python_are_weak():
    assert result_dtype(BF, float) == result_dtype(int, BF, float) == BF
    graph = gl.trace(lambda x: (x * 2.5, 1 - x, x / 3, x**2, np.maximum(x, 0), x + True), gl.spec((2,), "bfloat16"))
    assert [v.type.dtype for v in graph.outputs] == [BF] * 6
    graph = gl.trace(lambda x: (x * np.float32(2), x + np.ones(2), ml_dtypes.bfloat16(3) * x), gl.spec((2,), BF))
    assert [v.type.dtype.name for v in graph.outputs] == ["float32", "float64", "bfloat16"]


def test_a_dtype_may_be_asked_for():
    def f(x, n):
        return (
            x.astype("bfloat16"),
            x.bfloat16(),
            np.sum(x, dtype=BF),
            gl.numpy.zeros(2, gl.numpy.bfloat16),
            n.bfloat16(),
        )

    graph = gl.trace(f, gl.spec((2,)), gl.spec((2,), "int64"))
    assert [v.type.dtype for v in graph.outputs] == [BF] * 5


def test_a_gradient_has_the_dtype_of_its_array():
    def loss(w, x):
        return np.mean(np.tanh(x @ w.astype(BF)).astype("float32") ** 2)

    w, x = np.ones((4, 2), np.float32) / 8, np.arange(12).reshape(3, 4).astype(BF)
    graph = gl.trace(gl.grad(loss, argnums=(0, 1)), w, x)
    assert [v.type.dtype.name for v in graph.outputs] == ["float32", "bfloat16"]
    found = gl.interpret(graph, w, x)
    wide = gl.interpret(gl.trace(gl.grad(loss, argnums=(0, 1)), w, x.astype(np.float32)), w, x.astype(np.float32))
    for narrow, exact in zip(found, wide, strict=True):
        np.testing.assert_allclose(narrow.astype(np.float32), exact, atol=0.02 * np.abs(exact).max())


def test_sums_and_means_of_many_keep_their_digits():
    x = np.full(4096, 1.5, BF)
    total, mean, spread = gl.interpret(gl.trace(lambda x: (x.sum(), x.mean(), x.std()), x), x)
    assert (float(total), float(mean), float(spread)) == (6144, 1.5, 0)
