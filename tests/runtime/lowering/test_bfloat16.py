"""bfloat16 in kernels: each value is rounded once, in registers too; what is moved keeps its bits."""

import gradloom as gl
import numpy as np
import pytest
from compiled import run_compiled
from gpu_emulated import run_emulated
from gradloom.ir import BFLOAT16, FLOAT16, ArrayType, Builder, interpret, spec
from gradloom.ir.ops import elementwise as ew
from gradloom.ir.types import FLOAT32
from gradloom.passes.pipeline import run_passes
from gradloom.runtime.codegen.host import runnable
from op_cases import BFLOAT16_CASES
from op_programs import plain, unjitted, wrong_rows

SAMPLE = [case for i, case in enumerate(BFLOAT16_CASES) if i % 3 == 0]


def test_un_jitted_kernels_compute_what_the_interpreter_does():
    assert not wrong_rows(plain, BFLOAT16_CASES, unjitted)


def test_machine_code_computes_what_the_interpreter_does():
    assert not wrong_rows(plain, SAMPLE, run_compiled)


@pytest.mark.slow
def test_machine_code_of_every_row_computes_what_the_interpreter_does():
    assert not wrong_rows(plain, BFLOAT16_CASES, run_compiled)


def test_the_emulator_computes_what_the_interpreter_does():
    assert not wrong_rows(plain, SAMPLE[::3], run_emulated)


@pytest.mark.slow
def test_the_emulator_computes_every_row_as_the_interpreter_does():
    assert not wrong_rows(plain, BFLOAT16_CASES, run_emulated)


def _bits(array):
    return array.view(f"u{array.dtype.itemsize}")


def test_conversions_have_the_bits_of_ml_dtypes_for_every_bfloat16_and_what_lies_between():
    every = np.arange(1 << 16, dtype=np.uint16).view(BFLOAT16)
    upper = (np.arange(1 << 16, dtype=np.uint32) << 16)[:, None]
    near = (upper | np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32)).ravel().view(np.float32)
    b = Builder()
    x, y = b.input(spec(every.shape, BFLOAT16)), b.input(spec(near.shape))
    graph = b.graph([ew.cast(b, x, dtype=np.dtype("float32")), ew.cast(b, y, dtype=BFLOAT16)])
    wide, rounded = run_compiled(graph, every, near)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(_bits(wide), _bits(every.astype(np.float32)))
        np.testing.assert_array_equal(_bits(rounded), _bits(near.astype(BFLOAT16)))


@pytest.mark.parametrize("target", runnable())  # by instructions, or by arithmetic where there are none
def test_conversions_have_the_bits_of_numpy_for_every_float16_and_what_lies_between(
    target: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("GRADLOOM_TARGET", target)
    every = np.arange(1 << 16, dtype=np.uint16).view(FLOAT16)
    wide = every.astype(np.float32)
    bits = wide.view(np.uint32).astype(np.int64)[:, None]
    near = (bits + np.array([-1, 0, 1, 0xFFF, 0x1000, 0x1001])).clip(0, 2**32 - 1).astype(np.uint32).view(np.float32)
    with np.errstate(all="ignore"):
        between = (wide[:-1] + wide[1:]) / 2  # also of subnormal numbers
    anything = np.random.default_rng(0).integers(0, 1 << 32, 1 << 19, dtype=np.uint32).view(np.float32)
    near = np.concatenate([near.ravel(), between, anything])
    b = Builder()
    x, y = b.input(ArrayType(every.shape, FLOAT16)), b.input(spec(near.shape))
    narrow = ew.cast(b, y, dtype=FLOAT16)
    graph = b.graph([ew.cast(b, x, dtype=FLOAT32), narrow, ew.cast(b, narrow, dtype=FLOAT32)])
    made = run_compiled(graph, every, near)
    with np.errstate(all="ignore"):
        expected = wide, near.astype(FLOAT16), near.astype(FLOAT16).astype(np.float32)
    for actual, wanted in zip(made, expected, strict=True):
        number = ~np.isnan(wanted)
        np.testing.assert_array_equal(_bits(actual)[number], _bits(wanted)[number])
        assert np.isnan(actual[~number].astype(np.float32)).all()
    nan = np.isnan(near)
    np.testing.assert_array_equal(_bits(made[1])[nan], np.where(np.signbit(near[nan]), 0xFE00, 0x7E00))


def chain(x, y):
    h = x * y + 1
    h = np.where(h > 0, h, np.exp(x) - 1) / 3
    return h, h.astype("float32") * 2, np.maximum(h, y) - abs(x) * 0.3, np.sqrt(abs(h)).astype("int32")


def test_a_fused_chain_has_the_bits_of_its_ops_one_by_one():
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal((37, 21)).astype(BFLOAT16) for _ in range(2))
    x[0, :4] = np.array([np.nan, np.inf, -np.inf, 1e-40], np.float32).astype(BFLOAT16)
    graph = gl.trace(chain, x, y)
    assert [node.op.name for node in run_passes(graph).nodes] == ["region"]
    for actual, expected in zip(run_compiled(graph, x, y), interpret(graph, x, y), strict=True):
        np.testing.assert_array_equal(_bits(actual), _bits(expected))


def test_views_rows_and_columns_are_read_as_they_lie():
    def f(x, row, column, number):
        return (x.T[::-1] * row + column) * number, x.T + row.astype(BFLOAT16) * 2, (x.sum(axis=0) + number) * 0.5

    rng = np.random.default_rng(1)
    shapes = (19, 33), (19,), (33, 1), ()
    arrays = [rng.standard_normal(shape).astype(BFLOAT16) for shape in shapes]
    graph = gl.trace(f, *arrays)
    for actual, expected in zip(run_compiled(graph, *arrays), interpret(graph, *arrays), strict=True):
        np.testing.assert_allclose(actual.astype(float), expected.astype(float), rtol=2**-7)


def test_a_loop_carries_it():
    def f(h, xs):
        def body(h, x):
            h = np.tanh(h @ x)
            return h, h.sum()

        return gl.scan(body, h, xs)

    rng = np.random.default_rng(2)
    h, xs = rng.standard_normal((4, 8)).astype(BFLOAT16), rng.standard_normal((5, 8, 8)).astype(BFLOAT16)
    graph = gl.trace(f, h, xs)
    for actual, expected in zip(gl.compile(f)(h, xs), interpret(graph, h, xs), strict=True):
        assert actual.dtype == BFLOAT16
        np.testing.assert_allclose(actual.astype(float), expected.astype(float), atol=0.05)


def test_a_compiled_function_takes_and_gives_it():
    x = np.arange(6).reshape(2, 3).astype(BFLOAT16)
    f = gl.compile(gl.value_and_grad(lambda x: np.sum(np.exp(x.astype("float32") / 4))))
    value, gradient = f(x)
    assert (value.dtype, gradient.dtype) == (np.float32, BFLOAT16)
    np.testing.assert_allclose(gradient.astype(float), np.exp(x.astype(float) / 4) / 4, rtol=2**-7)
