"""Arrays from files: `.npy` and `.npz` of NumPy, and IDX, the format of MNIST."""

from __future__ import annotations

import gzip
import math
import os
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np

from ...ir import Array
from ..tracing.errors import located

FilePath = str | os.PathLike[str]

_DAMAGE = (OSError, ValueError, EOFError, KeyError, RuntimeError, OverflowError, MemoryError, SyntaxError)
_DAMAGE += (zipfile.BadZipFile, zlib.error, struct.error)
"""What reading a file of arrays raises where it is damaged; NumPy and zipfile have no error for it."""

_IDX_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


class DataError(Exception):
    """A data file is missing, damaged, or holds something else than it should."""


def read_npy(path: FilePath, memory_map: bool = True) -> Array:
    """The array of a `.npy` file, as a memory map: rows are read when a batch takes them. Objects are never unpickled.

    Raises `DataError` where the file is missing or damaged.
    """
    check_there(path)
    try:
        return np.load(path, mmap_mode="r" if memory_map else None, allow_pickle=False)
    except _DAMAGE as error:
        raise DataError(located(f"{os.fsdecode(path)} is damaged, or no .npy file: {error}")) from error


def read_npz(path: FilePath) -> dict[str, Array]:
    """The arrays of an `.npz` file by name. Objects are never unpickled.

    Raises `DataError` where the file is missing or damaged.
    """
    check_there(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise DataError(located(f"{os.fsdecode(path)} is one array; read it by gl.data.read_npy"))
            return {name: file[name] for name in file.files}
    except _DAMAGE as error:
        raise DataError(located(f"{os.fsdecode(path)} is damaged, or no .npz file: {error}")) from error


def read_idx(path: FilePath) -> Array:
    """The array of an IDX file, as MNIST comes in, packed by gzip or not.

    Format: "THE IDX FILE FORMAT" on the page of the MNIST database, LeCun, Cortes and Burges. Raises `DataError` where
    the file is missing, damaged, or longer or shorter than it says.
    """
    check_there(path)
    name = os.fsdecode(path)
    try:
        with open(path, "rb") as plain:
            packed = plain.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else open(path, "rb") as file:
            zeros, code, ndim = struct.unpack(">HBB", file.read(4))
            if zeros or code not in _IDX_DTYPES:
                raise DataError(located(f"{name} is no IDX file: it does not begin as one"))
            shape = struct.unpack(f">{ndim}I", file.read(4 * ndim))
            dtype = np.dtype(_IDX_DTYPES[code])
            expected = math.prod(shape) * dtype.itemsize
            content = file.read(expected + 1)
    except _DAMAGE as error:
        raise DataError(located(f"{name} is damaged, or no IDX file: {error}")) from error
    if len(content) != expected:
        more = "more" if len(content) > expected else f"{len(content):,}"
        raise DataError(located(f"{name} says that it holds {expected:,} bytes of shape {shape}, and holds {more}"))
    array = np.frombuffer(content, dtype).reshape(shape)
    return array.astype(dtype.newbyteorder("="))


def check_there(path: FilePath) -> None:
    """Raise `TypeError` for what is no path, and `DataError` where there is no file."""
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(located(f"the path of a file is a str or a pathlib.Path, got {path!r}"))
    if not Path(path).is_file():
        raise DataError(located(f"{os.fsdecode(path)}: there is no such file"))
