"""The process that watches over ranks, and stops them all where one is lost: it says which, and why.

Rank 0 starts it, in a session of its own: a launcher that ends all ranks because one was killed does not end it before
it has spoken. Each rank is connected with it, and a connection that closes without a word is a rank that died: that
needs no time, and no traffic. The file runs by itself, with the standard library alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import selectors
import signal
import socket
import sys
import time
from dataclasses import dataclass
from typing import Any

_BEGIN_SECONDS = 60.0
"""Ranks that are not connected after so long never will be."""
_LAST_SECONDS = 3.0
"""What was told to stop, and has not after so long, is killed."""
_ENDED_SECONDS = 10.0
"""So long a rank may wait for one that has ended."""
_BLAME_SECONDS = 0.3
"""A rank that fails may do so because another died, whose connection closes no later than so."""
_DIFFERENT_SECONDS = 1.5
_ANSWER_SECONDS = 1.0
_ASK_SECONDS = 0.5
_MOST_BYTES = 1 << 20


@dataclass
class _Rank:
    """A rank as it has told of itself."""

    number: int
    pid: int
    host: str
    connection: socket.socket
    ended: bool = False
    gone: bool = False
    waits: str = ""
    """What it waits for."""
    waited: float = 0.0
    """Seconds."""
    count: int = 0
    """Of the waits so far."""
    heard: float = 0.0
    where: str = ""
    """The line of the program that it is at."""

    def send(self, message: dict[str, Any]) -> None:
        """Tell it something, if it can still be told."""
        with contextlib.suppress(OSError):
            self.connection.send(json.dumps(message).encode() + b"\n")


class Watcher:
    """Watches `size` ranks that know the `token`."""

    def __init__(self, size: int, token: str, listener: socket.socket) -> None:
        self._size = size
        self._token = token
        self._host = socket.gethostname()
        self._ranks: dict[int, _Rank] = {}
        self._timeout: float | None = None
        self._why = ""
        self._failed: tuple[_Rank, str, float] | None = None
        """The first rank that failed, why, and until when the death of another may explain it."""
        self._kill: list[list[object]] = []
        self._speaks: _Rank | None = None
        """A rank that has more to say before all stop."""
        self._begun = self._asked = time.monotonic()
        self._texts: dict[socket.socket, bytes] = {}
        self._by: dict[socket.socket, _Rank] = {}
        self._selector = selectors.DefaultSelector()
        listener.setblocking(False)
        self._listener = listener
        self._selector.register(listener, selectors.EVENT_READ)

    def run(self) -> None:
        """Watch until all ranks have ended."""
        while not self._is_over():
            # In the order in which they came, where the system has epoll: the first that closed is the one that died.
            self._hear_all(_ASK_SECONDS if self._failed is None else 0.05)
            self._look()

    def _hear_all(self, seconds: float) -> None:
        for key, _ in self._selector.select(seconds):
            if key.fileobj is self._listener:
                self._accept()
            else:
                self._read(key.fileobj)  # pyright: ignore[reportArgumentType]

    def _is_over(self) -> bool:
        if self._why:
            return True
        if len(self._ranks) < self._size:
            return time.monotonic() - self._begun > _BEGIN_SECONDS
        return all(rank.gone for rank in self._ranks.values())

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            connection, _ = self._listener.accept()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
                if hasattr(socket, name):  # a host that lost its power says nothing
                    connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
            self._texts[connection] = b""
            self._selector.register(connection, selectors.EVENT_READ)

    def _read(self, connection: socket.socket) -> None:
        try:
            data = connection.recv(1 << 16)
        except OSError:
            data = b""
        text = self._texts[connection] + data
        *lines, self._texts[connection] = text.split(b"\n")
        for line in lines:
            self._hear(connection, line)
        known = connection in self._by
        if not data or len(text) > _MOST_BYTES or (lines and not known):
            self._selector.unregister(connection)
            connection.close()
            if known:
                self._lost(self._by[connection])

    def _hear(self, connection: socket.socket, line: bytes) -> None:
        try:
            said = json.loads(line)
            rank = self._by.get(connection)
            if rank is None:
                if said["token"] != self._token or not 0 <= said["rank"] < self._size or said["rank"] in self._ranks:
                    return
                rank = _Rank(said["rank"], said["pid"], said["host"], connection)
                self._by[connection] = self._ranks[rank.number] = rank
                rank.send({"welcome": True})
            rank.heard = time.monotonic()
            if "timeout" in said:
                self._timeout = said["timeout"]
            if "waits" in said:
                rank.waits, rank.waited, rank.count = said["waits"], said["waited"], said["count"]
                rank.where = said["where"]
                self._compare()
            if "ended" in said:
                rank.ended = True
            if "failed" in said:
                who = "" if said.get("together") else f"rank {rank.number} of {self._size} stopped: "
                self._failed = self._failed or (rank, who + said["failed"], time.monotonic() + _BLAME_SECONDS)
        except (ValueError, TypeError, KeyError):
            return

    def _lost(self, rank: _Rank) -> None:
        rank.gone = True
        if rank.ended or self._why:
            return
        what = f"rank {rank.number} of {self._size} (process {rank.pid} on {rank.host}) died"
        self._stop(f"{what}: it was killed, or ended without a word", [])

    def _look(self) -> None:
        """Ask how things are, and stop all where one does not come."""
        now = time.monotonic()
        if self._failed is not None and now > self._failed[2]:
            self._speaks = self._failed[0]
            self._stop(self._failed[1], [])
        ended = [rank for rank in self._ranks.values() if rank.ended]
        if self._why or len(self._ranks) < self._size or not (self._timeout or ended):
            return
        there = [rank for rank in self._ranks.values() if not rank.gone and not rank.ended]
        waiting = [rank for rank in there if rank.waits]
        limit = _ENDED_SECONDS if ended else self._timeout or 0.0
        longest = max(waiting, key=lambda rank: rank.waited, default=None)
        if longest is not None and longest.waited > limit:
            self._hangs(longest, ended, there)
        elif now - self._asked >= _ASK_SECONDS:
            self._asked = now
            for rank in there:
                rank.send({"how": True})

    def _compare(self) -> None:
        """Stop where ranks wait for different things at the same place: none of them would ever go on."""
        waiting = [rank for rank in self._ranks.values() if rank.waits and rank.waited > _DIFFERENT_SECONDS]
        for count in {rank.count for rank in waiting}:
            here = sorted((rank for rank in waiting if rank.count == count), key=lambda rank: rank.number)
            waits = [rank.waits for rank in here]
            usual = max(waits, key=waits.count)
            other = next((rank for rank in here if rank.waits != usual), None)
            if other is not None:
                rest = _named([rank for rank in here if rank.waits == usual])
                self._stop(f"rank {other.number} waits for {other.waits}, and {rest} for {usual}", [])
                return

    def _hangs(self, longest: _Rank, ended: list[_Rank], there: list[_Rank]) -> None:
        waited = f"for {longest.waited:.0f} s rank {longest.number} has waited for {longest.waits}"
        if ended:
            names = _named(ended)
            self._stop(f"{names} ended, and {waited}", [])
            return
        now = time.monotonic()
        silent = [rank for rank in there if now - rank.heard > max(_ANSWER_SECONDS, 3 * _ASK_SECONDS)]
        away = silent or [rank for rank in there if rank.count < longest.count or not rank.waits]
        if not away:
            self._stop(f"all ranks hang: {waited}, where all of them are", there)
            return
        one = away[0]
        where = "it does not answer" if silent else f"it is at {one.where}" if one.where else "it is elsewhere"
        self._stop(f"{_named(away)} hang{'s' * (len(away) == 1)}: {waited}; {where}", away)

    def _stop(self, why: str, hanging: list[_Rank]) -> None:
        if self._why:
            return
        self._why, self._kill = why, [[rank.pid, rank.host] for rank in hanging]
        with contextlib.suppress(OSError):
            os.write(2, f"gradloom: {why}; all ranks stop\n".encode(errors="replace"))

    def end(self) -> None:
        """Wait for ranks that were told to stop, and kill those of this machine that do not."""
        if self._why:
            self._end_all()
        for connection in self._texts:
            connection.close()
        self._selector.close()

    def _end_all(self) -> None:
        if self._speaks is not None:
            # Before the others end, for a launcher may then end this one too.
            self._speaks.send({"told": True})
            self._wait_for([self._speaks])
        for rank in self._ranks.values():
            if not rank.gone:
                rank.send({"stop": self._why, "kill": self._kill})
        self._wait_for(list(self._ranks.values()))
        for rank in self._ranks.values():
            if not rank.gone and rank.host == self._host:
                with contextlib.suppress(OSError):
                    os.kill(rank.pid, signal.SIGKILL)

    def _wait_for(self, ranks: list[_Rank]) -> None:
        until = time.monotonic() + _LAST_SECONDS
        while time.monotonic() < until and not all(rank.gone for rank in ranks):
            self._hear_all(0.1)


def _named(ranks: list[_Rank]) -> str:
    numbers = [str(rank.number) for rank in sorted(ranks, key=lambda rank: rank.number)]
    return f"rank {numbers[0]}" if len(numbers) == 1 else f"ranks {', '.join(numbers[:-1])} and {numbers[-1]}"


def main() -> None:
    """Watch: what over is a line of standard input, the port is told as one of standard output."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    asked = json.loads(sys.stdin.readline())
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a connection for each rank
    # Nobody else can connect where all ranks are on this machine.
    listener = socket.create_server(("" if asked["several_hosts"] else "127.0.0.1", 0), backlog=max(128, asked["size"]))
    print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
    os.dup2(os.open(os.devnull, os.O_RDWR), 1)
    watcher = Watcher(asked["size"], asked["token"], listener)
    watcher.run()
    watcher.end()


if __name__ == "__main__":
    main()
