"""What holds for all tests: Hypothesis repeats the same examples, the clock fails none, and processes start fast."""

import gc
import importlib.util
import os
import re
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "gradloom", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("gradloom")

# It has a process of its own: see tests/engine/array_api/test_array_api_suite.py.
collect_ignore = ["array_api_suite"]

# Processes that tests start find our modules compiled, even where the environment says to keep no bytecode.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-cases", action="store_true", help="write what passes now give into the expected text of their cases"
    )


def pytest_collection_finish() -> None:
    """What has been imported and collected is never garbage: walking it took a tenth of the time of tests."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """What `-n auto` is: a process for each core that is ours, and four at most, because steps run on all cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, 4)


@pytest.fixture(scope="module")
def one_thread_for_torch():
    # Two for arrays this small spend their time waiting for each other.
    if importlib.util.find_spec("torch"):
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(before)
    else:
        yield


LEGS = {
    "peers": re.compile(r"'(torch|jax)\b|\b(torch|jax) is not installed"),
    "onnx": re.compile(r"'(onnx|onnxruntime)\b"),
    "cuda": re.compile(r"'(cuda|numba_cuda|nvmath|cudnn|nvidia|gradloom\.runtime\.cuda)\b"),
}
"""Marks of tests that `.ci/run` runs in an environment of their own, and the packages that they are skipped without."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """A test that is skipped for want of such a package has to say so by its mark, or nothing would ever run it."""
    report = yield
    if report.skipped and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2]
        for mark, packages in LEGS.items():
            if packages.search(reason) and not item.get_closest_marker(mark):
                report.outcome, report.longrepr = "failed", f"{reason}: mark it with @pytest.mark.{mark}"
    return report
