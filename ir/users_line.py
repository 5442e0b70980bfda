"""Where the user stands: what goes wrong is told with the line that the user wrote, not with one of this package."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import sys
import threading
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

import numpy as np
import optree

if TYPE_CHECKING:
    from types import FrameType

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_NAME = __name__.partition(".")[0]
_USERS = tuple(os.path.join(_PACKAGE, *folder) + os.sep for folder in (("examples",), ("tests",), ("tools", "recipes")))
_OTHERS = (
    *(os.path.dirname(os.path.abspath(str(module.__file__))) + os.sep for module in (np, optree)),
    *(os.path.abspath(str(module.__file__)) for module in (contextlib, functools)),
    _PACKAGE + os.sep,
)
# Who calls these typed a command and wrote no line.
_COMMANDS = os.path.join(_PACKAGE, "tools") + os.sep
# By the place where they are installed: importing them would take longer than importing all of this package.
_LIBRARIES = re.compile(r"[/\\](?:site|dist)-packages[/\\](?:scipy|torch|array_api_compat)[/\\]")
_STANDARD = os.path.dirname(os.path.abspath(str(os.__file__))) + os.sep
_INSTALLED = re.compile(r"[/\\](?:site|dist)-packages[/\\]")


@functools.lru_cache(maxsize=4096)
def shown_file(filename: str) -> str | None:
    """How a file of the user is called in messages; empty for files that are not the user's, None for a command's."""
    if filename.startswith("<"):
        return "" if filename.startswith(("<frozen", "<__array_function__")) else filename
    path = os.path.abspath(filename)
    if path.startswith(_OTHERS) and not path.startswith(_USERS):
        return None if path.startswith(_COMMANDS) else ""
    if _LIBRARIES.search(path) or (path.startswith(_STANDARD) and not _INSTALLED.search(path)):
        return ""
    here = os.getcwd() + os.sep
    return path[len(here) :] if path.startswith(here) else os.sep.join(path.split(os.sep)[-2:])


def is_ours(filename: str) -> bool:
    """Whether a file is a part of this package that a user does not write."""
    path = os.path.abspath(filename)
    return not filename.startswith("<") and path.startswith(_PACKAGE + os.sep) and not path.startswith(_USERS)


def frames() -> Iterator[FrameType]:
    """The frames that are active, from the caller's outwards, up to the innermost one of the user, included."""
    frame: FrameType | None = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    while frame is not None and (shown := shown_frame(frame)) is not None:
        yield frame
        if shown:
            return
        frame = frame.f_back


def shown_frame(frame: FrameType) -> str | None:
    """`shown_file` of a frame; empty where a dataclass of this package is made, whose code has no file."""
    filename = frame.f_code.co_filename
    made = filename == "<string>" and str(frame.f_globals.get("__name__")).partition(".")[0] == _NAME
    return "" if made else shown_file(filename)


class _Standing(threading.local):
    line: tuple[str, int] | None = None


_standing = _Standing()


@contextlib.contextmanager
def standing_at(file: str, line: int) -> Generator[None]:
    """Inside the block the user's line is this one, of a program that was written down elsewhere; none for ""."""
    before = _standing.line
    _standing.line = (file, line) if file else before
    try:
        yield
    finally:
        _standing.line = before


def user_line() -> tuple[str, int]:
    """File and line of the innermost call of the user; ("", 0) if there is none."""
    if _standing.line is not None:
        return _standing.line
    frame: FrameType | None = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    while frame is not None and (shown := shown_frame(frame)) is not None:
        if shown:
            return shown, frame.f_lineno
        frame = frame.f_back
    return "", 0


def source() -> str:
    """`file.py:line` of the innermost call outside this package, NumPy and optree; empty if there is none."""
    file, line = user_line()
    return f"{file}:{line}" if file else ""


def located(message: str) -> str:
    """`message` followed by the user's line, unless it ends with that already, as one that quotes another may."""
    where = source()
    return message if not where or message.endswith(f", at {where}") else f"{message}, at {where}"
