"""A file that is replaced in a single step: written beside the old one, flushed to the disk, and renamed over it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

_LONGEST_NAME = 100
"""Bytes of a name that stand in that of its temporary file: file systems take 255 at most, some only 143."""
_TOKEN_BYTES = 6


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], named: Callable[[], str] | None = None) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of the one at `path` when the block ends without an error.

    Until then, and after an error, the old one is as it was. The new one has the mode of the old one, or that which the
    umask gives. With `named` it gets the name that this returns at the end, in the same folder. Raises `OSError` where
    it cannot be written.
    """
    target = _target(path)
    with _temporary(target) as (temporary, file):
        yield file
        file.flush()
        if named is not None:
            target = target.with_name(named())
        _take_mode(file.fileno(), target)
        os.fsync(file.fileno())
        os.replace(temporary, target)  # still locked: nobody takes it for a left-over
    _sync_folder(target.parent)


def check_replaceable(path: str | os.PathLike[str], nbytes: int) -> None:
    """Raise the `OSError` that `replacing` would meet with `nbytes` to write, as far as that can be known before."""
    target = _target(path)
    with _temporary(target) as (_, file):
        os.ftruncate(file.fileno(), nbytes)  # the largest file that this process may write
        found = os.fstatvfs(file.fileno())
        free = found.f_frsize * (found.f_bfree if os.geteuid() == 0 else found.f_bavail)
        if found.f_blocks and free < nbytes:
            text = f"{os.strerror(errno.ENOSPC)}: it takes {nbytes:,} bytes beside the old file, {free:,} are free"
            raise OSError(errno.ENOSPC, text)


def _target(path: str | os.PathLike[str]) -> Path:
    """Where the file lies; a link stays one. Raises `OSError` where something else than a file is there."""
    given = os.fsdecode(path)
    if not given or "\0" in given:
        raise OSError(errno.EINVAL, "this is no name of a file")
    target = Path(os.path.realpath(given))
    try:
        mode = os.stat(target).st_mode
    except FileNotFoundError:
        return target
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "what is there is no regular file")
    return target


@contextlib.contextmanager
def _temporary(target: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """An empty file beside `target`, which is gone afterwards if it was not renamed.

    Its writer holds a lock on it, which ends with the process however that ends: one that nobody has locked is a
    left-over, and is removed.
    """
    stem = _stem(target)
    _remove_leftovers(target.parent, stem)
    while True:
        temporary = target.with_name(f"{stem}{secrets.token_hex(_TOKEN_BYTES)}.tmp")
        try:
            with open(temporary, "xb") as file:
                with contextlib.suppress(OSError):  # not every file system has locks
                    fcntl.flock(file, fcntl.LOCK_EX)
                if _is_at(file.fileno(), temporary):  # else another process found it before it was locked
                    yield temporary, file
                    return
        finally:
            temporary.unlink(missing_ok=True)


def _stem(target: Path) -> str:
    return f".{os.fsdecode(os.fsencode(target.name)[:_LONGEST_NAME])}."


def _remove_leftovers(folder: Path, stem: str) -> None:
    """Remove the temporary files of processes that ended while they wrote."""
    named = re.compile(re.escape(stem) + rf"[0-9a-f]{{{2 * _TOKEN_BYTES}}}\.tmp")
    with contextlib.suppress(OSError):
        for name in [name for name in os.listdir(folder) if named.fullmatch(name)]:
            with contextlib.suppress(OSError):
                _remove_leftover(folder / name)


def _remove_leftover(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if stat.S_ISREG(os.fstat(descriptor).st_mode) and _is_at(descriptor, path):
            path.unlink()
    finally:
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


def _take_mode(descriptor: int, target: Path) -> None:
    try:
        old = os.stat(target)
    except FileNotFoundError:
        return
    new = os.fstat(descriptor)
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        with contextlib.suppress(OSError):
            os.fchown(descriptor, old.st_uid, old.st_gid)
    with contextlib.suppress(OSError):  # some file systems have no modes
        os.fchmod(descriptor, stat.S_IMODE(old.st_mode))


def _sync_folder(folder: Path) -> None:
    """Wait until the new name is on the disk, where the folder can be opened and its file system can do that."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
