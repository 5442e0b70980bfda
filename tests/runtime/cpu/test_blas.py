import ctypes
import os
import subprocess
import sys

import numpy as np
import pytest
from gradloom.runtime.codegen.kernel_cache import compile_kernel
from gradloom.runtime.cpu import blas
from gradloom.runtime.cpu.control_block import BLAS_WORDS, GET_THREADS, SET_THREADS, words_at
from gradloom.runtime.cpu.program import CONSTANT, POINTER, Program


def test_a_pointer_is_the_function_of_fortran():
    dot = ctypes.CFUNCTYPE(ctypes.c_double, *[ctypes.c_void_p] * 5)(blas.pointer("ddot"))
    n, step, x = ctypes.c_int32(3), ctypes.c_int32(1), np.array([1.0, 2.0, 3.0])
    at = ctypes.addressof
    assert dot(at(n), x.ctypes.data, at(step), x.ctypes.data, at(step)) == 14


def test_an_unknown_function_is_a_key_error():
    with pytest.raises(KeyError, match="nonsense"):
        blas.pointer("nonsense")


def test_scipy_is_imported_as_if_nothing_had_happened():
    code = """
import sys
from gradloom.runtime.cpu import blas
address, factor = blas.pointer("sgemm"), blas.pointer("dpotrf")
assert "scipy.linalg" not in sys.modules and "numba" not in sys.modules
import numpy, scipy.linalg, scipy.linalg.cython_blas, scipy.linalg.cython_lapack
assert "sgemm" in scipy.linalg.cython_blas.__pyx_capi__
assert (scipy.linalg.solve(2 * numpy.eye(3), numpy.ones(3)) == 0.5).all()
blas.pointer.cache_clear()
assert blas.pointer("sgemm") == address and blas.pointer("dpotrf") == factor
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=60)


def namespace():
    from gradloom.runtime.codegen import intrinsics

    return vars(intrinsics)


def switch():
    """Python's `get` and `set` of the number of threads of BLAS; skips where it has none."""
    blas.pointer("sgemm")
    block = words_at(blas.SWITCH, BLAS_WORDS)
    if block[GET_THREADS] == 0:
        pytest.skip("this BLAS has no switch for its threads")
    get = ctypes.CFUNCTYPE(ctypes.c_int)(int(block[GET_THREADS]))
    return get, ctypes.CFUNCTYPE(None, ctypes.c_int)(int(block[SET_THREADS]))


@pytest.mark.parametrize("usual", [1, 2])
def test_a_run_keeps_blas_on_its_thread_and_puts_the_number_back(usual):
    get, set_ = switch()
    before = get()
    set_(usual)
    source = "def f(block):\n    set_word(word(block, 0), 0, call_getter(word(block, 1)))\n    return 0\n"
    kernel = compile_kernel(source, "f", namespace)
    seen = np.zeros(1, np.int64)
    getter = int(words_at(blas.SWITCH, BLAS_WORDS)[GET_THREADS])
    arguments = [[POINTER, 0, 0, 0, 0], [CONSTANT, getter, 0, 0, 0]]
    program = Program([[1, 1, 0, 1]], [[kernel.address, 0, 2]], arguments, 1)
    program.bases[0] = seen.ctypes.data
    try:
        assert program.run() == 0
        assert seen[0] == 1
        assert get() == usual
    finally:
        set_(before)


def test_a_number_that_was_set_during_a_run_stays():
    get, set_ = switch()
    before = get()
    set_(2)
    setter = int(words_at(blas.SWITCH, BLAS_WORDS)[SET_THREADS])
    kernel = compile_kernel("def f(block):\n    call_setter(word(block, 0), 3)\n    return 0\n", "f", namespace)
    program = Program([[1, 1, 0, 1]], [[kernel.address, 0, 1]], [[CONSTANT, setter, 0, 0, 0]], 0)
    try:
        assert program.run() == 0
        assert get() == 3
    finally:
        set_(before)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_of_a_run_has_the_usual_number_of_threads():
    # The child is forked while a kernel runs, which waits for a word to change.
    code = """
import ctypes, os, threading, time, numpy as np
from gradloom.runtime.cpu import blas
from gradloom.runtime.cpu.control_block import *
from gradloom.runtime.codegen.kernel_cache import compile_kernel
from gradloom.runtime.cpu.program import Program
def namespace():
    from gradloom.runtime.codegen import intrinsics
    return vars(intrinsics)
blas.pointer("sgemm")
block = words_at(blas.SWITCH, BLAS_WORDS)
if block[GET_THREADS]:
    get = ctypes.CFUNCTYPE(ctypes.c_int)(int(block[GET_THREADS]))
    ctypes.CFUNCTYPE(None, ctypes.c_int)(int(block[SET_THREADS]))(2)
    source = '''
def f(block):
    atomic_store(word(block, 0), 1)
    while atomic_load(word(block, 0)) == 1:
        pause()
    return 0
'''
    flag = np.zeros(1, np.int64)
    kernel = compile_kernel(source, "f", namespace)
    program = Program([[1, 1, 0, 1]], [[kernel.address, 0, 1]], [[POINTER, 0, 0, 0, 0]], 1)
    program.bases[0] = flag.ctypes.data
    thread = threading.Thread(target=program.run)
    thread.start()
    while flag[0] != 1:
        time.sleep(0.001)
    assert get() == 1
    child = os.fork()
    if child == 0:
        os._exit(get())
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
    flag[0] = 2
    thread.join()
    assert get() == 2
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
