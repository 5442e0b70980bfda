"""A rank that is lost stops all ranks, with one message that names it and the reason."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from gradloom.engine.ranks import watcher
from mpi_runs import run_program

PROGRAM = """
import os, signal, sys, time
import gradloom as gl

ranks = gl.ranks.mpi({timeout})

def elsewhere():
    time.sleep(600)

for i in range(100):
    ranks.barrier()
    if i == 50:
        {fault}
print("done")
"""

FAULTS = {
    "a rank is killed": (
        "if ranks.rank == 1: os.kill(os.getpid(), signal.SIGKILL)",
        r"rank 1 of 2 \(process \d+ on \S+\) died: it was killed, or ended without a word; all ranks stop",
    ),
    "rank 0 is killed": (
        "if ranks.rank == 0: os.kill(os.getpid(), signal.SIGKILL)",
        r"rank 0 of 2 \(process \d+ on \S+\) died: it was killed, or ended without a word; all ranks stop",
    ),
    "a rank hangs": (
        "if ranks.rank == 1: elsewhere()",
        r"rank 1 hangs: for \d+ s rank 0 has waited for a barrier; it is at \S*program.py:8, in elsewhere; all ranks",
    ),
    "a rank raises": (
        "if ranks.rank == 1: raise ValueError('the data are bad')",
        r"rank 1 of 2 stopped: ValueError: the data are bad; all ranks stop",
    ),
    "all ranks raise": (
        "ranks.agree(ranks.rank == 0, 'graph')",
        r"RanksError: rank 1 has another graph than rank 0",
    ),
}


@pytest.mark.mpi
@pytest.mark.parametrize("fault", FAULTS)
def test_all_ranks_stop_with_one_message(fault: str, tmp_path: Path):
    does, says = FAULTS[fault]
    program = PROGRAM.format(timeout="timeout=1" if "hangs" in fault else "", fault=does)
    code, output = run_program(2, program, tmp_path, leaves_faults=True)
    assert code != 0
    assert "done" not in output
    (line,) = (line for line in output.splitlines() if "gradloom: " in line or "RanksError: " in line)
    assert re.search(says, line), output


class Peer:
    """A rank as the watcher sees it."""

    def __init__(self, port: int, rank: int, token: str = "secret") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.say(token=token, rank=rank, pid=2**22 + 1 + rank, host="elsewhere")
        self._lines = self.socket.makefile("r")

    def say(self, **message: object) -> None:
        self.socket.sendall(json.dumps(message).encode() + b"\n")

    def hear(self, key: str) -> object:
        for line in self._lines:
            if key in (said := json.loads(line)):
                return said[key]
        return None

    def close(self) -> None:
        self._lines.close()
        self.socket.close()


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Peer]]:
    """Three ranks that a watcher in this process watches."""
    monkeypatch.setattr(watcher, "_ENDED_SECONDS", 1.0)
    monkeypatch.setattr(watcher, "_ASK_SECONDS", 0.01)
    monkeypatch.setattr(watcher, "_LAST_SECONDS", 0.1)
    monkeypatch.setattr(watcher.os, "write", lambda fd, text: len(text))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        watching = watcher.Watcher(3, "secret", listener)
        thread = threading.Thread(target=lambda: (watching.run(), watching.end()), daemon=True)
        thread.start()
        found = [Peer(listener.getsockname()[1], rank) for rank in range(3)]
        assert all(peer.hear("welcome") for peer in found)
        yield found
        for peer in found:
            peer.close()
        thread.join(20)
        assert not thread.is_alive()


def test_a_connection_that_closes_without_a_word_is_a_rank_that_died(peers: list[Peer]):
    peers[1].socket.shutdown(socket.SHUT_RDWR)
    why = peers[0].hear("stop")
    assert why == peers[2].hear("stop")
    assert str(why).startswith("rank 1 of 3 (process 4194306 on elsewhere) died")


def test_ranks_that_end_may_close(peers: list[Peer]):
    for peer in peers:
        peer.say(ended=True)
        peer.socket.shutdown(socket.SHUT_WR)
    assert peers[0].hear("stop") is None


def test_a_rank_that_fails_says_why(peers: list[Peer]):
    peers[2].say(failed="ValueError: no data")
    assert peers[2].hear("told")
    peers[2].socket.shutdown(socket.SHUT_RDWR)
    assert peers[0].hear("stop") == "rank 2 of 3 stopped: ValueError: no data"


def test_a_rank_that_fails_because_another_died_is_not_blamed(peers: list[Peer]):
    peers[2].say(failed="Exception: a message could not be sent")
    peers[0].socket.shutdown(socket.SHUT_RDWR)
    for peer in peers[1:]:
        assert str(peer.hear("stop")).startswith("rank 0 of 3 (process 4194305 on elsewhere) died")


def test_who_waits_for_a_rank_that_ended_is_told(peers: list[Peer]):
    peers[1].say(ended=True)
    peers[0].say(waits="step 7", waited=1.5, count=7, where="")
    assert peers[2].hear("stop") == "rank 1 ended, and for 2 s rank 0 has waited for step 7"


@pytest.mark.parametrize(
    ("others", "why"),
    [
        (({"count": 6, "waits": "", "where": "train.py:3, in load"},) * 2, "ranks 1 and 2 hang: {}; it is at train.py"),
        (({"count": 7, "waits": "step 7", "where": ""},) * 2, "all ranks hang: {}, where all of them are"),
        (
            ({"count": 7, "waits": "step 7", "where": ""}, {"count": 6, "waits": "", "where": ""}),
            "rank 2 hangs: {}; it is elsewhere",
        ),
    ],
)
def test_the_rank_that_others_wait_for_hangs(peers: list[Peer], others: tuple[dict[str, object], ...], why: str):
    for peer, state in zip(peers[1:], others):
        peer.say(waited=0.5, **state)
    peers[0].say(timeout=5.0, waits="step 7", waited=6.0, count=7, where="")
    waited = "for 6 s rank 0 has waited for step 7"
    assert str(peers[2].hear("stop")).startswith(why.format(waited))


def test_ranks_that_wait_for_different_things_stop(peers: list[Peer]):
    peers[0].say(waits="step 7", waited=2.0, count=7, where="")
    peers[1].say(waits="the others to give a batch of x f32[3,2] too", waited=3.0, count=7, where="")
    expected = "rank 1 waits for the others to give a batch of x f32[3,2] too, and rank 0 for step 7"
    assert peers[2].hear("stop") == expected


def test_a_connection_without_the_token_is_closed(peers: list[Peer]):
    port = peers[0].socket.getpeername()[1]
    stranger = Peer(port, 1, token="guessed")
    assert stranger.hear("welcome") is None
    stranger.close()
    peers[0].socket.shutdown(socket.SHUT_WR)
    assert str(peers[1].hear("stop")).startswith("rank 0 of 3")


VERSIONS = """
import importlib.metadata, os

if os.environ.get("PMI_RANK", os.environ.get("OMPI_COMM_WORLD_RANK")) == "1":
    installed = importlib.metadata.version
    importlib.metadata.version = lambda name: "1.99.0" if name == "numba" else installed(name)

import gradloom as gl

try:
    gl.ranks.mpi()
except gl.ranks.RanksError as error:
    print(f"heard: {error}\\n", end="", flush=True)
    raise
"""


@pytest.mark.mpi
def test_another_version_of_a_package_is_said_by_name_on_all_ranks(tmp_path: Path):
    code, output = run_program(2, VERSIONS, tmp_path, leaves_faults=True)
    assert code != 0
    said = r"rank 1 has another version of a package than rank 0: .*numba 1\.99\.0.*, not .*numba \d"
    assert len(re.findall(f"heard: {said}", output)) == 2, output
    assert len(re.findall(f"RanksError: {said}", output)) == 1, output
