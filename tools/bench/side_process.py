"""A process that measures one side, and what it is started with."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from ...engine.compile.targets import target_of
from ...runtime.codegen.host import host_cpu
from ..command_error import CommandError

SWITCHES: Mapping[str, Mapping[str, str]] = {
    "avx2": {
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "ATEN_CPU_CAPABILITY": "avx2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
        "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",
    },
    "sse": {
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "ATEN_CPU_CAPABILITY": "default",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
        "OPENBLAS_CORETYPE": "Nehalem",
        "XLA_FLAGS": "--xla_cpu_max_isa=SSE4_2",
    },
}
"""For a CPU target the variables by which libraries keep to its instructions: oneDNN, torch with what it compiles, MKL,
OpenBLAS, XLA.
"""


def environment(target: str, cache: Path) -> dict[str, str]:
    """What a side's process is started with: its machine code is kept in `cache`, and where the target is a lesser CPU
    than this machine's, all libraries are held to it.
    """
    name = target_of(target).name
    switches = SWITCHES.get(name, {}) if name != host_cpu() else {}
    flags = " ".join(filter(None, (os.environ.get("XLA_FLAGS"), switches.get("XLA_FLAGS"))))
    found = {
        **os.environ,
        **switches,
        **({"XLA_FLAGS": flags} if flags else {}),
        "GRADLOOM_CACHE_DIR": str(cache / "gradloom"),
        "TORCHINDUCTOR_CACHE_DIR": str(cache / "inductor"),
        "TRITON_CACHE_DIR": str(cache / "triton"),
        "JAX_COMPILATION_CACHE_DIR": str(cache / "jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    found.pop("GRADLOOM_CACHE", None)
    return found


class SideProcess:
    """The process, while the block runs. Raises `CommandError` with its last words where it fails."""

    def __init__(self, asked: Mapping[str, Any], cache: Path, pinned: bool) -> None:
        self._what = f"{asked['side']} failed on {asked.get('workload', 'its own')}"
        command = [sys.executable, "-m", f"{__package__}.worker", json.dumps(asked)]
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (`_stop` closes it)
        with _on_one_core() if pinned else contextlib.nullcontext():
            self._process = subprocess.Popen(
                command,
                env=environment(asked["target"], cache),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
            )
        self.first: Any = self._line()
        """What it said when it was ready."""

    def __enter__(self) -> SideProcess:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop()

    def answer(self, line: str) -> Any:
        """What it says to a line."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended, and says why
            print(line, file=self._process.stdin, flush=True)
        return self._line()

    def end(self) -> Any:
        """What it says when nothing more comes."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self._line()

    def _line(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            self._errors.seek(0)
            last = (self._errors.read().strip() or f"exit code {code}").splitlines()[-1]
            self._stop()
            raise CommandError(f"{self._what}: {last}")
        return json.loads(line)

    def _stop(self) -> None:
        self._process.kill()
        with contextlib.suppress(BrokenPipeError), self._process:  # closes the pipes
            self._errors.close()


@contextlib.contextmanager
def _on_one_core() -> Iterator[None]:
    """Processes that are started in the block have one core, the last of those that this one may use."""
    if not hasattr(os, "sched_setaffinity"):
        raise CommandError("processes cannot be held to one core on this system; leave --pin out")
    usable = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(usable)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, usable)
