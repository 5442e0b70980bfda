"""The data sets are what their loaders say, and a wrong file is named as such."""

from __future__ import annotations

import contextlib
import io
import tracemalloc
import warnings
import zipfile
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from gradloom.tools.data import DataError, load_digits, load_mnist

MNIST = Path(__file__).parents[3] / "shared" / "data" / "mnist.npz"


def small_mnist(**changes: np.ndarray) -> dict[str, np.ndarray]:
    arrays = {
        "x_train": np.full((6, 28, 28), 255, np.uint8),
        "y_train": np.arange(6, dtype=np.uint8),
        "x_test": np.zeros((3, 28, 28), np.uint8),
        "y_test": np.array([9, 8, 7], np.uint8),
    }
    return {**arrays, **changes}


def test_digits_are_1797_images_in_a_fixed_split():
    x_train, y_train, x_test, y_test = load_digits()
    assert (x_train.shape, x_test.shape) == ((1442, 64), (355, 64))
    assert (y_train.shape, y_test.shape) == ((1442,), (355,))
    assert x_train.dtype == x_test.dtype == np.float32
    assert y_train.dtype == y_test.dtype == np.int64
    assert (x_train.min(), x_train.max()) == (0, 1)
    assert np.bincount(np.concatenate([y_train, y_test])).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert np.bincount(y_test).min() >= 34
    # The first image of the set is the same zero that scikit-learn shows first.
    assert (y_train[0], (16 * x_train[0, :8]).tolist()) == (0, [0, 0, 5, 13, 9, 1, 0, 0])
    again = load_digits()
    assert all(np.array_equal(a, b) for a, b in zip(again, (x_train, y_train, x_test, y_test)))


def test_mnist_is_scaled_and_flattened(tmp_path: Path):
    np.savez(tmp_path / "m.npz", **small_mnist())
    x_train, y_train, x_test, y_test = load_mnist(tmp_path / "m.npz")
    assert (x_train.shape, x_train.dtype, x_test.shape) == ((6, 784), np.float32, (3, 784))
    assert (x_train == 1).all()
    assert (x_test == 0).all()
    assert (y_train.dtype, y_test.tolist()) == (np.int64, [9, 8, 7])


@pytest.mark.skipif(not MNIST.is_file(), reason=f"{MNIST} is not there")
def test_mnist_itself_is_loaded():
    x_train, _, x_test, y_test = load_mnist(MNIST)
    assert (x_train.shape, x_test.shape) == ((60000, 784), (10000, 784))
    assert np.bincount(y_test).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"x_train": np.zeros((6, 27, 28), np.uint8)},
            r"x_train is uint8 of shape \(6, 27, 28\), expected .*\(n, 28, 28\)",
        ),
        ({"x_test": np.zeros((3, 28, 28))}, "x_test is float64 .*expected uint8"),
        ({"x_test": np.zeros((0, 28, 28), np.uint8)}, r"x_test .*\(0, 28, 28\)"),
        ({"x_train": np.array(3, np.uint8)}, r"x_train is uint8 of shape \(\)"),
        ({"y_train": np.zeros(5, np.uint8)}, r"y_train is uint8 of shape \(5,\), expected uint8 of shape \(6,\)"),
        ({"y_test": np.array([1, 2, 10], np.uint8)}, "y_test holds the class 10"),
    ],
)
def test_mnist_of_a_wrong_type_is_refused(tmp_path: Path, changes: dict[str, np.ndarray], message: str):
    np.savez(tmp_path / "m.npz", **small_mnist(**changes))
    with pytest.raises(DataError, match=message):
        load_mnist(tmp_path / "m.npz")


def test_a_file_that_is_not_mnist_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match=r"none\.npz: there is no such file"):
        load_mnist(tmp_path / "none.npz")
    arrays = small_mnist()
    del arrays["y_test"], arrays["x_test"]
    np.savez(tmp_path / "part.npz", **arrays)
    with pytest.raises(DataError, match="has no x_test and no y_test; it has x_train, y_train"):
        load_mnist(tmp_path / "part.npz")
    np.save(tmp_path / "one.npy", arrays["x_train"])
    with pytest.raises(DataError, match="is one array"):
        load_mnist(tmp_path / "one.npy")
    np.savez(tmp_path / "whole.npz", **small_mnist())
    (tmp_path / "cut.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:2000])
    for name, content in (("text.npz", b"no archive"), ("empty.npz", b"")):
        (tmp_path / name).write_bytes(content)
    for name in ("cut.npz", "text.npz", "empty.npz"):
        with pytest.raises(DataError, match=f"{name} is damaged, or no .npz file"):
            load_mnist(tmp_path / name)


def archive(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return path


def as_npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def test_an_archive_that_claims_more_than_it_holds_takes_no_memory(tmp_path: Path):
    whole = {name: as_npy(array) for name, array in small_mnist().items()}
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"shape": (10**9, 28, 28), "fortran_order": False, "descr": "|u1"})
    claims = {**whole, "x_train": header.getvalue(), "y_train": header.getvalue().replace(b", 28, 28)", b",)       ")}
    archive(tmp_path / "claims.npz", **claims)
    archive(tmp_path / "bomb.npz", **{**whole, "x_train": whole["x_train"][:128] + bytes(100 << 20)})
    tracemalloc.start()
    with pytest.raises(DataError, match="x_train has 1,000,000,000 images, expected 1,000,000 at most"):
        load_mnist(tmp_path / "claims.npz")
    load_mnist(tmp_path / "bomb.npz")
    assert tracemalloc.get_traced_memory()[1] < 50 << 20
    tracemalloc.stop()


class Hostile:
    def __reduce__(self) -> Any:
        return pytest.fail, ("this was unpickled",)


def test_nothing_in_an_archive_is_unpickled(tmp_path: Path):
    whole = {name: as_npy(array) for name, array in small_mnist().items()}
    whole["y_test"] = as_npy(np.array([Hostile()] * 3, object))
    with pytest.raises(DataError, match="y_test is object"):
        load_mnist(archive(tmp_path / "pickle.npz", **whole))


def test_damage_anywhere_in_an_archive_is_one_error_or_harmless(tmp_path: Path):
    np.savez_compressed(tmp_path / "whole.npz", **small_mnist())
    whole = (tmp_path / "whole.npz").read_bytes()
    random = Random(0)
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(random.randint(1, 3)):
            damaged[random.randrange(len(damaged))] = random.randrange(256)
        (tmp_path / "damaged.npz").write_bytes(damaged)
        with warnings.catch_warnings(), contextlib.suppress(DataError):
            warnings.simplefilter("ignore")  # of names that stand in an archive twice
            load_mnist(tmp_path / "damaged.npz")
