"""This rank as one that is watched: a thread that tells the watcher how it is, and ends the process where all stop."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import secrets
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from ...ir.users_line import shown_file
from ..tracing.errors import located
from .ranks import Ranks, is_of_all

_PROGRAM = Path(__file__).with_name("watcher.py")
_CONNECT_SECONDS = 10.0
_TOLD_SECONDS = 3.0
_LONG_SECONDS = 2.0
"""A wait that is told of, though nobody has asked."""
EXIT_CODE = 1
"""Of a process that stops because another did."""


class Watched:
    """The connection of a rank with the watcher, which rank 0 starts; made on all ranks together."""

    def __init__(self, ranks: Ranks) -> None:
        self._rank = ranks.rank
        host = socket.gethostname()
        hosts = ranks.gather(host)
        place, failed = None, ""
        if ranks.rank == 0:
            try:
                place = self._start(ranks.size, len(set(hosts)) > 1)
            except (OSError, ValueError) as error:
                failed = f"rank 0 could not start the process that watches over the ranks: {error}"
        place, failed = ranks.broadcast((place, failed))
        connection: socket.socket | None = None
        if place is not None:
            try:
                connection = _connected(place, {"rank": ranks.rank, "pid": os.getpid(), "host": host})
            except OSError as error:
                failed = f"{host} cannot connect with rank 0, on {hosts[0]}: {error}; is there a firewall?"
        failed = next(filter(None, ranks.gather(failed)), "")
        if failed or connection is None:
            raise RuntimeError(located(failed))
        self._connection, self._host = connection, host
        self._lock = threading.Lock()
        self._what, self._since, self._count = "", 0.0, 0
        self._failing = False
        self._told = threading.Event()
        self._main = threading.main_thread().ident
        # A process that this one forks must not hold the connection open when this one is gone.
        os.register_at_fork(after_in_child=connection.close)
        self._hook = sys.excepthook
        sys.excepthook = self._failed
        atexit.register(self._end)
        threading.Thread(target=self._listen, name="gradloom-watched", daemon=True).start()

    def _start(self, size: int, several_hosts: bool) -> tuple[list[str], int, str]:
        """Start the watcher: where it listens, and the token that it knows ranks by."""
        token = secrets.token_hex(16)
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._process.stdin as to, self._process.stdout as answer:
            to.write(json.dumps({"size": size, "token": token, "several_hosts": several_hosts}).encode() + b"\n")
            to.flush()
            port = json.loads(answer.readline())["port"]
        return _addresses() if several_hosts else ["127.0.0.1"], port, token

    # What it tells.

    def set_timeout(self, seconds: float | None) -> None:
        """Seconds after which a rank that does not come is said to hang."""
        self._send({"timeout": seconds})

    def waiting(self, what: str) -> AbstractContextManager[None]:
        """A block in which this rank waits for the others."""
        return _Wait(self, what)

    def _send(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError), self._lock:
            self._connection.sendall(json.dumps(message).encode() + b"\n")

    def _state(self) -> dict[str, Any]:
        what, since, count = self._what, self._since, self._count
        waited = time.monotonic() - since if what else 0.0
        return {"waits": what, "waited": waited, "count": count, "where": "" if what else self._place()}

    def _place(self) -> str:
        """The line of the user's that the main thread is at."""
        frame = sys._current_frames().get(self._main or 0)
        innermost = frame
        while frame is not None:
            name = shown_file(frame.f_code.co_filename)
            if name:
                return f"{name}:{frame.f_lineno}, in {frame.f_code.co_name}"
            frame = frame.f_back
        return "" if innermost is None else f"{innermost.f_code.co_filename}:{innermost.f_lineno}"

    # What it hears.

    def _listen(self) -> None:
        text = b""
        while True:
            with contextlib.suppress(OSError, ValueError):
                while not select.select([self._connection], [], [], _LONG_SECONDS)[0]:
                    if self._what and time.monotonic() - self._since > _LONG_SECONDS:
                        self._send(self._state())  # unasked, for others may wait for something else
            try:
                data = self._connection.recv(1 << 16)
            except OSError:
                data = b""
            if not data:
                self._lost()
                return
            *lines, text = (text + data).split(b"\n")
            for line in lines:
                said = json.loads(line)
                if "how" in said:
                    self._send(self._state())
                elif "told" in said:
                    self._told.set()
                elif "stop" in said:
                    self._stop(said["kill"])

    def _stop(self, kill: list[tuple[int, str]]) -> None:
        """End, as all do; ranks of this machine that hang are ended by the others."""
        if self._failing:
            return
        for pid, host in kill:
            if host == self._host and pid != os.getpid():
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
        _exit()

    def _lost(self) -> None:
        """The watcher is gone, and with it most likely the machine of rank 0."""
        if not self._failing:
            if self._rank <= 1:
                _say("the process that watches over the ranks is gone, on the machine of rank 0; all ranks stop")
            _exit()

    # How the process ends.

    def _failed(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        """What nobody caught: told to all, unless all have it."""
        if is_of_all(error):
            if self._rank == 0:
                self._hook(kind, error, trace)
            return  # all end as usual
        # The watcher may know better: that another rank died, so that this one could not go on.
        self._fail(f"{kind.__name__}: {error}".rstrip(": "))
        self._hook(kind, error, trace)
        _exit()

    def stop_all(self, why: str, together: bool = False, code: int = EXIT_CODE) -> NoReturn:
        """End this process and all others. The watcher says why: for a rank alone, or for all where they are
        `together` in this.
        """
        self._fail(why, together)
        _exit(code)

    def _fail(self, why: str, together: bool = False) -> None:
        """Tell the watcher, which has this process ended where another rank is to blame."""
        self._send({"failed": why, "together": together})
        self._told.wait(_TOLD_SECONDS)
        self._failing = True

    def _end(self) -> None:
        self._failing = True
        self._send({"ended": True})


class _Wait(AbstractContextManager[None]):
    """A block in which a rank waits; one inside of another is a part of it."""

    def __init__(self, watched: Watched, what: str) -> None:
        self._watched, self._what = watched, what

    def __enter__(self) -> None:
        watched = self._watched
        self._before = watched._what, watched._since
        if not watched._what:
            watched._since, watched._count = time.monotonic(), watched._count + 1
            watched._what = self._what

    def __exit__(self, *error: object) -> None:
        self._watched._what, self._watched._since = self._before


def _addresses() -> list[str]:
    """By what this machine may be known to the others."""
    found = [socket.gethostname()]
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("10.255.255.255", 1))  # sends nothing; the system chooses the interface
        found.insert(0, probe.getsockname()[0])
    with contextlib.suppress(OSError):
        found += [str(info[4][0]) for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)]
    return list(dict.fromkeys(found))


def _connected(place: tuple[list[str], int, str], hello: dict[str, Any]) -> socket.socket:
    """A connection that the watcher has welcomed. Raises `OSError`."""
    addresses, port, token = place
    failure = OSError("it has no address")
    for address in addresses:
        try:
            connection = socket.create_connection((address, port), timeout=_CONNECT_SECONDS)
            connection.sendall(json.dumps({"token": token, **hello}).encode() + b"\n")
            if b"welcome" in connection.recv(1 << 10):
                connection.settimeout(None)
                return connection
            connection.close()
        except OSError as error:
            failure = error
    raise failure


def _say(text: str) -> None:
    with contextlib.suppress(OSError):
        os.write(2, f"gradloom: {text}\n".encode(errors="replace"))


def _exit(code: int = EXIT_CODE) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code)
