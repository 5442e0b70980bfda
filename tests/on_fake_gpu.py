"""What a test needs of a GPU that is none: `with fake_gpu() as driver:` compiles for target="cuda" over it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from gradloom.runtime.backend import backend_replaced
from gradloom.runtime.fake_gpu.backend import fake_cuda
from gradloom.runtime.fake_gpu.driver import FakeDriver

Libraries = Callable[[FakeDriver], Mapping[str, Any]]


@contextlib.contextmanager
def fake_gpu(libraries: Libraries | None = None, **options: Any) -> Iterator[FakeDriver]:
    """What is compiled inside the block for "cuda" runs on this driver, then too when the block has ended. `libraries`
    makes those that there are.
    """
    driver = FakeDriver(**options)
    with backend_replaced("cuda", fake_cuda(driver, libraries(driver) if libraries else {})):
        yield driver
