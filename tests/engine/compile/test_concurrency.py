"""Steps and compiled functions used by several Python threads at once, and across a fork."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from child_processes import started
from gradloom import nn, optim

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def cross_entropy(model: Any, batch: Any) -> Any:
    return nn.cross_entropy(model(batch["x"]), batch["y"])


def make_batch(rows: int = 128) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {"x": rng.standard_normal((rows, 64)).astype("float32"), "y": rng.integers(0, 10, rows)}


def make_step(seed: int = 0, threads: int = 2) -> gl.Step:
    """Large enough that the plan uses several threads."""
    model = nn.Sequential(nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, 10))
    step = gl.compile_step(model, cross_entropy, optim.SGD(0.1, momentum=0.9), make_batch(), threads=threads, seed=seed)
    assert step.report.threads == threads
    return step


def together(*tasks: Callable[[], None]) -> None:
    """Run the tasks in threads that begin at the same time; the first error is raised here."""
    barrier = threading.Barrier(len(tasks))
    errors: list[BaseException] = []

    def work(task: Callable[[], None]) -> None:
        try:
            barrier.wait()
            task()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(task,)) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def bits(step: gl.Step) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in (step.parameters() | step.state()).items()}


def test_two_threads_train_two_models_as_one_thread_does():
    batch = make_batch()
    expected = [make_step(seed) for seed in (1, 2)]
    for step in expected:
        for _ in range(30):
            step(batch)
    steps = [make_step(seed) for seed in (1, 2)]
    together(*(lambda step=step: [step(batch) for _ in range(30)] for step in steps))
    assert [bits(step) for step in steps] == [bits(step) for step in expected]


def test_threads_that_share_a_step_take_turns():
    batch = make_batch()
    alone, shared = make_step(), make_step()
    for _ in range(40):
        alone(batch)
    together(*[lambda: [shared(batch) for _ in range(10)] for _ in range(4)])
    assert shared.steps == 40
    assert bits(shared) == bits(alone)


def test_a_step_is_read_while_it_trains():
    batch = make_batch()
    step = make_step()
    predict = step.bind(lambda model, x: model(x))
    predict(batch["x"])
    seen: list[int] = []

    def read() -> None:
        for _ in range(20):
            state = step.state()
            seen.append(int(state["step"]))
            # A whole update, or none of it: with one batch the momentum is not zero after the first.
            assert (state["step"] == 0) == (not state["momentum_buffer.0.weight"].any())
            assert np.isfinite(predict(batch["x"])).all()

    together(read, lambda: [step(batch) for _ in range(60)])
    assert seen == sorted(seen)
    assert step.steps == 60


def test_new_shapes_compiled_by_several_threads_at_once():
    step = make_step()
    sizes = (5, 17, 130, 5)
    together(*[lambda n=n: [step(make_batch(n)) for _ in range(5)] for n in sizes])
    assert step.steps == 20


def test_compiled_functions_called_from_several_threads():
    f = gl.compile(lambda x: np.tanh(x @ x.T).sum(axis=0))
    arrays = [np.random.default_rng(i).standard_normal((60 + i, 40)) for i in range(2)]
    expected = [np.tanh(x @ x.T).sum(axis=0) for x in arrays]

    def work() -> None:
        for _ in range(20):
            for x, wanted in zip(arrays, expected):
                np.testing.assert_allclose(f(x), wanted, rtol=1e-10, atol=1e-12)

    together(*[work] * 4)


_FOLDERS = [os.path.dirname(__file__), *map(str, Path(__file__).parents[2:3])]


def in_child(code: str) -> None:
    """Run code that forks in a process of its own, because a fork copies what the test runner holds."""
    setup = f"import sys; sys.path[:0] = {_FOLDERS}\nfrom test_concurrency import *\n"
    # Python warns of forks where there are threads.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", setup + code]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr


FORK = """
def forked(task):
    child = os.fork()
    if child == 0:
        code = 1
        try:
            task()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
"""


def test_processes_that_start_cold_at_once_train_alike(tmp_path: Path):
    code = "step = make_step(); [step(make_batch()) for _ in range(3)]; print(repr(bits(step)))"
    setup = f"import sys; sys.path[:0] = {_FOLDERS}\nfrom test_concurrency import *\n"
    environment = {**os.environ, "GRADLOOM_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-W", "error", "-c", setup + code]
    with started(*[command] * 3, env=environment, stdout=subprocess.PIPE, text=True) as running:
        found = [process.communicate(timeout=120)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0, 0]
    assert found[0]
    assert len(set(found)) == 1
    assert all(path.suffix == ".kernel" for path in tmp_path.rglob("*") if path.is_file())


@needs_fork
def test_a_child_goes_on_training():
    in_child(
        FORK
        + """
batch = make_batch()
alone, step = make_step(), make_step()
for _ in range(6):
    alone(batch)
for _ in range(3):
    step(batch)

def task():
    for _ in range(3):
        step(batch)
    assert bits(step) == bits(alone)
    new = make_step(seed=5)
    new(batch)

forked(task)
assert step.steps == 3
for _ in range(3):
    step(batch)
assert bits(step) == bits(alone)
"""
    )


@needs_fork
def test_a_fork_during_a_step_finds_it_whole():
    in_child(
        FORK
        + """
class Counters(nn.Module):
    def __init__(self):
        self.first, self.second = nn.Parameter((500, 500)), nn.Parameter((500, 500))

def loss(model, batch):
    return -(model.first.sum() + model.second.sum()) * batch

step = gl.compile_step(Counters(), loss, optim.SGD(1.0), np.float32(1), threads=2)
stop = threading.Event()

def train():
    while not stop.is_set():
        step(np.float32(1))

def check():
    for name, array in step.parameters().items():
        assert (array == step.steps).all(), (name, step.steps, array.min(), array.max())

def task():
    check()
    step(np.float32(1))
    check()

trainer = threading.Thread(target=train)
trainer.start()
try:
    for _ in range(20):
        forked(task)
finally:
    stop.set()
    trainer.join()
assert step.steps > 20
"""
    )


@needs_fork
@pytest.mark.parametrize("delay", [0.02, 0.5])
def test_a_fork_while_another_thread_compiles_waits_for_it(delay: float, tmp_path: Path, monkeypatch: Any):
    # Without machine code on disk, so that the thread imports Numba and compiles for seconds.
    monkeypatch.setenv("GRADLOOM_CACHE_DIR", str(tmp_path))
    in_child(
        FORK
        + f"""
import faulthandler, time

def compile_another(width):
    model = nn.Sequential(nn.Linear(64, width), nn.Tanh(), nn.Linear(width, 10))
    gl.compile_step(model, cross_entropy, optim.AdamW(), make_batch(), threads=2)(make_batch())

def task():
    faulthandler.dump_traceback_later(60, exit=True)
    compile_another(20)

compiler = threading.Thread(target=make_step)
compiler.start()
time.sleep({delay})
forked(task)
compiler.join()
compile_another(30)
"""
    )


@needs_fork
def test_a_fork_takes_locks_that_others_take_in_any_order():
    in_child(
        FORK
        + """
import time
from gradloom.runtime.codegen.fork_lock import fork_lock

locks = [fork_lock() for _ in range(6)]
stop = threading.Event()

def nest(order):
    while not stop.is_set():
        with order[0], order[1], order[2]:
            time.sleep(0.002)
        time.sleep(0.002)

threads = [threading.Thread(target=nest, args=(order,)) for order in (locks[:3], locks[5:2:-1])]
for thread in threads:
    thread.start()

def task():
    for lock in locks:
        assert lock.acquire(timeout=20)

for _ in range(5):
    forked(task)
stop.set()
for thread in threads:
    thread.join()
"""
    )
