"""Arrays go to other libraries of the GPU and come from them without the host, in the order of streams."""

from __future__ import annotations

import ctypes
import gc
from typing import Any

import gradloom as gl
import ml_dtypes
import numpy as np
import pytest
from gradloom import nn, optim
from gradloom.runtime.cuda import dlpack
from gradloom.runtime.fake_gpu.driver import FakeDriver
from on_fake_gpu import fake_gpu

LEGACY = 1


class OnDevice:
    """An array that another library has on the device, by one of the protocols."""

    def __init__(self, driver: FakeDriver, array: Any, device: int = 0) -> None:
        self.array, self.device, self.streams = array, device, []
        self.driver = driver
        self.address = driver.cuMemAlloc(max(array.nbytes, 1))[1]
        self.put(array)

    def put(self, array: Any) -> None:
        """Let the library write it, on its stream."""
        array = np.ascontiguousarray(array)
        place = self.driver.cuMemHostAlloc(array.nbytes, 0)[1]
        ctypes.memmove(place, array.ctypes.data, array.nbytes)
        self.driver.cuMemcpyHtoDAsync(self.address, place, array.nbytes, self.driver.stream(LEGACY))


class ByInterface(OnDevice):
    strides: Any = None

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {"version": 3, "shape": self.array.shape, "typestr": self.array.dtype.str, "strides": self.strides,
                "data": (self.address, False), "stream": LEGACY}  # fmt: skip


class ByDlpack(OnDevice):
    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, self.device

    def __dlpack__(self, *, stream: int) -> Any:
        self.driver.cuStreamSynchronize(self.driver.stream(LEGACY))
        self.streams.append(stream)
        return dlpack.capsule_of(self.address, self.array.shape, self.array.dtype, (2, self.device), self)


def make_step() -> Any:
    def loss_fn(model: Any, batch: Any) -> Any:
        return np.mean((model(batch["x"]) - batch["y"]) ** 2)

    batch = {"x": gl.spec((4, 3)), "y": gl.spec((4, 2))}
    return gl.compile_step(nn.Linear(3, 2), loss_fn, optim.SGD(0.1), batch, target="cuda")


def batches(n: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    return [{k: rng.standard_normal((4, w)).astype(np.float32) for k, w in (("x", 3), ("y", 2))} for _ in range(n)]


@pytest.mark.parametrize("kind", [ByInterface, ByDlpack])
def test_a_batch_on_the_device_is_read_there_before_its_library_writes_it_again(kind: type[OnDevice]):
    with fake_gpu() as driver:
        step, other = make_step(), make_step()
        given = batches(5)
        x = kind(driver, given[0]["x"])
        step({"x": x, "y": given[0]["y"]})  # captures the graph
        for batch in given[1:]:
            x.put(batch["x"])  # the step before may not have been done yet
            done = driver.launches
            loss = step({"x": x, "y": batch["y"]})
            assert driver.launches == done or kind is ByDlpack
        for batch in given:
            expected = other(batch)
        assert float(loss) == float(expected)
        assert step.parameters()["weight"].tobytes() == other.parameters()["weight"].tobytes()
        assert len(set(x.streams)) <= 1


def test_functions_take_arrays_of_the_device_too():
    with fake_gpu() as driver:
        step = make_step()
        batch = batches(1)[0]
        x = ByDlpack(driver, batch["x"])
        predict = step.bind(lambda model, x: model(x))
        np.testing.assert_array_equal(predict(x), predict(batch["x"]))
        compiled = gl.compile(lambda x, k: x.sum(axis=0) * k, target="cuda")
        np.testing.assert_array_equal(compiled(x, 2.0), compiled(batch["x"], 2.0))
        loss = step({"x": x, "y": batch["y"]})
        assert compiled(batch["x"], loss).shape == (3,)
        assert gl.compile(lambda x, k: x * k)(np.ones(2, np.float32), loss)[0] == float(loss)
        assert step.gradients({"x": x, "y": batch["y"]}).keys() == {"weight", "bias"}


def test_what_cannot_be_read_there_is_refused_by_name():
    with fake_gpu() as driver:
        step = make_step()
        batch = batches(1)[0]
        turned = ByInterface(driver, batch["x"])
        turned.strides = (4, 16)
        with pytest.raises(TypeError, match=r"batch.x: .* strides of \(1, 4\) elements .* write x.contiguous\(\)"):
            step({"x": turned, "y": batch["y"]})
        with pytest.raises(TypeError, match=r"batch.x: an array of cuda:1 was given, and the program is on cuda:0"):
            step({"x": ByDlpack(driver, batch["x"], device=1), "y": batch["y"]})
        with pytest.raises(TypeError, match=r"batch.x is int64 of shape \(4, 3\), the step was compiled for float32"):
            step({"x": ByInterface(driver, np.ones((4, 3), np.int64)), "y": batch["y"]})
        assert step.steps == 0


def test_parameters_are_handed_out_where_they_are():
    with fake_gpu() as driver:
        step = make_step()
        step(batches(1)[0])
        weight = step.device_arrays()["weight"]
        assert weight.shape == (2, 3)
        told = weight.__cuda_array_interface__
        assert (told["version"], told["shape"], told["typestr"], told["strides"]) == (3, (2, 3), "<f4", None)
        assert driver.stream(told["stream"]) is not driver.stream(LEGACY)
        np.testing.assert_array_equal(weight, step.parameters()["weight"])
        assert weight.__dlpack_device__() == (2, 0)
        copied = OnDevice(driver, np.zeros((2, 3), np.float32))
        capsule = weight.__dlpack__(stream=None)
        source = dlpack.content(capsule)
        expected = step.parameters()["weight"]
        # Another library copies it on its stream; the next step, which comes later, waits for that.
        driver.cuMemcpyDtoDAsync(copied.address, source.address, 24, driver.stream(LEGACY))
        step(batches(1)[0])
        assert step.steps == 2
        found = (ctypes.c_float * 6).from_address(copied.address)
        assert bytes(found) == expected.tobytes()
        with pytest.raises(BufferError, match=r"array.copy\(\) is one of the host"):
            weight.__dlpack__(dl_device=(1, 0))
        weight[...] = np.ones((2, 3))
        assert (step.parameters()["weight"] == 1).all()


def test_on_a_cpu_the_live_arrays_are_numpys():
    step = gl.compile_step(nn.Linear(3, 2), lambda m, b: np.mean(m(b) ** 2), optim.SGD(0.1), gl.spec((4, 3)))
    weight = np.from_dlpack(step.device_arrays()["weight"])
    before = weight.copy()
    step(np.ones((4, 3), np.float32))
    assert (weight != before).any()


class OnHost:
    """Ours, said to be on the host, for NumPy to take."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0

    def __dlpack__(self, **options: Any) -> Any:
        array = self.array
        return dlpack.capsule_of(array.ctypes.data, array.shape, array.dtype, (1, 0), array)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "int64", "float32", "float64"])
def test_capsules_are_numpys(dtype: str):
    for shape in ((), (0,), (3,), (2, 3, 4)):
        array = np.array(np.arange(np.prod(shape, dtype=int)).reshape(shape) % 2, dtype)
        told = dlpack.content(array.__dlpack__())
        assert (told.shape, told.dtype) == (shape, array.dtype)
        assert told.address == array.ctypes.data or array.size == 0
        taken = np.from_dlpack(OnHost(array))
        assert taken.dtype == array.dtype
        np.testing.assert_array_equal(taken, array)
        assert dlpack._alive
        del taken
    unused = dlpack.capsule_of(0, (2,), np.dtype(ml_dtypes.bfloat16), (1, 0), None)
    assert dlpack.content(unused).dtype == ml_dtypes.bfloat16
    del unused, told
    gc.collect()
    assert not dlpack._alive
    with pytest.raises(TypeError, match=r"DLPack's type \(5, 128 bits"):
        dlpack.content(np.ones(2, np.complex128).__dlpack__())
