"""Machine code on disk between processes: where it lies, under which name, and what is wrong with it.

A file is named by two digests: of what a kernel computes, and of all else that its bytes depend on. So where a kernel
is not found, what lies there for another machine or another version is, and says why. A file begins with a SHA-256 of
the rest of it, is written elsewhere in the folder and renamed into place: a reader sees a whole file or none, one that
is damaged is compiled again and replaced, and processes that compile the same kernel at once do no harm.

Machine code is run, so that nothing is taken which another user could have written: the folder and each file must be
the user's own, and writable by nobody else. A file names its kernel within its digest: one that was renamed is damaged.

The folder has a limit. Where it is passed, the files that were used least recently are deleted. A full one holds a
hundred thousand files and more, so they lie in inner folders by the first letters of their names, and nobody keeps a
list of them all.
"""

import contextlib
import ctypes
import hashlib
import importlib.metadata
import json
import os
import platform
import stat
import sys
import tempfile
import time
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm
import numpy as np

from .byte_amount import byte_amount
from .front_end import front_end
from .host import host_cpu
from .instruction_set import instruction_set

_ABI = "2"
"""Goes into every key: raise it when the meaning of an argument block, or of a file, changes."""

_MAGIC = b"gradloom machine code 3\n"
_DIGEST_BYTES = 32
_WRITING = ".writing-"
_SUFFIX = ".kernel"
_LETTERS = 2
"""So many letters of a name are that of the inner folder where it lies."""

DEFAULT_LIMIT = 10**9
"""Bytes that the folder may take where `GRADLOOM_CACHE_LIMIT` does not say so."""

_ABANDONED_SECONDS = 3600
"""A file that is still being written after so long belongs to a process that was killed."""

DAMAGED = "the file in the cache was damaged"
NOT_THERE = "not in the cache"

CACHE_OFF = "cache off: GRADLOOM_CACHE=0"


@dataclass(frozen=True)
class CacheStatus:
    """The cache's folder, or None and the reason why nothing is kept on disk."""

    folder: Path | None
    why: str


@dataclass(frozen=True)
class Key:
    """What the bytes of a kernel depend on: `text` is a digest of what it computes, `salt` of code that it calls.

    `compilers` is what else machine code for another machine than this one depends on, as pairs of a name and a text.
    """

    text: str
    salt: str
    compilers: tuple[tuple[str, str], ...] | None = None

    @property
    def machine(self) -> dict[str, str]:
        """What the machine code depends on beside its source, by the names that a person knows it by."""
        return machine() if self.compilers is None else dict(self.compilers)

    @property
    def name(self) -> str:
        """Distinct for distinct machine code; of letters, digits and one "-"."""
        rest = json.dumps([self.salt, self.machine])
        return f"{self.text}-{hashlib.sha256(rest.encode()).hexdigest()[:40]}"


def key(
    source: str, entry: str, signature: str, salt: str, compilers: tuple[tuple[str, str], ...] | None = None
) -> Key:
    """The key of a kernel, compiled by the front end that the environment names."""
    parts = [source, entry, signature, front_end()]
    return Key(hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:40], salt, compilers)


@cache
def machine(target: str = "") -> dict[str, str]:
    """What machine code for a CPU target, by default this machine's, depends on beside its source, by the names that a
    person knows it by.
    """
    # Numba reads its own options from the environment; those about threads and files change no code.
    options = sorted(
        f"{name}={value}"
        for name, value in os.environ.items()
        if name.startswith("NUMBA_") and not name.startswith(("NUMBA_NUM_THREADS", "NUMBA_THREAD", "NUMBA_CACHE"))
    )
    instructions = instruction_set(target or host_cpu())
    return {
        "layout of argument blocks": _ABI,
        "Numba": importlib.metadata.version("numba"),
        "llvmlite": llvmlite.__version__,
        "LLVM": ".".join(map(str, llvm.llvm_version_info)),
        "system": instructions.triple,
        "architecture": platform.machine(),
        "CPU": instructions.cpu,
        "set of CPU features": instructions.features,
        "setting of NUMBA_ variables": " ".join(options),
    }


def cache_status() -> CacheStatus:
    """Where machine code is kept: in `GRADLOOM_CACHE_DIR`, or among the user's caches; `GRADLOOM_CACHE=0`: nowhere."""
    if os.environ.get("GRADLOOM_CACHE") == "0":
        return CacheStatus(None, CACHE_OFF)
    try:
        limit()
    except ValueError as error:
        return CacheStatus(None, f"cache off: {error}")
    return _folder(os.environ.get("GRADLOOM_CACHE_DIR"), os.environ.get("XDG_CACHE_HOME"))


def limit() -> int:
    """The bytes that the folder may take: `GRADLOOM_CACHE_LIMIT`, such as 500MB, or `DEFAULT_LIMIT`.

    Raises `ValueError` where the variable is no number of bytes.
    """
    text = os.environ.get("GRADLOOM_CACHE_LIMIT", "").strip()
    if not text:
        return DEFAULT_LIMIT
    amount = byte_amount(text)
    if amount is None:
        raise ValueError(f"GRADLOOM_CACHE_LIMIT={text!r} is no number of bytes such as 500MB or 1GiB")
    return amount


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
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: there is no home; ValueError: a null byte
        return CacheStatus(None, f"cache off: {error}")
    distrust = _distrust(found)
    if distrust:
        return CacheStatus(None, f"cache off: {folder} {distrust}")
    return CacheStatus(folder, "")


def _distrust(found: os.stat_result) -> str:
    """Why a folder or file might hold what the user did not write; empty where it cannot."""
    if hasattr(os, "getuid") and found.st_uid != os.getuid():
        return "belongs to another user"
    return "may be written by other users; chmod go-w makes it yours alone" if found.st_mode & 0o022 else ""


@cache
def in_process(symbol: str) -> bool:
    """Whether the system's libraries have this symbol. If LLVM looked for one in vain, it would end the process."""
    return hasattr(ctypes.CDLL(None), symbol)


def path_of(folder: Path, key: Key) -> Path:
    """Where the machine code of a key lies, if it is there."""
    return folder / key.name[:_LETTERS] / f"{key.name}{_SUFFIX}"


def read(folder: Path, key: Key) -> tuple[bytes | None, str]:
    """The object code of a key, or None and why not."""
    path = path_of(folder, key)
    try:
        data, distrust = _contents(path)
    except FileNotFoundError:
        return None, NOT_THERE
    except OSError as error:
        return None, f"cannot read the cache: {error.strerror}"
    if distrust:
        return None, f"a file in the cache {distrust}"
    found = _header_and_code(data)
    if found is None or found[0]["kernel"] != key.name:
        return None, DAMAGED
    header, code = found
    if not all(map(in_process, header["externals"])):
        return None, "the file in the cache calls what this process does not have"
    with contextlib.suppress(OSError):  # it was used now, for `_make_room`
        os.utime(path)
    return code, ""


def _contents(path: Path) -> tuple[bytes, str]:
    """What stands in a file of the folder, or why it is not to be trusted. Raises `OSError`."""
    # Neither follows a link nor waits for a pipe; what is looked at is what is read.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    with open(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        distrust = _distrust(found) if stat.S_ISREG(found.st_mode) else "is no regular file"
        return (b"", distrust) if distrust else (file.read(), "")


def write(folder: Path, key: Key, code: bytes, externals: list[str]) -> str:
    """Keeps object code under a key, and the folder within its limit; returns what went wrong, if anything did."""
    header = {"kernel": key.name, "externals": externals, "salt": key.salt, "machine": key.machine}
    content = json.dumps(header).encode() + b"\n" + code
    path, temporary = path_of(folder, key), None
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=_WRITING, delete=False) as file:
            temporary = file.name
            file.write(_MAGIC + hashlib.sha256(content).digest() + content)
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        return f"cannot write to the cache: {error.strerror}"
    _make_room(folder, len(content))
    return ""


@dataclass(frozen=True)
class Usage:
    """What the folder holds: so many kernels, in so many bytes."""

    kernels: int
    nbytes: int


def usage(folder: Path) -> Usage:
    """What the folder holds. Raises `OSError` where it cannot be read."""
    return _usage(found for _, found in _files(folder))


def clear(folder: Path) -> Usage:
    """Delete all machine code, and nothing else; returns what was deleted. Raises `OSError` where it cannot be."""
    deleted = _usage(_deleted(_files(folder)))
    for inner in _inner_folders(folder):
        with contextlib.suppress(OSError):  # another process has written there meanwhile
            os.rmdir(inner)
    return deleted


def _usage(files: Iterable[os.stat_result]) -> Usage:
    kernels = nbytes = 0
    for found in files:
        kernels, nbytes = kernels + 1, nbytes + found.st_size
    return Usage(kernels, nbytes)


def _deleted(files: Iterable[tuple[os.DirEntry[str], os.stat_result]]) -> Iterator[os.stat_result]:
    for entry, found in files:
        Path(entry).unlink(missing_ok=True)
        yield found


_room: dict[tuple[Path, int], int] = {}
"""The bytes that this process may still write to a folder of some limit before it looks how full that is."""

_SHARE = 4
"""A process looks again when it wrote one in so many of the bytes that there was room for: others write there too."""

_KEPT = 0.9
"""How much of the limit is left, so that a full folder is not looked at after each kernel."""


def _make_room(folder: Path, written: int) -> None:
    """Delete what was used least recently, where the limit may be passed, and what killed processes left.

    To look at tens of thousands of files takes longer than to compile a kernel. So a process looks when it writes for
    the first time, and again when others and it may have written what there was room for.
    """
    with contextlib.suppress(OSError, ValueError):
        most = limit()
        room = _room.get((folder, most), 0) - written
        if room <= 0:
            room = (most - _trimmed(folder, most)) // _SHARE
        _room[folder, most] = room


def _trimmed(folder: Path, most: int) -> int:
    """Delete what `_make_room` says; the bytes that are left. Raises `OSError` where the folder cannot be read."""
    kept = usage(folder).nbytes
    if kept > most:
        oldest = _used_last(folder, kept - int(most * _KEPT))
        files = ((entry, found) for entry, found in _files(folder) if found.st_mtime_ns <= oldest)
        kept -= _usage(_deleted(files)).nbytes
    for entry in _entries(folder, _WRITING):
        with contextlib.suppress(FileNotFoundError):  # its writer may have renamed it meanwhile
            if time.time() - entry.stat(follow_symlinks=False).st_mtime > _ABANDONED_SECONDS:
                Path(entry).unlink(missing_ok=True)
    return kept


def _used_last(folder: Path, nbytes: int) -> int:
    """When the last of those files was used that went if so many bytes of what was used least recently did."""
    used, sizes = array("q"), array("q")
    for _, found in _files(folder):
        used.append(found.st_mtime_ns)
        sizes.append(found.st_size)
    order = np.argsort(used)
    freed = np.cumsum(np.asarray(sizes)[order])
    return int(np.asarray(used)[order][min(np.searchsorted(freed, nbytes), len(freed) - 1)]) if len(freed) else 0


def _files(folder: Path) -> Iterator[tuple[os.DirEntry[str], os.stat_result]]:
    """The files of machine code. Raises `OSError` where the folder cannot be read."""
    for entry in _entries(folder, suffix=_SUFFIX):
        with contextlib.suppress(FileNotFoundError):  # another process is clearing the folder
            yield entry, entry.stat(follow_symlinks=False)


def _entries(folder: Path, prefix: str = "", suffix: str = "") -> Iterator[os.DirEntry[str]]:
    """What lies in the inner folders under names that begin and end so, and is no folder."""
    for path in _inner_folders(folder):
        with os.scandir(path) as entries:  # closed too where another process deletes a file meanwhile
            for entry in entries:
                named = entry.name.startswith(prefix) and entry.name.endswith(suffix)
                if named and not entry.is_dir(follow_symlinks=False):
                    yield entry


def _inner_folders(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return [entry.path for entry in entries if len(entry.name) == _LETTERS and entry.is_dir(follow_symlinks=False)]


def _header_and_code(data: bytes) -> tuple[dict[str, Any], bytes] | None:
    """What stands in a file, or None if it is damaged."""
    start = len(_MAGIC) + _DIGEST_BYTES
    content = data[start:]
    if not data.startswith(_MAGIC) or hashlib.sha256(content).digest() != data[len(_MAGIC) : start]:
        return None
    header, _, code = content.partition(b"\n")
    try:
        read = json.loads(header)
    except (ValueError, RecursionError):
        return None
    fields = {"kernel": str, "externals": list, "salt": str, "machine": dict}
    whole = isinstance(read, dict) and all(isinstance(read.get(name), kind) for name, kind in fields.items())
    return (read, code) if whole else None


def why_not_there(folder: Path, keys: Iterable[Key]) -> dict[Key, str]:
    """For keys that have no file: what the newest file of the same kernel was compiled for instead, if there is one."""
    inner = {key: path_of(folder, key).parent for key in keys}
    names = {path: _names(path) for path in set(inner.values())}
    return {
        key: _for_another(key, [path / name for name in names[path] if name.startswith(f"{key.text}-")])
        for key, path in inner.items()
    }


def _names(folder: Path) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if name.endswith(_SUFFIX)]
    except OSError:  # there is none yet
        return []


def _for_another(key: Key, others: list[Path]) -> str:
    try:
        newest = max(others, key=lambda path: path.stat().st_mtime, default=None)
        found = None if newest is None else _header_and_code(_contents(newest)[0])
    except OSError:  # another process is clearing the folder
        found = None
    if found is None:
        return NOT_THERE
    theirs, ours = found[0]["machine"], key.machine
    other = [name for name in ours if theirs.get(name) != ours[name]]
    if found[0]["salt"] != key.salt:
        return f"{NOT_THERE}; there it is from other sources of Gradloom"
    return (
        f"{NOT_THERE}; there it is for another {other[0]} ({_brief(theirs.get(other[0], ''))})" if other else NOT_THERE
    )


def _brief(text: str, most: int = 60) -> str:
    return text if len(text) <= most else f"{text[:most]}..."
