"""`gradloom cache`: the machine code that is kept on disk."""

from __future__ import annotations

from pathlib import Path

from ..engine.report.wording import human
from ..runtime.codegen import disk_cache
from .command_error import CommandError


def cache_text() -> str:
    """Where machine code is kept, how much there is, and how much there may be."""
    status = disk_cache.cache_status()
    if status.folder is None:
        return status.why
    try:
        held = disk_cache.usage(status.folder)
    except OSError as error:
        raise _unreadable(status.folder, error) from error
    return f"{_said(held)} in {status.folder}; the limit is {human(disk_cache.limit())}"


def clear_cache() -> str:
    """Delete all machine code; says what was deleted."""
    status = disk_cache.cache_status()
    if status.folder is None:
        return f"nothing to clear: {status.why}"
    try:
        return f"deleted {_said(disk_cache.clear(status.folder))} in {status.folder}"
    except OSError as error:
        raise _unreadable(status.folder, error) from error


def _said(held: disk_cache.Usage) -> str:
    return f"{held.kernels:,} kernel{'s' * (held.kernels != 1)}, {human(held.nbytes)},"


def _unreadable(folder: Path, error: OSError) -> CommandError:
    return CommandError(f"the cache {folder} cannot be used: {error.strerror}")
