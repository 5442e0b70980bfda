"""The node tests of ONNX's own backend tests: every operator, read, traced and computed by the interpreter.

What is left out is left out by a rule below, with its reason, and must be refused or differ: what begins to pass fails.
"""

import copy
import functools
import string
import warnings

import gradloom as gl
import numpy as np
import pytest
from gradloom.engine.nn.binding import bind
from gradloom.engine.tracing.trace import trace_with_structure

pytestmark = pytest.mark.onnx
onnx = pytest.importorskip("onnx")

DTYPES = {"bool", "uint8", "int32", "int64", "bfloat16", "float", "double"}
LEAST_OPSET = 13
OPERATORS = {
    "BitCast": "the bits of one dtype as another are no operation on numbers",
    "ImageDecoder": "it reads encoded images; gl.data reads folders of them",
}
"""Operators for floats, integers and bools that are left out, and why."""
RANDOM = {
    "test_bernoulli",
    "test_bernoulli_double",
    "test_bernoulli_double_expanded",
    "test_bernoulli_expanded",
    "test_bernoulli_seed",
    "test_bernoulli_seed_expanded",
    "test_training_dropout",
    "test_training_dropout_default",
    "test_training_dropout_default_mask",
    "test_training_dropout_mask",
}
"""Tests that expect the bits that NumPy draws."""


@functools.cache
def cases():
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(collect_testcases(None))


def reason(case):
    """Why a case is left out, or nothing."""
    opsets = {each.domain: each.version for each in case.model.opset_import}
    graph = case.model.graph
    kinds = {each.type.WhichOneof("value") for each in (*graph.input, *graph.output)}
    dtypes = {onnx.helper.tensor_dtype_to_string(n).split(".")[1].lower() for n in element_types(case.model)}
    operators = {node.op_type for node in graph.node}
    if opsets.get("", LEAST_OPSET) < LEAST_OPSET:
        return "opset"
    if kinds - {"tensor_type"}:
        return "sequences and optional values"
    if dtypes - DTYPES:
        return "dtype"
    if any(node.domain not in ("", "ai.onnx.preview") for node in graph.node):
        return "domain"
    if operators & set(OPERATORS):
        return "operator"
    return "random" if case.name in RANDOM else ""


def element_types(model):
    """The element types of inputs, outputs and attributes."""
    for each in (*model.graph.input, *model.graph.output):
        if each.type.WhichOneof("value") == "tensor_type":
            yield each.type.tensor_type.elem_type
    yield from types_of_nodes(model.graph.node)
    for function in model.functions:
        yield from types_of_nodes(function.node)


def types_of_nodes(nodes):
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t.data_type
            if attribute.name in ("to", "dtype", "output_datatype") and node.domain == "" and attribute.i:
                yield attribute.i
            if attribute.HasField("g"):
                yield from types_of_nodes(attribute.g.node)


def arrays(values):
    return [onnx.numpy_helper.to_array(v) if isinstance(v, onnx.TensorProto) else np.asarray(v) for v in values]


def results(model, inputs, compiled=False):
    """What a model gives for these inputs, in training."""
    named = dict(zip(model.input_names, inputs))
    fixed = {name: named.pop(name) for name in model.known_inputs}

    def run(arguments):
        stored = {each: each.initial(name) for name, each in model.all_stored()}
        with gl.random.key(0), bind(model, stored, "train"):
            got = model(**arguments, **fixed)
        return got if isinstance(got, tuple) else (got,)

    return gl.compile(run)(named) if compiled else trace_with_structure(run, named)(named)


def check(case, compiled=False):
    model = gl.from_onnx(case.model)
    for inputs, outputs in case.data_sets:
        got = results(model, arrays(inputs), compiled)
        assert len(got) == len(outputs)
        for mine, theirs in zip(got, arrays(outputs)):
            assert mine.dtype == theirs.dtype
            assert mine.shape == theirs.shape
            # The expected values are rounded to their dtype too.
            rtol, atol = (1e-2, 1e-2) if mine.dtype.name == "bfloat16" else (case.rtol, 3 * case.atol)
            np.testing.assert_allclose(mine.astype("float64"), theirs.astype("float64"), rtol, atol)


@pytest.mark.parametrize("letter", string.ascii_lowercase)
def test_every_case_passes_that_is_not_left_out(letter):
    failed = []
    for case in cases():
        if case.name.removeprefix("test_").startswith(letter) and not reason(case):
            try:
                check(case)
            except Exception as error:
                failed.append(f"{case.name}: {type(error).__name__}: {str(error).strip()[:200]}")
    assert not failed, "\n".join(failed)


def test_every_case_that_is_left_out_is_refused_or_differs():
    wrong = []
    left_out = {case.name: why for case in cases() if (why := reason(case))}
    for case in cases():
        why = left_out.get(case.name)
        if why is None:
            continue
        try:
            check(case)
            wrong.append(f"{case.name} ({why}): passes")
        except (gl.OnnxError, AssertionError) as error:
            if isinstance(error, AssertionError) != (why == "random"):
                wrong.append(f"{case.name} ({why}): {type(error).__name__}: {str(error).strip()[:200]}")
    assert not wrong, "\n".join(wrong)
    assert len(cases()) - len(left_out) > 1398


def test_operators_on_integers_are_what_they_were_before_the_first_opset_that_is_read():
    names = ("convinteger", "matmulinteger", "qlinearconv", "dynamicquantizelinear")
    found = [case for case in cases() if any(name in case.name for name in names)]
    assert len(found) == 10
    for case in found:
        newer = copy.deepcopy(case)
        for each in newer.model.opset_import:
            each.version = LEAST_OPSET
        check(newer)


def test_cases_that_are_compiled_give_the_same():
    sample = [
        "test_conv_with_strides_padding",
        "test_lstm_with_peepholes",
        "test_attention_4d_causal",
        "test_scan9_sum",
    ]
    sample += ["test_resize_upsample_scales_cubic", "test_layer_normalization_2d_axis1", "test_gridsample_bicubic"]
    sample += ["test_batchnorm_epsilon_training_mode", "test_scatter_elements_with_reduction_max", "test_top_k"]
    sample += ["test_maxpool_2d_dilations", "test_gru_seq_length", "test_einsum_batch_matmul", "test_range_int32_type"]
    found = [case for case in cases() if case.name in sample and not reason(case)]
    assert len(found) >= 11
    for case in found:
        check(case, compiled=True)
