"""Compiles generated kernels and keeps their machine code: in the process, and on disk between processes.

A kernel is `int64(int64)` in Numba's own calling convention, `i32 f(i64 *code, i8 **exception, i64 block)`. Numba only
turns it into object code; LLVM's MCJIT loads that, whether it is fresh or from the disk. So a warm start does not
import Numba (which takes 0.4 s), and both starts run the same bytes.

A file of the cache is named by a SHA-256 of all that its bytes depend on, and begins with a SHA-256 of the rest of it.
It is written elsewhere in the folder and renamed into place. Thus a reader sees a whole file or none; one that is
damaged is compiled again and replaced; and two processes that compile the same kernel do no harm. Whatever is wrong
with the folder, the kernel is compiled and runs: the reason stands in `compile_report()` and `cache_status()`.
"""

import contextlib
import ctypes
import hashlib
import importlib
import importlib.metadata
import json
import linecache
import os
import platform
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import llvmlite
import llvmlite.binding as llvm

Namespace = Mapping[str, object] | Callable[[], Mapping[str, object]]
"""The globals of a kernel's source, or a function that makes them: called only where Numba must compile."""

_ABI = "1"
"""Goes into every key: raise it when the meaning of an argument block, or of a file, changes."""

_MAGIC = b"gradloom machine code 1\n"

_WORTH_A_PROCESS = 4
"""So many kernels to compile, and another process saves more than it takes to start."""


@dataclass(frozen=True)
class Kernel:
    """Machine code in this process, for as long as the process lives.

    `seconds` is what it took to get it (not what another process did for it), `hit` is whether it came from the disk,
    and `why` says why not.
    """

    name: str
    address: int
    seconds: float
    hit: bool
    why: str


@dataclass(frozen=True)
class KernelRequest:
    """One kernel to compile: the arguments of `compile_kernel`."""

    source: str
    entry: str
    namespace: Namespace
    signature: str = "int64(int64)"
    salt: str = ""


@dataclass(frozen=True)
class CacheStatus:
    """The cache's folder, or None and the reason why nothing is kept on disk."""

    folder: Path | None
    why: str


_lock = threading.RLock()
_kernels: dict[str, Kernel] = {}


def compile_kernel(
    source: str, entry: str, namespace: Namespace, signature: str = "int64(int64)", *, salt: str = ""
) -> Kernel:
    """The kernel that `source`, Python text, defines under the name `entry`.

    It is compiled without fastmath, with NumPy's rules for division, and without reference counts: it can neither
    allocate nor use Numba's own arrays. `salt` must change whenever code that `namespace` brings in does:
    see `source_salt`. Equal requests give the same kernel, compiled once.
    """
    return _obtain(_job(KernelRequest(source, entry, namespace, signature, salt)))


def compile_kernels(requests: Iterable[KernelRequest], processes: int | None = None) -> list[Kernel]:
    """The kernels of many requests, in their order.

    Where many must be compiled, up to `processes` share the work: by default, one a core. On macOS, and where the
    process has other threads, it is always one, because such a process cannot safely fork.
    """
    jobs = [_job(request) for request in requests]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    with _lock:
        folder = cache_status().folder
        missing = {
            job.key: job
            for job in jobs
            if job.key not in _kernels and (folder is None or not (folder / f"{job.key}.kernel").exists())
        }
        processes = min(cores if processes is None else processes, len(missing) // _WORTH_A_PROCESS)
        built = {}
        # A process with threads cannot safely fork: one of them may hold a lock that the child would wait for.
        if processes > 1 and sys.platform == "linux" and threading.active_count() == 1:
            from .object_code import build_together

            functions = {key: (job.function, job.signature, job.symbol) for key, job in missing.items()}
            built = build_together(functions, processes)
        return [_obtain(job, built.get(job.key)) for job in jobs]


def compile_function(module: str, entry: str, signature: str, *, salt: str) -> Kernel:
    """The function `entry` of a module of ours, compiled like a kernel; the module is imported only where it must be.

    `salt` is `source_salt` of the module and of what it calls.
    """
    key = _key(module, entry, signature, salt)
    return _obtain(_Job(entry, key, signature, lambda: getattr(importlib.import_module(module), entry)))


def compile_report() -> list[Kernel]:
    """The kernels of this process, in the order in which they were first asked for."""
    return list(_kernels.values())


@cache
def _digest_of(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def source_salt(*sources: ModuleType | str | os.PathLike[str]) -> str:
    """A hash of the text of some modules or Python files, for the `salt` of kernels that call what they define."""
    paths = [source.__file__ or "" if isinstance(source, ModuleType) else os.fspath(source) for source in sources]
    return hashlib.sha256("".join(_digest_of(path) for path in paths).encode()).hexdigest()


# ---- from a request to an address


@dataclass(frozen=True)
class _Job:
    name: str
    key: str
    signature: str
    function: Callable[[], Callable[..., Any]]
    """Makes the function to be compiled: called only if it must be."""

    @property
    def symbol(self) -> str:
        return f"gradloom_{self.key}"


def _job(request: KernelRequest) -> _Job:
    key = _key(request.source, request.entry, request.signature, request.salt)

    def function() -> Callable[..., Any]:
        source, namespace = request.source, request.namespace
        names: dict[str, Any] = dict(namespace() if callable(namespace) else namespace)
        file = f"<kernel {request.entry} {key[:8]}>"
        linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)  # for Numba's messages
        exec(compile(source, file, "exec"), names)
        return names[request.entry]

    return _Job(request.entry, key, request.signature, function)


def _key(source: str, entry: str, signature: str, salt: str) -> str:
    parts = json.dumps([source, entry, signature, salt, *_machine()])
    return hashlib.sha256(parts.encode()).hexdigest()


@cache
def _machine() -> tuple[str, ...]:
    """What machine code depends on beside its source."""
    # Numba reads its own options from the environment; those about threads and files change no code.
    options = sorted(
        f"{name}={value}"
        for name, value in os.environ.items()
        if name.startswith("NUMBA_") and not name.startswith(("NUMBA_NUM_THREADS", "NUMBA_THREAD", "NUMBA_CACHE"))
    )
    try:
        features = llvm.get_host_cpu_features().flatten()
    except RuntimeError:  # LLVM cannot tell on some systems; the name must do
        features = ""
    return (
        _ABI,
        importlib.metadata.version("numba"),
        llvmlite.__version__,
        ".".join(map(str, llvm.llvm_version_info)),
        llvm.get_process_triple(),
        platform.machine(),
        llvm.get_host_cpu_name(),
        features,
        *options,
    )


def _obtain(job: _Job, built: tuple[bytes, list[str]] | None = None) -> Kernel:
    """The kernel of a job, whose object code may have been built already."""
    kernel = _kernels.get(job.key)
    if kernel is not None:
        return kernel
    with _lock:
        kernel = _kernels.get(job.key)
        if kernel is not None:
            return kernel
        start = time.perf_counter()
        status = cache_status()
        code, why = (None, status.why) if status.folder is None else _read(status.folder, job.key)
        hit = code is not None
        if code is None:
            if built is None:
                from .object_code import build

                built = build(job.function(), job.signature, job.symbol)
            code, externals = built
            missing = [external for external in externals if not _in_process(external)]
            if missing:
                why = f"not kept on disk: it calls {', '.join(missing)}, which only a process with Numba has"
            elif status.folder is not None:
                why = _write(status.folder, job.key, code, externals) or why
        kernel = Kernel(job.name, _load(code, job.symbol), time.perf_counter() - start, hit, why)
        _kernels[job.key] = kernel
        return kernel


_engine: Any = None


def _load(code: bytes, symbol: str) -> int:
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


@cache
def _in_process(symbol: str) -> bool:
    """Whether the system's libraries have this symbol. If LLVM looked for one in vain, it would end the process."""
    return hasattr(ctypes.CDLL(None), symbol)


# ---- the disk


def cache_status() -> CacheStatus:
    """Where machine code is kept: in `GRADLOOM_CACHE_DIR`, or among the user's caches; `GRADLOOM_CACHE=0`: nowhere."""
    if os.environ.get("GRADLOOM_CACHE") == "0":
        return CacheStatus(None, "cache off: GRADLOOM_CACHE=0")
    return _folder(os.environ.get("GRADLOOM_CACHE_DIR"), os.environ.get("XDG_CACHE_HOME"))


@cache
def _folder(chosen: str | None, user_caches: str | None) -> CacheStatus:
    try:
        if chosen:
            folder = Path(chosen)
        elif sys.platform == "darwin":
            folder = Path.home() / "Library" / "Caches" / "gradloom"
        else:
            folder = Path(user_caches or Path.home() / ".cache") / "gradloom"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home
        return CacheStatus(None, f"cache off: {error}")
    if hasattr(os, "getuid") and (found.st_uid != os.getuid() or found.st_mode & 0o002):
        return CacheStatus(None, f"cache off: {folder} belongs to another user, or everyone may write there")
    return CacheStatus(folder, "")


def _read(folder: Path, key: str) -> tuple[bytes | None, str]:
    """The object code of a key, or None and why not."""
    try:
        data = (folder / f"{key}.kernel").read_bytes()
    except FileNotFoundError:
        return None, "not in the cache"
    except OSError as error:
        return None, f"cannot read the cache: {error}"
    digest, content = data[len(_MAGIC) : len(_MAGIC) + 32], data[len(_MAGIC) + 32 :]
    if not data.startswith(_MAGIC) or hashlib.sha256(content).digest() != digest:
        return None, "the file in the cache was damaged"
    header, code = content.split(b"\n", 1)
    if not all(_in_process(symbol) for symbol in json.loads(header)):
        return None, "the file in the cache calls what this process does not have"
    return code, ""


def _write(folder: Path, key: str, code: bytes, externals: list[str]) -> str:
    """Keeps object code under a key; returns what went wrong, if anything did."""
    content = json.dumps(externals).encode() + b"\n" + code
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".writing-", delete=False) as file:
            temporary = file.name
            file.write(_MAGIC + hashlib.sha256(content).digest() + content)
        os.replace(temporary, folder / f"{key}.kernel")
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        return f"cannot write to the cache: {error}"
    return ""


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.RLock()  # another thread of the parent may have held it


os.register_at_fork(after_in_child=_after_fork_in_child)
