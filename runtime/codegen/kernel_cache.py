"""Kernel cache: machine code of generated kernels, compiled once, kept in the process and on disk between processes.

A kernel is `int64(int64)` in Numba's calling convention, `i32 f(i64 *code, i8 **exception, i64 block)`. Compilation
ends with object code; LLVM's MCJIT loads that, whether it is fresh or from the disk. So both starts run the same bytes.

Whatever is wrong with the folder of the cache, the kernel is compiled and runs: the reason stands in `Kernel.why`, and
a `CacheWarning` says it once.
"""

import ctypes
import hashlib
import importlib
import linecache
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import llvmlite.binding as llvm

from . import disk_cache
from .deferred_signals import deferred_signals
from .disk_cache import CACHE_OFF, DAMAGED, NOT_THERE, cache_status, machine
from .fork_lock import compiler_lock
from .host import code_cpu, host_cpu
from .kernel_progress import tell_of_kernels

Namespace = Mapping[str, object] | Callable[[], Mapping[str, object]]
"""The globals of a kernel's source, or a function that makes them: called only where the kernel must be compiled."""

WORKER_NAME = "gradloom-worker"
"""How the names of threads begin that never hold a lock, so that a process with them may fork."""

_WORTH_A_PROCESS = 4
"""So many kernels to compile, and another process saves more than it takes to start."""


class CacheWarning(RuntimeWarning):
    """Machine code could not be read from the disk or kept there: the program runs, but the next start is slow."""


@dataclass(frozen=True)
class Kernel:
    """Machine code in this process, for as long as the process lives.

    `seconds` is what it took to read it, or to compile it in whichever process did that; `hit` is whether it came from
    the disk, and `why` says why not, or why it was not kept there.
    """

    name: str
    address: int
    seconds: float
    hit: bool
    why: str


@dataclass(frozen=True)
class KernelRequest:
    """A kernel to compile: the function that `source`, Python text, defines under the name `entry`.

    It is compiled without fastmath, with NumPy's rules for division, and without reference counts: it can neither
    allocate nor use Numba's own arrays. `salt` must change whenever code that `namespace` brings in does: see
    `source_salt`. Its instructions are those of the CPU target `cpu`, by default `code_cpu()`.
    """

    source: str
    entry: str
    namespace: Namespace
    signature: str = "int64(int64)"
    salt: str = ""
    cpu: str = ""

    def key(self) -> disk_cache.Key:
        """Equal for requests that give the same machine code."""
        return disk_cache.key(self.source, self.entry, self.signature, self.salt, _compilers(self.cpu))

    def function(self) -> Callable[..., Any]:
        """The Python function."""
        names: dict[str, Any] = dict(self.namespace() if callable(self.namespace) else self.namespace)
        file = f"<kernel {self.entry} {self.key().text}>"
        # For the front end, and for messages.
        linecache.cache[file] = (len(self.source), None, self.source.splitlines(keepends=True), file)
        exec(compile(self.source, file, "exec"), names)
        return names[self.entry]


@dataclass(frozen=True)
class FunctionRequest:
    """The function `entry` of a module of ours, compiled like a kernel; the module is imported only where it must be.

    `salt` is `source_salt` of the module and of what it calls.
    """

    module: str
    entry: str
    signature: str
    salt: str
    cpu: str = ""

    def key(self) -> disk_cache.Key:
        """Equal for requests that give the same machine code."""
        return disk_cache.key(self.module, self.entry, self.signature, self.salt, _compilers(self.cpu))

    def function(self) -> Callable[..., Any]:
        """The Python function."""
        return getattr(importlib.import_module(self.module), self.entry)


Request = KernelRequest | FunctionRequest


def _compilers(cpu: str) -> tuple[tuple[str, str], ...] | None:
    """What machine code for a CPU target depends on, as `Key` has it."""
    cpu = code_cpu(cpu)
    return None if cpu == host_cpu() else tuple(machine(cpu).items())


_kernels: dict[str, Kernel] = {}


def compile_kernel(
    source: str, entry: str, namespace: Namespace, signature: str = "int64(int64)", *, salt: str = ""
) -> Kernel:
    """The kernel of one `KernelRequest`. Equal requests give the same kernel, compiled once."""
    return compile_kernels([KernelRequest(source, entry, namespace, signature, salt)])[0]


def compile_kernels(requests: Iterable[Request], processes: int | None = None) -> list[Kernel]:
    """The kernels of many requests, in their order.

    Where many must be compiled, up to `processes` share the work: by default, one a core. On macOS, and where the
    process has other threads, it is always one, because such a process cannot safely fork.
    """
    named = [(request.key().name, request) for request in requests]
    obtained: list[Kernel] = []
    if any(name not in _kernels for name, _ in named):
        with compiler_lock:
            obtained = _obtain({name: request for name, request in named if name not in _kernels}, processes)
    _warn(obtained)
    return [_kernels[name] for name, _ in named]


def compile_report() -> list[Kernel]:
    """The kernels of this process, in the order in which they were first asked for."""
    return list(_kernels.values())


def source_salt(*sources: ModuleType | str | os.PathLike[str]) -> str:
    """A hash of the text of some modules or Python files, for the `salt` of kernels that call what they define."""
    paths = [source.__file__ or "" if isinstance(source, ModuleType) else os.fspath(source) for source in sources]
    digests = [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in paths]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


CODE_FLOORS = ("ir", "runtime")
"""The folders with all source files that can make machine code: front ends, native functions, what these import.

Passes make none. What they choose, such as tiles, reaches a kernel in its source text, which is in its key, or in its
arguments.
"""


@cache
def code_salt(package: Path = Path(__file__).parents[2]) -> str:
    """The salt of all code that kernels call or are made by: every file of `CODE_FLOORS`, so that none is forgotten."""
    return source_salt(*sorted(file for floor in CODE_FLOORS for file in (package / floor).rglob("*.py")))


# ---- from a request to an address


def _obtain(requests: Mapping[str, Request], processes: int | None) -> list[Kernel]:
    """The kernels of requests by their names, which this process does not have yet."""
    status = cache_status()
    missing: dict[str, str] = {}
    with deferred_signals():
        for name, request in requests.items():
            start = time.perf_counter()
            code, why = (None, status.why) if status.folder is None else disk_cache.read(status.folder, request.key())
            if name in _kernels:  # a signal handler that interrupted this needed it too
                continue
            if code is None:
                missing[name] = why
                continue
            address = load(code, _symbol(name))
            if address:
                _kernels[name] = Kernel(request.entry, address, time.perf_counter() - start, True, why)
            else:
                missing[name] = DAMAGED
    if status.folder is not None:
        keys = {name: requests[name].key() for name, why in missing.items() if why == NOT_THERE}
        reasons = disk_cache.why_not_there(status.folder, keys.values()) if keys else {}
        missing |= {name: reasons[key] for name, key in keys.items()}
    if missing:
        tell_of_kernels(0, len(missing))
    built = _build_together({name: requests[name] for name in missing}, processes) if missing else {}
    for number, (name, why) in enumerate(missing.items()):
        request = requests[name]
        if name not in built:
            from .object_code import build

            tell_of_kernels(number, len(missing))
            built[name] = build(request.function(), request.signature, _symbol(name), code_cpu(request.cpu))
        code, externals, seconds = built[name]
        lacking = [external for external in externals if not disk_cache.in_process(external)]
        if lacking:
            why = f"not kept on disk: it calls {', '.join(lacking)}, which only a process with Numba has"
        elif status.folder is not None:
            why = disk_cache.write(status.folder, request.key(), code, externals) or why
        with deferred_signals():
            if name not in _kernels:  # a signal handler that interrupted this may have needed it too
                _kernels[name] = Kernel(request.entry, load(code, _symbol(name)), seconds, False, why)
    return [_kernels[name] for name in requests]


def _build_together(
    requests: Mapping[str, Request], processes: int | None
) -> dict[str, tuple[bytes, list[str], float]]:
    """The object code of those requests that several processes compiled; none where one process is to do it."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    processes = min(cores if processes is None else processes, len(requests) // _WORTH_A_PROCESS)
    if processes < 2 or sys.platform != "linux" or not _may_fork():
        return {}
    from .object_code import build_together

    # The longest first, so that all processes end at about the same time.
    order = sorted(requests, key=lambda name: -_weight(requests[name]))
    return build_together(
        {name: (r.function, r.signature, _symbol(name), code_cpu(r.cpu)) for name in order for r in (requests[name],)},
        processes,
        lambda number: tell_of_kernels(number, len(order)),
    )


def _weight(request: Request) -> float:
    """How long a request takes, about: our modules longest, because of all that they define."""
    return len(request.source) if isinstance(request, KernelRequest) else float("inf")


def _may_fork() -> bool:
    """Whether no other thread can hold a lock that a forked child would wait for."""
    current = threading.current_thread()
    return all(thread is current or thread.name.startswith(WORKER_NAME) for thread in threading.enumerate())


def _symbol(name: str) -> str:
    return f"gradloom_{name.replace('-', '_')}"


_engine: Any = None


def load(code: bytes, symbol: str) -> int:
    """The address of the function `symbol` of object code, for as long as the process lives; hold `compiler_lock`.

    It may be loaded once only: no error may come between that and the note of it.
    """
    global _engine
    if _engine is None:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        machine = llvm.Target.from_default_triple().create_target_machine()
        _engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
        # One reference more than there are: a thread of the pool may still run this code while Python shuts down.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(_engine))
    _engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    _engine.finalize_object()
    return _engine.get_function_address(symbol)


_warned: set[str] = set()


def _warn(kernels: Sequence[Kernel]) -> None:
    """A warning for each reason why the disk was of no use, once in a process."""
    for kernel in kernels:
        why = kernel.why
        if why and why != CACHE_OFF and not why.startswith(NOT_THERE) and why not in _warned:
            _warned.add(why)
            warnings.warn(f"machine code was compiled; {why}", CacheWarning, stacklevel=2)
