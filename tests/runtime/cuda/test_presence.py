"""What a machine lacks to run a GPU's programs is named, with the way to get it."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest
from gradloom.passes.target import Target
from gradloom.runtime.cuda.presence import Library, missing, missing_devices
from gradloom.runtime.fake_gpu.driver import Code, FakeDriver


class EmptyDriver(FakeDriver):
    """One that works and finds no card."""

    def cuDeviceGetCount(self) -> tuple[Code, int]:
        return Code.SUCCESS, 0


class CLibrary:
    """A library of C that says what a driver does."""

    def __init__(self, driver: FakeDriver) -> None:
        self.driver = driver

    def cuInit(self, flags: int) -> int:
        return self.driver.cuInit(flags)[0]

    def cuDriverGetVersion(self, to: Any) -> int:
        to._obj.value = self.driver.cuDriverGetVersion()[1]
        return 0

    def cuDeviceGetCount(self, to: Any) -> int:
        to._obj.value = self.driver.cuDeviceGetCount()[1]
        return 0

    def cuDeviceGetAttribute(self, to: Any, attribute: int, device: int) -> int:
        to._obj.value = self.driver.cuDeviceGetAttribute(attribute, device)[1]
        return 0


@pytest.mark.parametrize(
    ("driver", "message"),
    [
        (None, r"no driver of NVIDIA's \(libcuda.so.1\): install it from https://"),
        (FakeDriver(init_error=Code.NO_DEVICE), r"no card that the driver finds \(cuInit gives 100\)"),
        (FakeDriver(version=11_080), "too old a driver, for CUDA 11.8: install one for 12.0 or later"),
        (EmptyDriver(), "no card: the driver finds none"),
        (FakeDriver(capabilities=((8, 9),)), "no card of sm_90: there is sm_89; write target='cuda:sm_89'"),
    ],
)
def test_what_is_missing_is_named(driver: FakeDriver | None, message: str):
    (found,) = missing_devices(Target.cuda("h100"), driver)
    assert re.match(message, found)


def test_a_driver_is_asked_as_a_library_of_c():
    library = Library(CLibrary(FakeDriver(capabilities=((8, 0), (9, 0)))))
    assert missing_devices(Target.cuda("h100"), library) == []
    assert missing_devices(Target.cuda("l4"), library)[0].startswith("no card of sm_89: there is sm_80, sm_90")


def test_nothing_is_missing_where_a_card_of_the_capability_is():
    assert missing_devices(Target.cuda("h100"), FakeDriver(version=12_020, capabilities=((8, 0), (9, 0)))) == []


def test_a_package_that_is_missing_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gradloom.runtime.cuda.presence._PACKAGES", {"no_such.module": "one", "json": "two"})
    assert missing(Target.cuda())[0] == "no package one: pip install 'gradloom[cuda]'"


def test_planning_imports_nothing_of_cuda():
    code = (
        "import sys, gradloom as gl; from gradloom import nn, optim\n"
        "gl.plan_step(nn.Linear(2, 1), lambda m, b: m(b).mean(), optim.SGD(0.1), gl.spec((4, 2)), target='cuda')\n"
        "assert not [m for m in sys.modules if m.partition('.')[0] in ('cuda', 'numba_cuda', 'nvmath')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
