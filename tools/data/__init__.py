"""The data sets of the recipes: the digits that come with the package, and MNIST from a file."""

from __future__ import annotations

import gzip
import io
import os
import zipfile
import zlib
from importlib import resources
from pathlib import Path

import numpy as np

from ...ir import Array

Split = tuple[Array, Array, Array, Array]
"""x_train, y_train, x_test, y_test: images (n, pixels) as float32 in 0..1, classes (n,) as int64."""

CLASSES = 10


class DataError(Exception):
    """A data file is missing, damaged, or holds something else than it should."""


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
        with open(path, "rb") as handle:
            file = np.load(handle, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise DataError(f"{path} is one array, not an .npz file with {', '.join(names)}")
            missing = [name for name in names if name not in file]
            if missing:
                raise DataError(f"{path} has no {' and no '.join(missing)}; it has {', '.join(file) or 'nothing'}")
            arrays = {name: file[name] for name in names}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path} is damaged, or no .npz file: {error}") from error
    for part in ("train", "test"):
        _check_part(path, part, arrays[f"x_{part}"], arrays[f"y_{part}"])
    x_train, y_train, x_test, y_test = (arrays[name] for name in names)
    return _pixels(x_train), y_train.astype(np.int64), _pixels(x_test), y_test.astype(np.int64)


def _check_part(path: str | os.PathLike[str], part: str, x: Array, y: Array) -> None:
    count = x.shape[0] if x.ndim else 0
    for name, array, fits, wanted in (
        (f"x_{part}", x, x.shape == (count, 28, 28) and count, "(n, 28, 28)"),
        (f"y_{part}", y, y.shape == (count,), f"({count},)"),
    ):
        if not fits or array.dtype != np.uint8:
            raise DataError(f"{path}: {name} is {array.dtype} of shape {array.shape}, expected uint8 of shape {wanted}")
    if y.max() >= CLASSES:
        raise DataError(f"{path}: y_{part} holds the class {y.max()}, expected 0 to {CLASSES - 1}")


def _pixels(images: Array) -> Array:
    return images.reshape(len(images), -1) / np.float32(255)
