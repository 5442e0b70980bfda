"""A signal handler or a finalizer may call what it interrupts: it gets a result or an error, and harms nothing."""

from __future__ import annotations

import contextlib
import gc
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom.engine.step.step import Step
from gradloom.runtime.cpu.executable import Executable

X = np.arange(32, dtype=np.float32).reshape(4, 8) / 32
OTHER = X + 1


def make_step() -> Step:
    model = gl.nn.Linear(8, 8)
    return gl.compile_step(model, lambda m, b: (m(b) ** 2).mean(), gl.optim.Adam(1e-3), gl.spec((4, 8)), threads=2)


class Everything:
    """Calls of all kinds, of one function and one step; counts what came of each."""

    def __init__(self, path: Path) -> None:
        self.f = gl.compile(np.tanh, threads=2)
        self.step = make_step()
        self.predict = self.step.bind(lambda model, x: model(x))
        self.path = path
        self.seen: Counter[tuple[str, str]] = Counter()
        self.inside = False
        self.calls: dict[str, Callable[[], Any]] = {
            "function": lambda: self.f(OTHER),
            "step": lambda: self.step(OTHER),
            "predict": lambda: self.predict(OTHER),
            "bind": lambda: self.step.bind(lambda model, x: model(x))(OTHER),
            "parameters": self.step.parameters,
            "set_parameters": lambda: self.step.set_parameters(self.step.parameters()),
            "save": lambda: self.step.save(self.path),
            "load": lambda: self.step.load(self.path),
        }
        for call in [*self.calls.values()][:6]:
            call()

    def do_all(self, *_: object) -> None:
        if self.inside:
            return
        self.inside = True
        try:
            for name, call in self.calls.items():
                try:
                    call()
                    self.seen[name, "done"] += 1
                except RuntimeError as error:
                    self.seen[name, "refused" if "in the middle of it, from a signal" in str(error) else "failed"] += 1
        finally:
            self.inside = False


@contextlib.contextmanager
def in_the_middle(monkeypatch: pytest.MonkeyPatch, when: str, call: Callable[[], None]) -> Iterator[None]:
    """Before or after the native code of whatever runs next, `call` interrupts."""
    original = Executable.run
    armed = [True]

    def run(self: Executable, *args: Any, **kwargs: Any) -> None:
        if armed and when == "before":
            armed.clear()
            call()
        original(self, *args, **kwargs)
        if armed and when == "after":
            armed.clear()
            call()

    with monkeypatch.context() as patch:
        patch.setattr(Executable, "run", run)
        yield
    assert not armed


@pytest.mark.parametrize("when", ["before", "after"])
def test_what_is_interrupted_gives_what_it_would_have_given(when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    every = Everything(tmp_path / "c")
    every.step.save(every.path)
    refused = {"step": "refused", "predict": "refused", "bind": "refused", "set_parameters": "refused"}
    refused |= {"load": "refused", "parameters": "done", "save": "done", "function": "done"}
    alone = make_step()
    alone.load(every.path)
    with in_the_middle(monkeypatch, when, every.do_all):
        loss = every.step(X)
    assert dict(every.seen) == dict.fromkeys(refused.items(), 1)
    assert loss == alone(X)
    assert every.step.steps == alone.steps
    assert all(np.array_equal(a, alone.state()[name]) for name, a in every.step.state().items())
    expected = alone.bind(lambda model, x: model(x))(X)
    with in_the_middle(monkeypatch, when, every.do_all):
        np.testing.assert_array_equal(every.predict(X), expected)
    every.seen.clear()
    with in_the_middle(monkeypatch, when, every.do_all):
        np.testing.assert_array_equal(every.f(X), every.f(X.copy()))
    assert every.seen["function", "refused"] == 1
    assert sum(count for (_, what), count in every.seen.items() if what == "done") == 7
    every.step(X)  # and it goes on


def test_a_real_signal_at_any_moment_harms_nothing(tmp_path: Path):
    every = Everything(tmp_path / "c")
    every.step.save(every.path)
    expected = every.f(X.copy())
    came = 0

    def handler(*_: object) -> None:
        nonlocal came
        came += 1
        every.do_all()

    before = signal.signal(signal.SIGALRM, handler)
    try:
        for work in (lambda: every.f(X), lambda: every.step(X), lambda: every.predict(X)):
            signal.setitimer(signal.ITIMER_REAL, 0.003, 0.003)
            until = time.monotonic() + 1
            while time.monotonic() < until:
                result = work()
            signal.setitimer(signal.ITIMER_REAL, 0)
            assert np.isfinite(result).all()
        assert came > 20
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    np.testing.assert_array_equal(every.f(X), expected)
    assert every.seen["save", "refused"] == 0
    assert {name for name, _ in every.seen} == set(every.calls)
    assert {what for _, what in every.seen} == {"done", "refused"}
    every.step(X)


def test_finalizers_may_call_anything_at_any_moment():
    # In a process of its own: they run wherever Python allocates, and a deadlock would end the whole suite.
    code = """
import faulthandler, gc, numpy as np, gradloom as gl
faulthandler.dump_traceback_later(100, exit=True)
x = np.ones((4, 8), np.float32)
f = gl.compile(np.tanh)
f(x)
step = gl.compile_step(gl.nn.Linear(8, 8), lambda m, b: (m(b) ** 2).mean(), gl.optim.SGD(0.1), gl.spec((4, 8)))
step(x)
predict = step.bind(lambda m, x: m(x))
predict(x)
count = {"done": 0, "refused": 0}
left = [60]

class Last:
    def __init__(self):
        self.me = self  # only the collector finds it

    def __del__(self):
        left[0] -= 1
        if left[0] < 0:
            return
        n = float(left[0] % 3)
        for call in (lambda: f(x), lambda: step(x), lambda: predict(x), step.parameters,
                     lambda: gl.compile(lambda x: np.tanh(x) * n)(x)):
            try:
                call()
                count["done"] += 1
            except RuntimeError as error:
                assert "a finalizer" in str(error), error
                count["refused"] += 1

def work(i):
    Last()
    f(x), step(x), predict(x)
    gl.compile(lambda x: np.sin(x) + float(i))(x)

gc.set_threshold(7)
for i in range(6):
    work(i)
gc.set_threshold(700)
assert left[0] < 60 and count["done"], (left, count)
assert np.isfinite(step(x))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_another_thread_waits_and_is_not_refused():
    every = make_step()
    f = gl.compile(np.tanh)
    f(X)
    errors: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(100):
                every(X), f(X), every.parameters()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert every.steps == 300


@pytest.mark.filterwarnings("ignore:unclosed file", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupted_load_is_whole_or_not_begun(tmp_path: Path):
    step = make_step()
    step(X)
    step.save(tmp_path / "c")
    saved = {name: a.tobytes() for name, a in (step.parameters() | step.state()).items()}
    step(X)
    trained = {name: a.tobytes() for name, a in (step.parameters() | step.state()).items()}

    class Stop(Exception):
        pass

    def handler(*_: object) -> None:
        raise Stop

    before = signal.signal(signal.SIGALRM, handler)
    found = Counter[str]()
    try:
        for i in range(150):
            with contextlib.suppress(Stop):
                signal.setitimer(signal.ITIMER_REAL, 1e-5 + i * 2e-5)
                step.load(tmp_path / "c")
                signal.setitimer(signal.ITIMER_REAL, 0)
            signal.setitimer(signal.ITIMER_REAL, 0)
            now = {name: a.tobytes() for name, a in (step.parameters() | step.state()).items()}
            assert now in (saved, trained)
            found["loaded" if now == saved else "as it was"] += 1
            assert signal.getsignal(signal.SIGALRM) is handler
            if now == saved:
                step(X)
                trained = {name: a.tobytes() for name, a in (step.parameters() | step.state()).items()}
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert found["loaded"]
    assert gc.isenabled()
