"""What a machine lacks to run a GPU's programs is named, with the way to get it."""

from __future__ import annotations

import ctypes
import re
import subprocess
import sys

import pytest
from gradloom.passes.target import Target
from gradloom.runtime.cuda.presence import missing, missing_devices


class Driver:
    """A driver of this version that finds cards of these capabilities."""

    def __init__(self, version: int, *capabilities: tuple[int, int], error: int = 0) -> None:
        self.version, self.capabilities, self.error = version, capabilities, error

    def cuInit(self, flags: int) -> int:
        return self.error

    def cuDriverGetVersion(self, to: ctypes._Pointer[ctypes.c_int]) -> int:
        to._obj.value = self.version  # pyright: ignore[reportAttributeAccessIssue]
        return 0

    def cuDeviceGetCount(self, to: ctypes._Pointer[ctypes.c_int]) -> int:
        to._obj.value = len(self.capabilities)  # pyright: ignore[reportAttributeAccessIssue]
        return 0

    def cuDeviceGetAttribute(self, to: ctypes._Pointer[ctypes.c_int], attribute: int, device: int) -> int:
        to._obj.value = self.capabilities[device][attribute - 75]  # pyright: ignore[reportAttributeAccessIssue]
        return 0


@pytest.mark.parametrize(
    ("driver", "message"),
    [
        (None, r"no driver of NVIDIA's \(libcuda.so.1\): install it from https://"),
        (Driver(13_000, error=100), r"no card that the driver finds \(cuInit gives 100\)"),
        (Driver(11_080, (9, 0)), "too old a driver, for CUDA 11.8: install one for 12.0 or later"),
        (Driver(13_000), "no card: the driver finds none"),
        (Driver(13_000, (8, 9)), "no card of sm_90: there is sm_89; write target='cuda:sm_89'"),
    ],
)
def test_what_is_missing_is_named(driver: Driver | None, message: str):
    (found,) = missing_devices(Target.cuda("h100"), driver)
    assert re.match(message, found)


def test_nothing_is_missing_where_a_card_of_the_capability_is():
    assert missing_devices(Target.cuda("h100"), Driver(12_020, (8, 0), (9, 0))) == []


def test_a_package_that_is_missing_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gradloom.runtime.cuda.presence._PACKAGES", {"no_such.module": "one", "json": "two"})
    assert missing(Target.cuda())[0] == "no package one: pip install one"


def test_planning_imports_nothing_of_cuda():
    code = (
        "import sys, gradloom as gl; from gradloom import nn, optim\n"
        "gl.plan_step(nn.Linear(2, 1), lambda m, b: m(b).mean(), optim.SGD(0.1), gl.spec((4, 2)), target='cuda')\n"
        "assert not [m for m in sys.modules if m.partition('.')[0] in ('cuda', 'numba_cuda', 'nvmath')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
