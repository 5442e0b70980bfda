"""What a GPU's programs need of this machine, and what of it is missing: packages, a driver, a card."""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Callable
from typing import Any

from ...passes.target import Target

_PACKAGES = {"cuda.bindings": "cuda-bindings"}
"""Modules that run programs on a GPU, and the packages that they come in."""
_LEAST_DRIVER = 12_000
"""The first that takes PTX 8.0, by CUDA's numbers: 12.0."""
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76
"""Numbers of `CUdevice_attribute`."""


def missing(target: Target) -> list[str]:
    """What this machine lacks to run what is made for a GPU, each with the way to get it. Nothing of CUDA is imported;
    the driver is asked what is there, if there is one.
    """
    absent = [package for module, package in _PACKAGES.items() if not _installed(module)]
    packages = [f"no package {' and '.join(absent)}: pip install 'gradloom[cuda]'"] if absent else []
    return [*packages, *missing_devices(target, load_driver())]


class Library:
    """NVIDIA's driver as a library of C: the few functions that say what there is, called as `cuda.bindings` has them,
    whose results are a code and a value.
    """

    def __init__(self, library: Any) -> None:
        self._library = library

    def cuInit(self, flags: int) -> tuple[int]:
        """Prepare the driver."""
        return (self._library.cuInit(flags),)

    def cuDriverGetVersion(self) -> tuple[int, int]:
        """The newest CUDA that it knows: 1000 times the major version and 10 times the minor one."""
        return self._number(self._library.cuDriverGetVersion)

    def cuDeviceGetCount(self) -> tuple[int, int]:
        """How many cards it finds."""
        return self._number(self._library.cuDeviceGetCount)

    def cuDeviceGetAttribute(self, attribute: int, device: int) -> tuple[int, int]:
        """What a card is like."""
        return self._number(self._library.cuDeviceGetAttribute, attribute, device)

    def _number(self, ask: Callable[..., int], *arguments: int) -> tuple[int, int]:
        number = ctypes.c_int(0)
        return ask(ctypes.byref(number), *arguments), number.value


def load_driver() -> Library | None:
    """NVIDIA's driver, None where there is none."""
    for name in ("libcuda.so.1", "nvcuda.dll"):
        try:
            return Library(ctypes.CDLL(name))
        except OSError:
            continue
    return None


def missing_devices(target: Target, driver: Any) -> list[str]:
    """What is missing of the driver, which may be None, and of the card."""
    if driver is None:
        return ["no driver of NVIDIA's (libcuda.so.1): install it from https://www.nvidia.com/drivers"]
    if (error := int(driver.cuInit(0)[0])) != 0:
        return [f"no card that the driver finds (cuInit gives {error}): see nvidia-smi, and CUDA_VISIBLE_DEVICES"]
    version = driver.cuDriverGetVersion()[1]
    if version < _LEAST_DRIVER:
        found, least = _dotted(version), _dotted(_LEAST_DRIVER)
        return [f"too old a driver, for CUDA {found}: install one for {least} or later"]
    found = [_capability(driver, i) for i in range(driver.cuDeviceGetCount()[1])]
    if not found:
        return ["no card: the driver finds none; see CUDA_VISIBLE_DEVICES"]
    if target.capability not in found:
        return [f"no card of {target.capability}: there is {', '.join(found)}; write target='cuda:{found[0]}'"]
    return []


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # what it would be a part of is not there
        return False


def _capability(driver: Any, device: int) -> str:
    major, minor = (driver.cuDeviceGetAttribute(each, device)[1] for each in (_CAPABILITY_MAJOR, _CAPABILITY_MINOR))
    return f"sm_{major}{minor}"


def _dotted(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}"
