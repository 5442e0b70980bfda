"""What the namespace says of itself, and the arguments of the Array API that name a device."""

import gradloom as gl
import gradloom.numpy as gnp
import numpy as np
import pytest


def test_the_namespace_says_what_it_has():
    info = gnp.__array_namespace_info__()
    assert gnp.__array_api_version__ == "2024.12"
    assert info.devices() == ["cpu"]
    assert info.default_device() == "cpu"
    assert info.capabilities()["boolean indexing"] is False
    assert info.default_dtypes()["integral"] == np.int64
    assert info.default_dtypes(device="cpu")["real floating"] == np.float64
    assert {"bool", "uint8", "int32", "int64", "float32", "float64"} <= info.dtypes().keys()
    assert info.dtypes(kind="real floating").keys() == {"float32", "float64"}
    assert info.dtypes(kind=("bool", "unsigned integer")) == {"bool": np.dtype("bool"), "uint8": np.dtype("uint8")}
    with pytest.raises(ValueError, match="kind"):
        info.dtypes(kind="whole")
    with pytest.raises(ValueError, match="device='gpu'"):
        info.default_dtypes(device="gpu")


def test_a_traced_array_gives_the_namespace():
    def program(x):
        return x.__array_namespace__(api_version="2024.12").sum(x)

    assert gl.compile(program)(np.arange(3.0)) == 3


def test_kinds_of_dtypes_know_bfloat16():
    assert gnp.isdtype(gnp.bfloat16, "real floating")
    assert gnp.isdtype(gnp.bfloat16, ("bool", "numeric"))
    assert gnp.isdtype(np.dtype(gnp.bfloat16), gnp.bfloat16)
    assert not gnp.isdtype(gnp.bfloat16, "integral")
    assert gnp.isdtype(np.float32, ("integral", gnp.bfloat16, np.float32))
    assert not gnp.isdtype(np.float32, gnp.bfloat16)
    with pytest.raises(ValueError, match="kind"):
        gnp.isdtype(gnp.bfloat16, "whole")


def test_arrays_are_made_for_the_cpu_alone():
    def program(x):
        made = [gnp.zeros_like(x, device="cpu"), gnp.full((2,), 3, device="cpu"), gnp.linspace(x[0], 1, 2)]
        return [x.to_device("cpu"), gnp.astype(x, "float32", device="cpu"), gnp.asarray(x, device="cpu"), *made]

    assert len(gl.interpret(gl.trace(program, np.ones(2)), np.ones(2))) == 6
    makers = [
        lambda x: gnp.ones_like(x, device="cuda"),
        lambda x: gnp.full((2,), x[0], device="cuda"),
        lambda x: gnp.linspace(0, x[0], 3, device="cuda"),
        lambda x: gnp.asarray(x, device="cuda"),
        lambda x: gnp.astype(x, "int32", device="cuda"),
        lambda x: x.to_device("cuda"),
        lambda x: gnp.from_dlpack(np.ones(2), device="cuda"),
    ]
    for maker in makers:
        with pytest.raises(ValueError, match=r"'cpu'; gl.compile\(fn, target=...\).*test_namespace_info.py"):
            gl.trace(maker, np.ones(2))
    with pytest.raises(ValueError, match="stream is None"):
        gl.trace(lambda x: x.to_device("cpu", stream=1), np.ones(2))


def test_what_exports_its_memory_becomes_an_array():
    values = np.arange(3.0)
    np.testing.assert_array_equal(gnp.from_dlpack(values), values)
    assert np.shares_memory(gnp.from_dlpack(values), values)
    assert not np.shares_memory(gnp.from_dlpack(values, copy=True), values)
    table = gl.compile(lambda i: gnp.from_dlpack(values)[i])
    np.testing.assert_array_equal(table(np.array([2, 0])), [2, 0])
    with pytest.raises(TypeError, match="float16 is not supported"):
        gnp.from_dlpack(values.astype("float16"))


def test_an_array_of_a_traced_one_is_a_copy_where_it_is_asked_for():
    def program(x):
        x = x + 0
        copied, same = gnp.asarray(x, copy=True), gnp.asarray(x, copy=False)
        x += 1
        return copied, same

    copied, same = gl.compile(program)(np.zeros(2))
    np.testing.assert_array_equal((copied, same), [[0, 0], [1, 1]])
    with pytest.raises(ValueError, match="copy=False makes no float32"):
        gl.trace(lambda x: gnp.asarray(x, dtype="float32", copy=False), np.zeros(2))


def test_frequencies_have_the_dtype_that_is_asked_for():
    found = gl.compile(lambda d: (gnp.fft.fftfreq(4, d[0], dtype="float32"), gnp.fft.rfftfreq(4, dtype="float32")))
    for frequencies, expected in zip(found(np.array([0.5])), (np.fft.fftfreq(4, 0.5), np.fft.rfftfreq(4))):
        assert frequencies.dtype == "float32"
        np.testing.assert_array_equal(frequencies, expected)
    with pytest.raises(TypeError, match=r"frequencies are float32 or float64.*test_namespace_info.py"):
        gl.trace(lambda x: x + gnp.fft.fftfreq(4, dtype="int32"), np.ones(4))
