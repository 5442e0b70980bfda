"""Runs kernels of a GPU as plain Python: threads of a block are threads of Python, which wait where the kernel does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from gradloom.runtime.codegen.intrinsics import ARRAY_DTYPES

_PATIENCE = 30.0
"""Seconds after which a thread that waits for one that does not come gives up."""


class Block:
    """One block of a grid: which threads run, and what they share."""

    def __init__(self, index: int, blocks: int, threads: int, array: Callable[[np.ndarray], Any]) -> None:
        self.index = index
        self.blocks = blocks
        self.threads = threads
        self.array = array
        self.code = 0
        self.failure: BaseException | None = None
        self.here = threading.local()
        self.all = threading.Barrier(threads, timeout=_PATIENCE)
        self.warps = [threading.Barrier(min(32, threads), timeout=_PATIENCE) for _ in range(-(-threads // 32))]
        self.values: list[Any] = [None] * threads
        self.shared: dict[int, Any] = {}
        self.lock = threading.Lock()

    def names(self) -> dict[str, Any]:
        """What the native functions of a GPU's kernels are in this block."""
        names: dict[str, Any] = {
            "thread_index": lambda: np.int64(self.here.index),
            "block_index": lambda: np.int64(self.index),
            "block_size": lambda: np.int64(self.threads),
            "grid_size": lambda: np.int64(self.blocks),
            "barrier": self.all.wait,
            "trap": self.trap,
        }
        for kind in ("f32", "f64", "i32", "i64"):
            names[f"shuffle_xor_{kind}"] = lambda value, mask, kind=kind: self.shuffle(ARRAY_DTYPES[kind], value, mask)
            names[f"shared_{kind}"] = lambda n, kind=kind: self.share(np.dtype(ARRAY_DTYPES[kind]), n)
        return names

    def trap(self, code: int) -> None:
        assert code != 0
        self.code = self.code or int(code)

    def shuffle(self, dtype: Any, value: Any, mask: int) -> Any:
        assert np.asarray(value).dtype == dtype, (value, dtype)
        me = self.here.index
        warp = self.warps[me // 32]
        self.values[me] = value
        warp.wait()
        found = self.values[me ^ mask]
        warp.wait()
        return found

    def share(self, dtype: np.dtype[Any], n: int) -> Any:
        self.here.shared += 1
        with self.lock:
            garbage = np.full(n * dtype.itemsize, 0xA5, np.uint8)
            return self.shared.setdefault(self.here.shared, self.array(garbage, dtype))

    def run(self, kernel: Callable[[Any], int], block: Any) -> int:
        """Runs all threads of the block; the code of its trap, or 0."""
        if self.threads == 1:
            self._thread(0, kernel, block)
        else:
            threads = [threading.Thread(target=self._thread, args=(i, kernel, block)) for i in range(self.threads)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        if self.failure is not None:
            raise self.failure
        return self.code

    def _thread(self, index: int, kernel: Callable[[Any], int], block: Any) -> None:
        self.here.index, self.here.shared = index, 0
        try:
            with np.errstate(all="ignore"):
                assert kernel(block) == 0
        except BaseException as error:
            if self.failure is None or isinstance(self.failure, threading.BrokenBarrierError):
                self.failure = error
            for barrier in (self.all, *self.warps):
                barrier.abort()
