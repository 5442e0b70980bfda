"""bfloat16: one rounding of each result of an op, whose arithmetic is float32's; its rows of the table of ops."""

import gradloom as gl
import ml_dtypes
import numpy as np
import pytest
from gradloom.ir import BFLOAT16, DTYPES, OPS, Builder, TypeRuleError, as_dtype, finfo, interpret, kind_of, parse, spec
from op_cases import BFLOAT16_CASES, assert_matches, sample


def _run(name, *arrays, **attrs):
    b = Builder()
    inputs = [b.input(spec(x.shape, x.dtype)) for x in arrays]
    graph = b.graph(b.emit_node(OPS[name], *inputs, **attrs).outputs)
    assert str(parse(str(graph))) == str(graph)
    return interpret(graph, *arrays)[0]


def _bits(*values):
    return np.array(values, np.uint32).view(np.float32)


@pytest.mark.parametrize("case", BFLOAT16_CASES, ids=str)
def test_an_op_computes_in_float32_and_rounds_once(case):
    arrays = sample(case)
    (result,) = interpret(case.graph(), *arrays)
    wide = [x.astype("float32") if x.dtype == BFLOAT16 else x for x in arrays]
    if case.name == "window_find":
        wide[1] = np.asarray(OPS["window_max"].reference(wide[0], **case.attrs))
    attrs = {k: np.dtype("float32") if v == BFLOAT16 else v for k, v in case.attrs.items() if k == "dtype"}
    exact = case.op.reference(*wide, **{**case.attrs, **attrs})
    with np.errstate(all="ignore"):
        assert_matches(case, result, np.asarray(exact).astype(result.dtype))


def test_it_is_one_of_the_dtypes():
    assert as_dtype("bfloat16") == as_dtype(ml_dtypes.bfloat16) == BFLOAT16 == np.dtype(gl.numpy.bfloat16)
    assert str(spec((2,), "bfloat16")) == "bf16[2]"
    assert spec((3,), "bfloat16").nbytes == 6
    assert [kind_of(d) for d in DTYPES] == ["b", "u", "i", "i", "f", "f", "f", "c", "c"]
    assert float(finfo(BFLOAT16).eps) == 2**-7
    assert float(finfo(np.dtype("float32")).eps) == 2**-23


def test_a_half_is_rounded_to_even():
    x = _bits(0x3F808000, 0x3F818000, 0x3F808001, 0x3F807FFF, 0x7F7FFFFF, 0x00008000, 0x00018000, 0xFF7FFFFF)
    result = _run("cast", x, dtype=BFLOAT16).view(np.uint16)
    assert [hex(v) for v in result] == ["0x3f80", "0x3f82", "0x3f81", "0x3f80", "0x7f80", "0x0", "0x2", "0xff80"]


def test_special_values_stay():
    x = np.array([np.nan, np.inf, -np.inf, -0.0, 1e-40, -1e-45], np.float32)
    result = _run("cast", x, dtype=BFLOAT16)
    assert [hex(v) for v in result.view(np.uint16)] == ["0x7fc0", "0x7f80", "0xff80", "0x8000", "0x1", "0x8000"]
    assert np.isnan(_run("cast", _bits(0x7F800001), dtype=BFLOAT16)).all()
    back = _run("cast", result, dtype=np.dtype("float32"))
    np.testing.assert_array_equal(back[:4], x[:4])


def test_a_sum_is_float32_inside():
    x = np.ones(1000, BFLOAT16)
    assert float(_run("reduce_sum", x, axes=(0,))) == 1000  # additions of bfloat16 would end at 256
    assert float(_run("dot", x, x, contract=((0,), (0,)), batch=((), ()))) == 1000


def test_dtypes_do_not_mix_in_an_op():
    b = Builder()
    x, y = b.input(spec((2,), "bfloat16")), b.input(spec((2,), "float32"))
    with pytest.raises(TypeRuleError, match="dtypes differ: bf16"):
        b.emit(OPS["add"], x, y)


def test_constants_have_the_numbers_of_their_text():
    x = np.array([0.1, np.nan, np.inf, 1e-40, -0.0, 3e38], np.float32).astype(BFLOAT16)
    b = Builder()
    graph = b.graph([b.constant(x), b.full(0.1, spec((), "bfloat16"))])
    text = str(graph)
    assert "value=0.10009765625" in text
    assert str(parse(text)) == text
    np.testing.assert_array_equal(interpret(parse(text))[0].view(np.uint16), x.view(np.uint16))
