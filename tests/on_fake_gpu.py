"""What a test needs of a GPU that is none: `with fake_gpu() as driver:` compiles for target="cuda" over it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from gradloom.runtime.backend import backend_replaced
from gradloom.runtime.fake_gpu.backend import fake_cuda
from gradloom.runtime.fake_gpu.driver import FakeDriver


@contextlib.contextmanager
def fake_gpu(**options: Any) -> Iterator[FakeDriver]:
    """What is compiled inside the block for "cuda" runs on this driver, then too when the block has ended."""
    driver = FakeDriver(**options)
    with backend_replaced("cuda", fake_cuda(driver)):
        yield driver
