"""Machine code on disk between processes: where it lies, under which name, and what is wrong with it.

A file is named by two digests: of what a kernel computes, and of all else that its bytes depend on. So where a kernel
is not found, what lies there for another machine or another version is, and says why. A file begins with a SHA-256 of
the rest of it, is written elsewhere in the folder and renamed into place: a reader sees a whole file or none, one that
is damaged is compiled again and replaced, and processes that compile the same kernel at once do no harm.
"""

import contextlib
import ctypes
import hashlib
import importlib.metadata
import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm

_ABI = "1"
"""Goes into every key: raise it when the meaning of an argument block, or of a file, changes."""

_MAGIC = b"gradloom machine code 2\n"
_DIGEST_BYTES = 32

NOT_THERE = "not in the cache"

CACHE_OFF = "cache off: GRADLOOM_CACHE=0"


@dataclass(frozen=True)
class CacheStatus:
    """The cache's folder, or None and the reason why nothing is kept on disk."""

    folder: Path | None
    why: str


@dataclass(frozen=True)
class Key:
    """What the bytes of a kernel depend on: `text` is a digest of what it computes, `salt` of code that it calls."""

    text: str
    salt: str

    @property
    def name(self) -> str:
        """Distinct for distinct machine code; of letters, digits and one "-"."""
        rest = json.dumps([self.salt, machine()])
        return f"{self.text}-{hashlib.sha256(rest.encode()).hexdigest()[:40]}"


def key(source: str, entry: str, signature: str, salt: str) -> Key:
    """The key of a kernel."""
    return Key(hashlib.sha256(json.dumps([source, entry, signature]).encode()).hexdigest()[:40], salt)


@cache
def machine() -> dict[str, str]:
    """What machine code depends on beside its source, by the names that a person knows it by."""
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
    return {
        "layout of argument blocks": _ABI,
        "Numba": importlib.metadata.version("numba"),
        "llvmlite": llvmlite.__version__,
        "LLVM": ".".join(map(str, llvm.llvm_version_info)),
        "system": llvm.get_process_triple(),
        "architecture": platform.machine(),
        "CPU": llvm.get_host_cpu_name(),
        "set of CPU features": features,
        "setting of NUMBA_ variables": " ".join(options),
    }


def cache_status() -> CacheStatus:
    """Where machine code is kept: in `GRADLOOM_CACHE_DIR`, or among the user's caches; `GRADLOOM_CACHE=0`: nowhere."""
    if os.environ.get("GRADLOOM_CACHE") == "0":
        return CacheStatus(None, CACHE_OFF)
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


@cache
def in_process(symbol: str) -> bool:
    """Whether the system's libraries have this symbol. If LLVM looked for one in vain, it would end the process."""
    return hasattr(ctypes.CDLL(None), symbol)


def read(folder: Path, key: Key) -> tuple[bytes | None, str]:
    """The object code of a key, or None and why not."""
    try:
        data = (folder / f"{key.name}.kernel").read_bytes()
    except FileNotFoundError:
        return None, NOT_THERE
    except OSError as error:
        return None, f"cannot read the cache: {error}"
    found = _header_and_code(data)
    if found is None:
        return None, "the file in the cache was damaged"
    header, code = found
    if not all(map(in_process, header["externals"])):
        return None, "the file in the cache calls what this process does not have"
    return code, ""


def write(folder: Path, key: Key, code: bytes, externals: list[str]) -> str:
    """Keeps object code under a key; returns what went wrong, if anything did."""
    header = {"externals": externals, "salt": key.salt, "machine": machine()}
    content = json.dumps(header).encode() + b"\n" + code
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".writing-", delete=False) as file:
            temporary = file.name
            file.write(_MAGIC + hashlib.sha256(content).digest() + content)
        os.replace(temporary, folder / f"{key.name}.kernel")
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        return f"cannot write to the cache: {error}"
    return ""


def _header_and_code(data: bytes) -> tuple[dict[str, Any], bytes] | None:
    """What stands in a file, or None if it is damaged."""
    start = len(_MAGIC) + _DIGEST_BYTES
    content = data[start:]
    if not data.startswith(_MAGIC) or hashlib.sha256(content).digest() != data[len(_MAGIC) : start]:
        return None
    header, code = content.split(b"\n", 1)
    return json.loads(header), code


def why_not_there(folder: Path, keys: Iterable[Key]) -> dict[Key, str]:
    """For keys that have no file: what the newest file of the same kernel was compiled for instead, if there is one."""
    keys = list(keys)
    others: dict[str, list[Path]] = {key.text: [] for key in keys}
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            text = name.partition("-")[0]
            if text in others and name.endswith(".kernel"):
                others[text].append(folder / name)
    return {key: _for_another(key, others[key.text]) for key in keys}


def _for_another(key: Key, others: list[Path]) -> str:
    try:
        newest = max(others, key=lambda path: path.stat().st_mtime, default=None)
        found = None if newest is None else _header_and_code(newest.read_bytes())
    except OSError:  # another process is clearing the folder
        found = None
    if found is None:
        return NOT_THERE
    theirs, ours = found[0]["machine"], machine()
    other = [name for name in ours if theirs.get(name) != ours[name]]
    if found[0]["salt"] != key.salt:
        return f"{NOT_THERE}; there it is from other sources of Gradloom"
    return (
        f"{NOT_THERE}; there it is for another {other[0]} ({_brief(theirs.get(other[0], ''))})" if other else NOT_THERE
    )


def _brief(text: str, most: int = 60) -> str:
    return text if len(text) <= most else f"{text[:most]}..."
