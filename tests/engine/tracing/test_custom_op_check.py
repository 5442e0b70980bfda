"""`op.check`: a compiled kernel is held against its function, on memory that notices what it should not do."""

from __future__ import annotations

import math
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from user_kernels import gated, is_between, scaled_mish, segment_sum, stencil_gradients, tempered_softmax

LINE = np.random.default_rng(0).normal(size=9).astype(np.float32)
ROWS = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)


def same(x: Any, *others: Any) -> Any:
    return x


def test_a_right_kernel_passes():
    tempered_softmax.check(ROWS, temperature=2.0)
    stencil_gradients.check(LINE, LINE, LINE[:3])
    segment_sum.check(ROWS, np.array([0, 1, 1, 0, 2]), count=3)
    gated.check(ROWS, ROWS[0])
    scaled_mish.check(ROWS * 10)
    is_between.check(ROWS, 0, 1)
    tempered_softmax.check(ROWS[:0])


def test_an_element_that_is_not_written_is_noticed():
    @gl.custom_op(result=same)
    def holes(out, x):
        for i in range(x.shape[0] - 2):
            out[i] = x[i]

    with pytest.raises(AssertionError, match=r"holes: result 0: 2 of 9 elements are not written, the first at \(7,\)"):
        holes.check(LINE)


def test_a_kernel_that_reads_what_it_did_not_write_is_noticed():
    @gl.custom_op(result=same, scratch=lambda x: gl.spec(1, x.dtype))
    def unset(out, x, total):
        for i in range(x.shape[0]):
            total[0] += x[i]
            out[i] = total[0]

    with pytest.raises(AssertionError, match=r"unset: result 0 depends on what results or scratch held before"):
        unset.check(LINE)


def test_rows_that_depend_on_other_rows_are_noticed():
    @gl.custom_op(result=same, rows=0)
    def centred(out, x):
        for i in range(x.shape[0]):
            out[i] = x[i] - x[0]

    with pytest.raises(AssertionError, match=r"centred: result 0 is another where the rows are cut: .* leave rows="):
        centred.check(LINE)


def test_an_index_out_of_range_is_noticed():
    @gl.custom_op(result=same)
    def beyond(out, x):
        for i in range(x.shape[0]):
            out[i] = x[i + 1]

    with pytest.raises(IndexError, match="out of bounds"):
        beyond.check(LINE)


def test_numbers_that_differ_from_those_of_python_are_noticed():
    @gl.custom_op(result=same)
    def narrow(out, x):
        total = np.int32(2**31 - 1)
        for i in range(x.shape[0]):
            out[i] = np.int64(total + np.int32(1))

    with pytest.raises(AssertionError, match=r"the result of narrow: machine code and the function in Python differ"):
        narrow.check(LINE.astype("int64"))


def test_an_input_that_is_written_is_noticed():
    @gl.custom_op(result=same)
    def careless(out, x):
        x[0] = math.pi
        out[:] = 0

    with pytest.raises(ValueError, match="read-only"):
        careless.check(LINE)
