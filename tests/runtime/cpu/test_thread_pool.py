import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from child_processes import BUSY, started
from gradloom.runtime.codegen import intrinsics
from gradloom.runtime.codegen.kernel_cache import compile_kernel, source_salt
from gradloom.runtime.cpu.program import CONSTANT, POINTER, Program

ADD = """
def f(block):
    a = array_i64(word(block, 0), word(block, 1))
    for i in range(word(block, 1)):
        a[i] += word(block, 2)
    return 0
"""


def adder(array: np.ndarray, threads: int, launches: int = 20) -> Program:
    """Adds 1 to each element of an array as many times as there are launches."""
    address = compile_kernel(ADD, "f", vars(intrinsics), salt=source_salt(intrinsics)).address
    tiles, n = 8, array.size // 8
    args = [[POINTER, 0, 0, 8 * n, 0], [CONSTANT, n, 0, 0, 0], [CONSTANT, 1, 0, 0, 0]]
    program = Program([[tiles, 1, 0, 1]] * launches, [[address, 0, 3]], args, 1, threads, keep_alive=array)
    program.bases[0] = array.ctypes.data
    return program


def together(*functions) -> None:
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_python_threads_take_turns_with_one_program(threads):
    array = np.zeros(64, np.int64)
    program = adder(array, threads)

    def run():
        for _ in range(300):
            assert program.run() == 0

    together(run, run, run)
    assert (array == 3 * 300 * 20).all()


@pytest.mark.parametrize("threads", [2, 3])
def test_two_programs_run_at_once(threads):
    arrays = [np.zeros(64, np.int64) for _ in range(3)]
    programs = [adder(array, threads) for array in arrays]

    def run(program):
        for _ in range(300):
            assert program.run() == 0

    together(*[lambda program=program: run(program) for program in programs])
    assert all((array == 300 * 20).all() for array in arrays)


SETUP = """
import os, signal, sys, threading, time
import numpy as np
from gradloom.runtime.cpu import thread_pool
from gradloom.runtime.codegen.kernel_cache import compile_kernel
from gradloom.runtime.cpu.program import CONSTANT, POINTER, Program

def namespace():
    from gradloom.runtime.codegen import intrinsics
    return vars(intrinsics)

def adder(array, threads, launches=20, source=SOURCE):
    address = compile_kernel(source, "f", namespace).address
    n = array.size // 8
    args = [[POINTER, 0, 0, 8 * n, 0], [CONSTANT, n, 0, 0, 0], [CONSTANT, 1, 0, 0, 0]]
    program = Program([[8, 1, 0, 1]] * launches, [[address, 0, 3]], args, 1, threads)
    program.bases[0] = array.ctypes.data
    return program

def in_a_child(function):
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        try:
            function()
        except BaseException as error:
            print(error, file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

array = np.zeros(64, np.int64)
program = adder(array, 3)
""".replace("SOURCE", repr(ADD))


def python(code: str) -> None:
    """Runs code in a process of its own, which must end quietly and well."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", SETUP + code]  # Python warns of forks
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@needs_fork
def test_a_child_runs_the_programs_of_its_parent():
    python("""
assert program.run() == 0
assert thread_pool.size() == 2
def child():
    assert thread_pool.size() == 0
    for i in range(50):
        assert program.run() == 0
    assert thread_pool.size() == 2
    assert (array == 51 * 20).all()
    in_a_child(lambda: program.run() == 0 or sys.exit(1))
    another = np.zeros(64, np.int64)
    assert adder(another, 4).run() == 0 and (another == 20).all()
in_a_child(child)
assert program.run() == 0 and (array == 40).all()
""")


@needs_fork
def test_a_child_that_was_forked_during_a_run_can_run():
    python("""
stop = False
def run():
    while not stop:
        program.run()
thread = threading.Thread(target=run)
thread.start()
def child():
    array[:] = 0
    for i in range(50):
        assert program.run() == 0
    assert (array == 50 * 20).all()
    another = np.zeros(64, np.int64)
    assert adder(another, 2).run() == 0 and (another == 20).all()
for _ in range(12):
    time.sleep(0.002)
    in_a_child(child)
stop = True
thread.join()
""")


@pytest.mark.parametrize(
    "code",
    [
        "program.run()",  # the workers still look for more
        "program.run(); time.sleep(0.3)",  # they sleep
        "",  # they never worked
        "program.run(); del program",
        "threading.Thread(target=lambda: [program.run() for _ in range(10**9)], daemon=True).start(); time.sleep(0.1)",
        "import atexit; atexit.register(lambda: program.run() == 0 or print('failed', file=sys.stderr))",
    ],
)
def test_python_ends_quietly(code):
    python(code)


def test_steps_go_on_while_other_processes_want_every_core():
    with started(*[BUSY] * ((os.cpu_count() or 1) + 1)):
        python("""
program = adder(array, 4, launches=50)
for i in range(100):
    assert program.run() == 0
assert (array == 100 * 50).all()
""")


def test_workers_that_fell_asleep_come_back():
    python("""
source = '''
def f(block):
    atomic_add(word(block, 0), 1)
    for _ in range(20000):
        pause()
    return 0
'''
counts = np.zeros(64, np.int64)
# Tiles that take long, each of which counts on its own word.
slow = adder(counts, 3, launches=3, source=source)
for _ in range(5):
    time.sleep(0.05)
    assert slow.run() == 0
assert (counts[::8] == 15).all()
""")
