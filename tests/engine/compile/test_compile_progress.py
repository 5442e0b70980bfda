"""While something is compiled for more than a second, one line of the terminal says how far it is."""

import io
import threading

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn
from gradloom.engine.compile import compile_progress as shown
from gradloom.engine.compile.compile_progress import compile_phase, compile_progress
from gradloom.runtime.codegen import kernel_cache
from gradloom.runtime.codegen.kernel_progress import tell_of_kernels
from rich.console import Console

ERASE = "\r\x1b[2K"


@pytest.fixture
def screen(monkeypatch):
    """What is written to a terminal on which everything takes more than a second."""
    text = io.StringIO()
    monkeypatch.setattr(shown, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(shown, "_REFRESH_SECONDS", 0.0)
    monkeypatch.setattr(shown, "terminal", lambda: Console(file=text, force_terminal=True, width=80))
    monkeypatch.setattr(shown.CompileProgress, "_tick", lambda self: None)  # no test depends on the clock
    return text


def lines(screen):
    return screen.getvalue().split(ERASE)[1:]


def test_kernels_are_counted_in_one_line_that_is_erased(screen):
    with compile_progress("the step"):
        compile_phase("planning")
        tell_of_kernels(3, 12)
        tell_of_kernels(4, 12)
        assert "gradloom-progress" not in [thread.name for thread in threading.enumerate()]  # a process may fork
    assert lines(screen) == ["compiling the step: kernels 3/12, 0 s", "compiling the step: kernels 4/12, 0 s", ""]
    tell_of_kernels(5, 12)
    assert len(lines(screen)) == 3


def test_phases_are_drawn_by_a_thread_while_they_run(screen, monkeypatch):
    drawn = threading.Event()

    def tick(self):
        self._draw()
        drawn.set()

    monkeypatch.setattr(shown.CompileProgress, "_tick", tick)
    with compile_progress("f"):
        drawn.wait()
    assert lines(screen)[0].startswith("compiling f")
    assert lines(screen)[-1] == ""


def test_the_line_is_erased_where_compiling_fails_and_is_no_wider_than_the_terminal(screen):
    def fail():
        with compile_progress("x" * 200):
            tell_of_kernels(0, 1)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    first, last = lines(screen)
    assert (len(first), last) == (79, "")


def test_what_is_compiled_inside_shows_in_the_same_line(screen):
    with compile_progress("a"):
        with compile_progress("b"):
            tell_of_kernels(1, 2)
        tell_of_kernels(2, 2)
    assert [line[:11] for line in lines(screen)] == ["compiling a", "compiling a", ""]


def test_nothing_is_shown_of_what_is_fast(screen, monkeypatch):
    monkeypatch.setattr(shown, "PATIENCE_SECONDS", 1e9)
    with compile_progress("f"):
        tell_of_kernels(1, 2)
    assert screen.getvalue() == ""


def test_a_terminal_is_written_to_and_nothing_else(monkeypatch):
    class Tty(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr", io.StringIO())
    assert shown.terminal() is None
    monkeypatch.setattr("sys.stderr", Tty())
    assert shown.terminal() is not None
    monkeypatch.setenv("GRADLOOM_PROGRESS", "0")
    assert shown.terminal() is None
    monkeypatch.setattr("sys.stderr", None)
    assert shown.terminal() is None


def test_a_terminal_that_is_gone_stops_nothing(screen):
    with compile_progress("f"):
        screen.close()
        tell_of_kernels(0, 1)


def test_steps_plans_bound_and_compiled_functions_show_their_kernels(screen, monkeypatch):
    monkeypatch.setattr(kernel_cache, "_kernels", dict(kernel_cache._kernels))
    monkeypatch.setenv("GRADLOOM_CACHE", "0")
    model, batch = nn.Linear(3, 5), {"x": gl.spec((7, 3))}

    def loss_fn(model, batch):
        return np.mean(np.cosh(model(batch["x"])) + 0.123456)

    def predict(model, x):
        return np.sinh(model(x)) - 0.654321

    def plain(x):
        return np.cosh(x) * 0.24680

    step = gl.compile_step(model, loss_fn, gl.optim.SGD(0.1), batch)
    step.bind(predict)(np.ones((7, 3), "float32"))
    gl.compile(plain)(np.ones(11))
    step({"x": np.ones((4, 3), "float32")})
    text = [line for line in lines(screen) if line]
    for what in ("a step", "predict", "plain"):
        assert any(line.startswith(f"compiling {what}: kernels 0/") for line in text)
