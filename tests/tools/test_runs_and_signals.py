"""Signals end a run with its checkpoint, or before anything was lost; nothing says that it saved what it did not."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest
from gradloom.engine.saving.checkpoint_file import arrays_and_metadata
from gradloom.tools.cli import main
from training_process import COMMAND, training, wait_for

DIGITS = "gradloom-digits.safetensors"
LONG = ["--epochs", "100000"]


def steps_in(path: Path) -> int:
    return int(arrays_and_metadata(path)[0][".optimizer.step"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_run_with_its_checkpoint(number: signal.Signals, tmp_path: Path):
    with training(LONG, tmp_path) as run:
        wait_for(run, "epoch 2/")
        run.send_signal(number)
        out, err = run.communicate(timeout=60)
    assert (run.returncode, err) == (128 + number, "")
    done = steps_in(tmp_path / DIGITS)
    assert done >= 2 * 45
    assert f"interrupted in epoch {done // 45 + 1}, after {done % 45} of 45 steps\nsaved {DIGITS}; to go on: " in out
    assert os.listdir(tmp_path) == [DIGITS]


def test_more_signals_lose_nothing_that_one_would_have_kept(tmp_path: Path):
    with training(LONG, tmp_path) as run:
        wait_for(run, "epoch 2/")
        for _ in range(200):
            run.send_signal(signal.SIGINT)
            run.send_signal(signal.SIGTERM)
            if run.poll() is not None:
                break
            time.sleep(0.002)
        out, err = run.communicate(timeout=60)
    assert run.returncode in (130, 143, -signal.SIGTERM)  # one that comes when all is done ends what is left of Python
    assert "Traceback" not in err
    done = steps_in(tmp_path / DIGITS)
    assert f"after {done % 45} of 45 steps\nsaved {DIGITS}" in out
    assert os.listdir(tmp_path) == [DIGITS]


def test_signals_that_were_ignored_before_stay_ignored(tmp_path: Path):
    ignored = [signal.SIGINT, signal.SIGHUP, signal.SIGCHLD]
    cache = str(tmp_path / "cache")  # so that it compiles, in several processes
    with training(LONG, tmp_path, ignored, GRADLOOM_CACHE_DIR=cache) as run:
        wait_for(run, "epoch 1/")
        run.send_signal(signal.SIGINT)
        run.send_signal(signal.SIGHUP)
        wait_for(run, "epoch 9/")
        run.send_signal(signal.SIGTERM)
        out, err = run.communicate(timeout=60)
    assert (run.returncode, err) == (143, "")
    assert f"saved {DIGITS}" in out


# From the start of Python to the first steps; with nothing in the cache, so that it compiles for a while.
@pytest.mark.parametrize("delay", [0.15, 0.3, 0.6, 1.0, 1.5])
def test_ctrl_c_before_the_first_step_says_so_and_leaves_what_was_there(delay: float, tmp_path: Path):
    (tmp_path / DIGITS).write_bytes(b"of another run")
    with training([], tmp_path, GRADLOOM_CACHE="0") as run:
        time.sleep(delay)
        run.send_signal(signal.SIGINT)
        out, err = run.communicate(timeout=60)
    if "epoch 1/" in out or "to go on: " in out or run.returncode == 0:  # this machine was too fast
        return
    if "Traceback" in err:  # Python itself was not there yet
        assert "gradloom_command" not in err
    elif run.returncode != -signal.SIGINT:
        assert (run.returncode, "saved" in out) == (130, "nothing was saved" in out)
        assert "interrupted" in out + err
    assert (tmp_path / DIGITS).read_bytes() == b"of another run"
    assert os.listdir(tmp_path) == [DIGITS]


def test_a_run_that_nobody_reads_is_saved(tmp_path: Path):
    with training(LONG, tmp_path) as run:
        wait_for(run, "epoch 1/")
        assert run.stdout is not None
        run.stdout.close()
        assert run.wait(60) == 1
    assert steps_in(tmp_path / DIGITS) >= 45
    assert os.listdir(tmp_path) == [DIGITS]


def compiling_processes(parent: int) -> list[int]:
    found = []
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent and fields[0] not in "ZX":
            found.append(int(pid))
    return found


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize(("signals", "count"), [((signal.SIGKILL,), 60), ((signal.SIGINT, signal.SIGTERM), 40)])
def test_runs_that_are_ended_at_random_moments_end_with_the_same_bits(
    signals: tuple[signal.Signals, ...], count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """One run of 60 epochs after another, each ended again and again and taken up again until it is whole."""
    monkeypatch.chdir(tmp_path)
    options = ["--epochs", "60", "--batch-size", "16", "--optimizer", "momentum"]
    with training([*options, "--out", "whole.safetensors"], tmp_path) as run:
        begun = time.monotonic()
        run.communicate(timeout=300)
        longest = time.monotonic() - begun
    whole = Path("whole.safetensors").read_bytes()
    rng = random.Random(0)
    ended = dict.fromkeys(("before the first step", "while training", "at its end"), 0)
    left, finished = 0, 0
    while sum(ended.values()) < count:
        out = "parts.safetensors"
        resume = ["--resume", out] if Path(out).exists() else [*options, "--out", out]
        before = Path(out).read_bytes() if Path(out).exists() else None
        cold = {"GRADLOOM_CACHE": "0"} if rng.random() < 0.3 else {}
        with training([*resume], tmp_path, **cold) as run:
            delay = rng.uniform(0.05, longest)
            if rng.random() < 0.7:
                with contextlib.suppress(AssertionError):  # it may be at its end
                    wait_for(run, "epoch")
                delay *= rng.random() ** 2
            until = time.monotonic() + delay
            while time.monotonic() < until and run.poll() is None:
                time.sleep(0.01)
            children = compiling_processes(run.pid)
            number = rng.choice(signals)
            for _ in range(rng.randint(1, 3)):
                run.send_signal(number)
            text, err = run.communicate(timeout=120)
        for _ in range(500):
            if not any(map(is_alive, children)):
                break
            time.sleep(0.01)
        assert not any(map(is_alive, children)), children
        after = Path(out).read_bytes() if Path(out).exists() else None
        if after is not None:
            arrays_and_metadata(out)  # whole, whatever happened
        saved = re.search(r"^(?:interrupted; )?saved (\S+?);? ?", text, re.MULTILINE)
        if number != signal.SIGKILL and run.returncode not in (0,):
            assert run.returncode in (128 + number, -number), (run.returncode, err)
            assert "Traceback" not in err or "epoch" not in text, err
            if saved and "nothing was saved" not in text:
                assert after != before
        if run.returncode == 0:
            finished += 1
            assert after == whole
            Path(out).unlink()
            ended["at its end"] += 1
        else:
            ended["while training" if after != before else "before the first step"] += 1
        left = max(left, len([name for name in os.listdir(tmp_path) if name.endswith(".tmp")]))
    assert left <= 1, "what a killed run leaves, the next one removes"
    print(f"\n{count} runs: {ended}, {finished} finished to the same bytes; left-over files at most {left}")
    assert ended["while training"] > count // 4
    for _ in range(3):
        if Path("parts.safetensors").exists():
            assert main(["train", "--resume", "parts.safetensors"]) == 0
        else:
            assert main(["train", *options, "--out", "parts.safetensors"]) == 0
    assert Path("parts.safetensors").read_bytes() == whole
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".tmp")]


def test_the_command_that_is_printed_goes_on(tmp_path: Path):
    name = "a name's (1).safetensors"
    with training([*LONG, "--out", name, "--threads", "1"], tmp_path) as run:
        wait_for(run, "epoch 2/")
        run.send_signal(signal.SIGINT)
        out, _ = run.communicate(timeout=60)
    words = shlex.split(out.strip().rpartition("to go on: ")[2])
    assert words == ["gradloom", "train", "--resume", name, "--threads", "1"]
    done = steps_in(tmp_path / name)
    epochs = done // 45 + 1
    again = subprocess.run(
        [*COMMAND, *words[1:], "--epochs", str(epochs)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stderr
    assert steps_in(tmp_path / name) == 45 * epochs


def test_ctrl_c_while_the_package_is_imported_is_no_traceback_however_often_it_comes():
    code = """
import os, signal, sys
import gradloom_command
signal.signal(signal.SIGINT, signal.default_int_handler)  # also where this was started with it ignored
class Interrupted:
    def find_spec(self, name, path=None, target=None):
        if name == "gradloom.tools.cli":
            os.kill(os.getpid(), signal.SIGINT)
ignore = gradloom_command._ignore_signals
def ignore_after_another():
    os.kill(os.getpid(), signal.SIGINT)
    ignore()
gradloom_command._ignore_signals = ignore_after_another
sys.meta_path.insert(0, Interrupted())
sys.exit(gradloom_command.main())
"""
    done = subprocess.run([COMMAND[0], "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")
