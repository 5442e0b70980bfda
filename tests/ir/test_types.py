"""Array types and specs."""

import numpy as np
import pytest
from gradloom.ir import DTYPES, ArrayType, as_dtype, has_one_value, is_float, spec, type_of


def test_a_type_knows_its_size():
    t = spec((2, 3, 4), "int32")
    assert (t.ndim, t.size, t.nbytes, str(t)) == (3, 24, 96, "i32[2,3,4]")
    t = spec((), "float64")
    assert (t.ndim, t.size, t.nbytes, str(t)) == (0, 1, 8, "f64[]")
    assert spec((3, 0), "bool").nbytes == 0


def test_sizes_beyond_32_bits_are_exact():
    assert spec((1 << 40, 1 << 40), "float32").nbytes == 1 << 82


def test_spec_takes_lengths_of_any_integers():
    assert spec(3) == spec((3,)) == spec([3]) == spec(np.int64(3)) == spec(np.array([3])) == spec((np.uint8(3),))
    assert spec((), "float32") == ArrayType((), np.dtype("float32"))
    assert [type(n) for n in spec((np.int64(3), 4)).shape] == [int, int]


@pytest.mark.parametrize("shape", [True, (2, False), 2.0, (2, 3.0), "23", ("2",), None, (None,), ((1, 2),)])
def test_a_shape_that_is_not_integers_is_refused(shape):
    with pytest.raises(TypeError, match="a shape is made of integers, got "):
        spec(shape)


@pytest.mark.parametrize("shape", [-1, (2, -3)])
def test_a_negative_length_is_refused(shape):
    with pytest.raises(ValueError, match=r"a shape has no negative lengths, got \(.*-"):
        spec(shape)


@pytest.mark.parametrize("name", ["float8", "real", "Float32", object()])
def test_what_numpy_has_no_dtype_for_is_refused_with_those_that_there_are(name):
    with pytest.raises(TypeError, match=r"^dtype .* is not supported; use one of bool, uint8, "):
        spec((2,), name)


@pytest.mark.parametrize("dtype", ["float16", "complex256", "int8", "uint32", "U3", "O", "datetime64[s]"])
def test_a_dtype_that_there_is_not_is_refused_with_what_to_write(dtype):
    with pytest.raises(TypeError, match=r"is not supported; use one of bool, uint8, .*x\.astype\('float32'\)"):
        spec((2,), dtype)
    with pytest.raises(TypeError, match="is not supported"):
        type_of(np.zeros(1, dtype))


def test_a_dtype_may_be_given_as_numpy_takes_it():
    assert {as_dtype(d) for d in ("float32", np.float32, np.dtype("<f4"), ">f4", "f")} == {np.dtype("float32")}
    assert as_dtype(float) == np.dtype("float64")
    assert as_dtype(bool) == np.dtype("bool")


def test_three_dtypes_are_floats():
    assert [d.name for d in DTYPES if is_float(d)] == ["bfloat16", "float32", "float64"]


def test_type_of_reads_shape_and_dtype():
    assert type_of(np.zeros((2, 0), "uint8")) == spec((2, 0), "uint8")


def test_equal_types_are_one_key():
    assert len({spec((2,), "float32"), spec([2], np.float32), spec((2,), "float64")}) == 2


def test_a_type_that_is_not_allowed_still_prints():
    assert str(ArrayType((2,), np.dtype("int8"))) == "int8[2]"


@pytest.mark.parametrize(
    ("array", "one"),
    [
        *((np.zeros((3, 40_000), "float32"), True), (np.full((2, 3), np.nan), True), (np.ones(()), True)),
        *((np.broadcast_to(np.float32(7), (1 << 40, 3)), True), (np.zeros((50, 9)).T[::2], True)),
        *((np.zeros((0, 3)), False), (np.arange(3), False), (np.array([0.0, -0.0]), False)),
        *((np.r_[np.zeros(50_000), 1.0], False), (np.broadcast_to(np.arange(3.0), (4, 3)), False)),
    ],
)
def test_an_array_has_one_value_where_all_its_bits_repeat(array, one):
    assert has_one_value(array) == one
