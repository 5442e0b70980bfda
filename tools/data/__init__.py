"""The data sets of the recipes: the digits that come with the package, and MNIST from a file."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import struct
import tokenize
import zipfile
import zlib
from importlib import resources
from pathlib import Path

import numpy as np

from ...engine.data import DataError
from ...engine.report.wording import listed
from ...ir import Array

Split = tuple[Array, Array, Array, Array]
"""x_train, y_train, x_test, y_test: images (n, pixels) as float32 in 0..1, classes (n,) as int64."""

CLASSES = 10

_MOST_IMAGES = 1_000_000
"""Ten times what there is of such digits; an archive of a few kilobytes may claim any number."""

_DAMAGE = (OSError, ValueError, EOFError, KeyError, RuntimeError, OverflowError, MemoryError, SyntaxError)
_DAMAGE += (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, tokenize.TokenError)
"""What reading an archive of arrays raises where it is damaged; NumPy and zipfile have no error for it."""


def load_digits() -> Split:
    """The UCI handwritten digits: 1,442 images of 8x8 pixels to train with and 355 to test with, always the same ones.

    Every fifth image of each digit is a test image, so that both parts hold all digits and all writers.
    """
    packed = resources.files(__name__).joinpath("digits.csv.gz").read_bytes()
    table = np.loadtxt(io.BytesIO(gzip.decompress(packed)), delimiter=",", dtype=np.uint8)
    x, y = table[:, :-1] / np.float32(16), table[:, -1].astype(np.int64)
    test = np.zeros(len(y), bool)
    for digit in range(CLASSES):
        test[np.flatnonzero(y == digit)[4::5]] = True
    return x[~test], y[~test], x[test], y[test]


def load_mnist(path: str | os.PathLike[str]) -> Split:
    """MNIST from an .npz file of uint8 arrays: images `x_train`, `x_test` (n, 28, 28), classes `y_train`, `y_test`.

    Raises `DataError` where the file is missing, cannot be read, or holds other arrays.
    """
    names = ("x_train", "y_train", "x_test", "y_test")
    if not Path(path).is_file():
        raise DataError(f"{path}: there is no such file")
    try:
        with open(path, "rb") as start:
            if start.read(6) == b"\x93NUMPY":
                raise DataError(f"{path} is one array, not an .npz file with {', '.join(names)}")
        with zipfile.ZipFile(path) as file:
            held = [name.removesuffix(".npy") for name in file.namelist()]
            missing = [name for name in names if name not in held]
            if missing:
                raise DataError(f"{path} has no {' and no '.join(missing)}; it has {listed(held) or 'nothing'}")
            # What an array would be is known from its first bytes: nothing else is unpacked.
            shapes = {name: _header(file, name) for name in names}
            for part in ("train", "test"):
                _check_part(path, part, *shapes[f"x_{part}"], *shapes[f"y_{part}"])
            arrays = {name: _array(file, name) for name in names}
    except _DAMAGE as error:
        raise DataError(f"{path} is damaged, or no .npz file: {error}") from error
    for part in ("train", "test"):
        _check_classes(path, part, arrays[f"y_{part}"])
    x_train, y_train, x_test, y_test = (arrays[name] for name in names)
    return _pixels(x_train), y_train.astype(np.int64), _pixels(x_test), y_test.astype(np.int64)


def _header(file: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], np.dtype]:
    """The shape and dtype of an array. Raises one of `_DAMAGE`."""
    with file.open(f"{name}.npy") as member:
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[np.lib.format.read_magic(member)]
        shape, _, dtype = read(member)
    return shape, dtype


def _array(file: zipfile.ZipFile, name: str) -> Array:
    """An array whose header was found good. Raises one of `_DAMAGE`."""
    with file.open(f"{name}.npy") as member:
        return np.lib.format.read_array(member, allow_pickle=False)


def _check_part(
    path: str | os.PathLike[str],
    part: str,
    x_shape: tuple[int, ...],
    x_dtype: np.dtype,
    y_shape: tuple[int, ...],
    y_dtype: np.dtype,
) -> None:
    count = x_shape[0] if x_shape else 0
    for name, shape, dtype, fits, wanted in (
        (f"x_{part}", x_shape, x_dtype, x_shape == (count, 28, 28) and count, "(n, 28, 28)"),
        (f"y_{part}", y_shape, y_dtype, y_shape == (count,), f"({count},)"),
    ):
        if not fits or dtype != np.uint8:
            raise DataError(f"{path}: {name} is {dtype} of shape {shape}, expected uint8 of shape {wanted}")
    if count > _MOST_IMAGES:
        raise DataError(f"{path}: x_{part} has {count:,} images, expected {_MOST_IMAGES:,} at most")


def _check_classes(path: str | os.PathLike[str], part: str, y: Array) -> None:
    if y.max() >= CLASSES:
        raise DataError(f"{path}: y_{part} holds the class {y.max()}, expected 0 to {CLASSES - 1}")


def _pixels(images: Array) -> Array:
    return images.reshape(len(images), -1) / np.float32(255)
