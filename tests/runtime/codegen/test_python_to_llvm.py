"""The front end: the same numbers as Python's and Numba's, and a word for what it does not know."""

import ctypes
from itertools import product

import gradloom as gl
import llvmlite.binding as llvm
import numpy as np
import pytest
from front_ends import called_code, kernel_of, machine_code
from gradloom.runtime.codegen.intrinsics import array_i64
from gradloom.runtime.codegen.kernel_cache import KernelRequest, compile_kernel
from gradloom.runtime.codegen.natives import apart
from gradloom.runtime.codegen.object_code import emit
from gradloom.runtime.codegen.python_to_llvm import Unsupported, lower
from gradloom.runtime.cpu.driver import drive
from gradloom.runtime.lowering import launch_list
from gradloom.runtime.lowering.namespace import kernel_namespace
from gradloom.tools.find_recipe import make_recipe

LARGEST = 2**63 - 1


def in_python(kernel, a, b):
    block = (ctypes.c_int64 * 2)(a, b)
    return int(kernel(ctypes.addressof(block)))


@pytest.mark.parametrize("operator", ["//", "%"])
def test_division_rounds_as_in_python_and_gives_0_where_there_is_none(operator):
    kernel = kernel_of(f"return a {operator} b")
    values = [0, 1, -1, 3, -3, 7, -8, 1000003, LARGEST, -LARGEST - 1]
    ours, theirs = machine_code(kernel)
    for a, b in product(values, values):
        fails = b == 0 or (a, b) == (-LARGEST - 1, -1)
        assert ours(a, b) == theirs(a, b) == (0 if fails else in_python(kernel, a, b)), (a, b)


def test_a_loop_under_masks_touches_nothing_behind_its_end():
    kernel = kernel_of("""
x = array_f32(a, 0)
for j in masked_range(b):
    x[j] = x[j] * x[j] + f32(1)
return i64(0)
""")
    ours, theirs = machine_code(kernel)
    for n in (0, 1, 15, 16, 17, 77):
        given = np.arange(128, dtype=np.float32)
        expected = np.where(np.arange(128) < n, given * given + 1, given)
        for call in (ours, theirs):
            x = given.copy()
            call(x.ctypes.data, n)
            np.testing.assert_array_equal(x, expected)


def test_only_a_loop_that_says_so_runs_under_masks():
    text = "x = array_f32(a, 0)\nfor j in {}(b):\n    x[j] = x[j] * x[j]\nreturn i64(0)"
    plain, masked = (str(lower(kernel_of(text.format(r)), "kernel")) for r in ("range", "masked_range"))
    assert "llvm.loop.vectorize.predicate.enable" in masked
    assert "llvm.loop" not in plain


@pytest.mark.parametrize("divisor", [1, 7, 16, -1, -5, 0])
def test_division_by_a_constant_is_the_same(divisor):
    ours, theirs = machine_code(kernel_of(f"return (a // {divisor}) * 100 + a % {divisor}"))
    for a in (0, 1, -1, 15, -15, 16, LARGEST, -LARGEST - 1):
        assert ours(a, 0) == theirs(a, 0), a


@pytest.mark.parametrize(
    "body",
    [
        "return (a + b) * 3 - -a",
        "return (a & b) | (a ^ 5)",
        "return (a >> 3) + (b << 2)",
        "return ~a + abs(b)",
        "return min(a, b) * 7 + min(b, 3)",
        "return i64(i32(a)) + i64(u8(b & 255))",
        "return i64(f32(a) / f32(3.0)) + i64(f64(b) * 1.5)",
        "return i64(np.floor(f64(a) / 7.0)) - i64(np.sqrt(abs(f64(b))))",
        "return i64(u64(a) >> u64(60)) + i64(u64(a) > u64(b))",
        "return i64(mix64(u64(a)) ^ u64(b))",
        "return i64((a < b) | (a == b)) * 2 + i64((a != 0) & (b >= 0))",
        "return i64(boolean(a)) + i64(not b)",
        "return integer_power(a % 7, b % 5) + integer_floor_divide(a, b) * 3 + integer_remainder(a, b)",
        "return i64(f64(a) + i32(b)) + i64(i32(a) * 2 > 0)",
        "return a if a > b else b",
        "return i64(2.5 if a > b else a)",
        "return a // b if b != 0 else i64(-1)",
        "x = i64(exp_f32(f32(a % 5)) * f32(1000.0))\nreturn x",
        # Control flow
        "total = 0\nfor i in range(abs(a) % 9):\n    total += i * i\nreturn total",
        "total = 0\nfor i in range(9, b % 7, -2):\n    total = total * 10 + i\nreturn total",
        "x = 0\nstep = 3 if a > 0 else -3\nfor i in range(0, step * 4, step):\n    x = x * 10 + i\nreturn x",
        "i = 0\nwhile True:\n    i += 1\n    if i % 2:\n        continue\n    if i > a % 50:\n        break\nreturn i",
        "i = a % 100\nwhile i > 10 and i % 7 != 0 or i == 3:\n    i -= 1\nreturn i",
        "if a < 0:\n    x, y = 1, b\nelif b < 0:\n    x, y = 2, a\nelse:\n    x, y = 3, a + b\nreturn x * y",
        "if a < 0:\n    return b\nelse:\n    x = 5\nreturn x + a",
        "for i in range(3):\n    x = f64(i)\nfor i in range(3):\n    x = i\n    a += x\nreturn a",
        "x, y = a, b\nx, y = y, x\nreturn x * 3 - y",
        "if not (a > b and b > 0):\n    a = 1\nreturn a",
    ],
)
def test_a_kernel_computes_what_python_and_numba_do(body):
    kernel = kernel_of(body)
    ours, theirs = machine_code(kernel)
    for a, b in product([0, 1, -1, 5, -12, 130, -4000, 99999], [0, 2, -3, 64, -255, 70000]):
        assert ours(a, b) == theirs(a, b), (a, b)
        if min(a, b) >= 0 or "u64" not in body:  # of a negative number NumPy makes none
            with np.errstate(over="ignore"):
                assert ours(a, b) == in_python(kernel, a, b), (a, b)


def test_words_after_and_and_or_are_looked_at_only_where_they_matter():
    kernel = kernel_of("""
if a != 0 and word(a, 0) == 7 or b != 0 and word(b, 0) == 7:
    return 1
return 0
""")
    seven = (ctypes.c_int64 * 1)(7)
    for call in machine_code(kernel):
        assert [call(0, 0), call(ctypes.addressof(seven), 0), call(0, ctypes.addressof(seven))] == [0, 1, 1]


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("return np.arctan(f64(a))", "np.arctan"),
        ("x = a\nx = f32(b)\nreturn x", "i64 and f32"),
        ("for i in range(3):\n    x = i\nreturn x", "x is not defined"),
        ("for i in (1, 2):\n    a += i\nreturn a", "range"),
        ("raise ValueError", "Raise"),
        ("return 0 < a < b", "chain"),
        ("return u64(a) + b", "u64 and i64 have no common type"),
        ("return a.real", "beforehand"),
        ("return a ** b", "Pow"),
    ],
)
def test_what_it_does_not_know_is_said(body, what):
    with pytest.raises(Unsupported, match=what):
        lower(kernel_of(body), "kernel")


def test_functions_that_call_themselves_are_unsupported():
    source = "def again(n):\n    return again(n - 1)\n\n\ndef kernel(b):\n    return again(b)\n"
    with pytest.raises(Unsupported, match="again"):
        lower(KernelRequest(source, "kernel", {}).function(), "kernel")


def test_numba_compiles_what_the_front_end_does_not_know():
    source = "def kernel(b):\n    return i64(np.arctan(f64(1.0)) * 4e6)\n"
    kernel = compile_kernel(source, "kernel", kernel_namespace, salt="front end")
    convention = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
    result = ctypes.c_int64()
    assert convention(kernel.address)(ctypes.addressof(result), 0, 0) == 0
    assert result.value == 3141592


@pytest.mark.parametrize("recipe", ["mlp_s", "mlp_l", "gpt", "cnn", "lstm_bench"])
def test_kernels_of_the_benchmark_do_not_need_numba(recipe):
    planned = gl.plan_step(*make_recipe(recipe))
    for source in dict.fromkeys(launch_list.lower(planned.plan).sources()):
        lower(KernelRequest(source, "kernel", kernel_namespace).function(), "kernel")


def test_the_driver_does_not_need_numba():
    lower(drive, "drive")


@apart
def collatz(number, steps):
    """Steps from a number to 1; it calls itself."""
    if number == 1:
        return steps
    return collatz(number // 2 if number % 2 == 0 else 3 * number + 1, steps + 1)


def test_a_function_apart_stands_once_and_may_call_itself():
    kernel = kernel_of("return collatz(a, 0) - collatz(b, 0)")
    kernel.__globals__["collatz"] = collatz
    assert str(lower(kernel, "kernel")).count("define ") == 2
    ours = called_code(emit(llvm.parse_assembly(str(lower(kernel, "kernel"))), "kernel")[0])
    assert [ours(a, b) for a, b in ((1, 1), (27, 1), (6, 27))] == [0, 111, 8 - 111]


def test_parts_of_the_driver_that_are_called_in_several_places_stand_once():
    assert str(lower(drive, "drive")).count("define ") == 3


@pytest.mark.parametrize("recipe", ["mlp_s", "cnn"])
def test_kernels_whose_text_walks_over_no_elements_are_known(recipe: str):
    found: set[bool] = set()
    for source in dict.fromkeys(launch_list.lower(gl.plan_step(*make_recipe(recipe)).plan).sources()):
        module = lower(KernelRequest(source, "kernel", kernel_namespace).function(), "kernel")
        assert module.by_element or "array_" not in source
        assert not module.by_element or "array_" in source
        found.add(module.by_element)
    assert found == {False, True}


@apart
def element(address, i):
    """An element of an array, which a function apart reads."""
    return array_i64(address, 0)[i]


def test_elements_of_functions_apart_count():
    assert not lower(kernel_of("set_word(b, 0, a)\nreturn a"), "kernel").by_element
    assert lower(kernel_of("x = array_f32(a, 0)\nx[b] = x[0]\nreturn a"), "kernel").by_element
    kernel = kernel_of("return element(a, b)")
    kernel.__globals__["element"] = element
    assert lower(kernel, "kernel").by_element
