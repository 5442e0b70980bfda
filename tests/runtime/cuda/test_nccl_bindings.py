"""The real bindings of NCCL, over a library that sends nothing: they take our calls, and pass on what we mean."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.cuda

SCRIPT = """
from types import SimpleNamespace

import gradloom as gl
from gradloom.runtime.cuda.device import DeviceError
from gradloom.runtime.cuda.messages import Messages, _imported
from gradloom.runtime.lowering.gpu_messages import MessageCall

device = SimpleNamespace(call=lambda name, *arguments: 64)
ranks = SimpleNamespace(
    rank=2, size=4, waiting=gl.ranks.one().waiting, gather=lambda value: [value], broadcast=lambda value: b"7" * 128
)
messages = Messages(_imported(), device, ranks)
for kind, distance in (("gather", 0), ("exchange", 0), ("swap", 1)):
    messages.begin(MessageCall(kind, 0, 4096, 8192, 16, distance), lambda at: at)
try:
    messages.begin(MessageCall("swap", 0, 4096, 8192, 16, 5), lambda at: at)
except DeviceError as error:
    print(error)
"""

GATHER = "gather 0x1000 0x2000 16 1 0x1234 0x40"
EXCHANGE = [
    line.format(*at, r)
    for r, at in enumerate([("1000", "2000"), ("1010", "2010"), ("1020", "2020"), ("1030", "2030")])
    for line in ("send 0x{0} 16 1 {2} 0x1234 0x40", "receive 0x{1} 16 1 {2} 0x1234 0x40")
]
SWAP = ["group", "send 0x1000 16 1 3 0x1234 0x40", "receive 0x2000 16 1 3 0x1234 0x40", "end"]


def test_the_library_is_asked_what_we_mean(tmp_path: Path):
    pytest.importorskip("nccl.bindings", reason="needs the extra nccl")
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler to make a library with")
    source = Path(__file__).with_name("nccl_of_nothing.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", tmp_path / "libnccl.so.2", source], check=True)
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("LD_LIBRARY_PATH"))))
    environment = {**os.environ, "LD_LIBRARY_PATH": path}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *told, error = done.stdout.splitlines()
    assert told[:2] == [f"init 2 of 4: {ord('7')}", GATHER]
    assert told[2:12] == ["group", *EXCHANGE, "end"]
    assert told[12:16] == SWAP
    assert error.startswith("NCCL refuses messages between ranks:")
