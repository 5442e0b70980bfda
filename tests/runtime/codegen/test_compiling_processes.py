"""Processes that share the work of the compiler leave nothing behind, however the work ends."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only there the work is shared")

SETUP = """
import contextlib, os, signal, sys, time
from gradloom.runtime.codegen.object_code import build_together

SYMBOLS = [f"k{i}" for i in range(6)]

def kernel():
    def entry(block):
        return block + 1
    return entry

def children():
    found = []
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            text = open(f"/proc/{pid}/stat").read()
            if int(text.rpartition(")")[2].split()[1]) == os.getpid():
                found.append(int(pid))
    return found

def built(make, processes=3):
    return build_together({name: (make, "int64(int64)", name, "") for name in SYMBOLS}, processes)

def slow():
    time.sleep(60)

def descriptors():
    return sorted(os.listdir("/proc/self/fd"))

def left_nothing(before):
    assert descriptors() == before, (before, descriptors())
    assert children() == [], children()
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return
    raise AssertionError("a child is left")
"""


def run(code: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SETUP + code], capture_output=True, text=True, timeout=timeout, check=False
    )


@pytest.mark.parametrize("handling", ["SIG_DFL", "SIG_IGN"])
def test_whatever_becomes_of_sigchld(handling: str):
    done = run(f"""
signal.signal(signal.SIGCHLD, signal.{handling})
before = descriptors()
assert sorted(built(kernel)) == SYMBOLS
left_nothing(before)
""")
    assert (done.returncode, done.stderr) == (0, "")


def test_where_another_handler_reaps_every_child():
    done = run("""
def reap(*_):
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass

signal.signal(signal.SIGCHLD, reap)
before = descriptors()
assert sorted(built(kernel)) == SYMBOLS
left_nothing(before)
""")
    assert (done.returncode, done.stderr) == (0, "")


def test_interrupted_work_leaves_no_process_and_no_descriptor():
    done = run("""
class Stop(Exception):
    pass

def stop(*_):
    raise Stop

signal.signal(signal.SIGALRM, stop)
signal.signal(signal.SIGINT, signal.default_int_handler)
before = descriptors()
begun = time.monotonic()
for i in range(40):
    signal.setitimer(signal.ITIMER_REAL, 0.0007 * i + 0.0001)
    try:
        built(slow)
    except Stop:
        pass
    left_nothing(before)
    assert signal.getsignal(signal.SIGALRM) is stop

def twice(*_):  # while it cleans up after the first
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGINT)
    raise Stop

signal.signal(signal.SIGALRM, twice)
signal.setitimer(signal.ITIMER_REAL, 0.3)
try:
    built(slow)
except (Stop, KeyboardInterrupt):
    pass
left_nothing(before)
assert time.monotonic() - begun < 50
""")
    assert (done.returncode, done.stderr) == (0, "")


def test_an_error_of_a_kernel_leaves_nothing():
    done = run("""
def broken():
    raise ValueError

before = descriptors()
with contextlib.suppress(ValueError):
    assert built(broken) == {}
left_nothing(before)
""")
    assert (done.returncode, done.stderr) == (0, "")


def test_children_of_a_killed_process_end_with_it():
    code = (
        SETUP
        + """
def report(*_):
    print(*children(), flush=True)

signal.signal(signal.SIGALRM, report)
signal.setitimer(signal.ITIMER_REAL, 0.5)
built(slow)
"""
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout is not None
        children = parent.stdout.readline().split()
        assert len(children) == 2
        parent.kill()
        parent.wait(30)
        until = time.monotonic() + 10
        while time.monotonic() < until and any(map(is_alive, children)):
            time.sleep(0.01)
        assert not any(map(is_alive, children))
    finally:
        parent.kill()
        parent.communicate(timeout=30)


def is_alive(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_children_leave_the_handlers_and_the_wakeup_descriptor_of_the_parent_alone():
    done = run("""
import socket
ours, theirs = socket.socketpair()
theirs.setblocking(False)
signal.set_wakeup_fd(theirs.fileno())
called = []
signal.signal(signal.SIGTERM, lambda *_: called.append(os.getpid()))
signal.signal(signal.SIGINT, lambda *_: called.append(os.getpid()))
parent = os.getpid()

def make():
    if os.getpid() != parent:
        os.kill(os.getpid(), signal.SIGINT)  # Ctrl-C comes to all of a terminal; it is the parent's to handle
        time.sleep(0.01)
    return kernel()

assert sorted(built(make)) == SYMBOLS
assert called == []
ours.setblocking(False)
try:
    ours.recv(10)
    raise AssertionError("a child wrote to the parent's wakeup descriptor")
except BlockingIOError:
    pass
""")
    assert (done.returncode, done.stderr) == (0, "")
