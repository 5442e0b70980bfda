"""Every op as ONNX: onnxruntime gives what the interpreter gives, and so does what is read back; or it is refused."""

from collections import defaultdict

import gradloom as gl
import numpy as np
import pytest
from gradloom.engine.onnx.writing.emitter import tensor_of
from gradloom.engine.onnx.writing.model import model_of
from gradloom.engine.onnx.writing.symbolic_graph import merged
from gradloom.ir import BFLOAT16, OPS
from gradloom.ir.ops import collectives, elementwise, special
from op_cases import CASES, sample

pytestmark = pytest.mark.onnx
onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

WITHOUT_OPERATOR = "ONNX has no operator for"
SPECIAL = {op for op in OPS.values() if op in vars(special).values() and op not in vars(elementwise).values()}
SPECIAL -= {special.erfc}
REFUSED = {
    "cholesky": WITHOUT_OPERATOR,
    "conv_add": WITHOUT_OPERATOR,
    "conv_weight_gradient": WITHOUT_OPERATOR,
    "conv_weight_gradient_add": WITHOUT_OPERATOR,
    "dot_add": WITHOUT_OPERATOR,
    "dot_parts": WITHOUT_OPERATOR,
    "eig": WITHOUT_OPERATOR,
    "eigh": WITHOUT_OPERATOR,
    "fft": "transforms of Fourier are not written",
    "irfft": "transforms of Fourier are not written",
    "lu": WITHOUT_OPERATOR,
    "moments": WITHOUT_OPERATOR,
    "qr": WITHOUT_OPERATOR,
    "rfft": "transforms of Fourier are not written",
    "random_bits": "draws random numbers",
    "slogdet": WITHOUT_OPERATOR,
    "solve": WITHOUT_OPERATOR,
    "svd": WITHOUT_OPERATOR,
    "triangular_solve": WITHOUT_OPERATOR,
    "window_find": WITHOUT_OPERATOR,
    "window_pick": WITHOUT_OPERATOR,
    "window_put": WITHOUT_OPERATOR,
}
COLLECTIVES = {op for op in OPS.values() if op in vars(collectives).values()}
REFUSED |= {case.name: WITHOUT_OPERATOR for case in CASES if case.op in SPECIAL | COLLECTIVES}
"""Ops that are refused, and what the message says. Some are made by passes alone, after which nothing is written."""
PARTLY = {
    "conv": "without axes behind the channels",
    "dynamic_slice": "elsewhere in each entry of a batch",
    "dynamic_update_slice": "elsewhere in each entry of a batch",
    "shift_left": "unsigned integers alone",
    "shift_right": "unsigned integers alone",
}
"""Ops that are refused for some types or attributes."""


def in_bounds(case, actual, expected):
    assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype), case
    least = {"float64": 1e-12, "bfloat16": 2e-2}.get(expected.dtype.name, 1e-5)
    wide, other = actual.astype("float64"), expected.astype("float64")
    finite = np.abs(other[np.isfinite(other)])
    scale = float(finite.max()) if finite.size else 1.0
    np.testing.assert_allclose(wide, other, rtol=0, atol=max(case.tolerance, least) * scale, err_msg=str(case))


def written(case):
    """An op as a model, or `None` and why it is refused."""
    graph = case.graph()
    inputs, outputs = ([f"{c}{i}" for i in range(len(v))] for c, v in (("x", graph.inputs), ("y", graph.outputs)))
    try:
        model, tensors = model_of(merged([graph], [0]), {}, inputs, outputs)
    except gl.OnnxError as error:
        return None, str(error)
    model.graph.initializer.extend(tensor_of(name, array) for name, array in tensors.items())
    onnx.checker.check_model(model, full_check=True)
    return model, ""


def run(model, arrays):
    """What onnxruntime computes; `None` where it has no kernel for the types."""
    try:
        session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    except Exception as error:
        if "NOT_IMPLEMENTED" in str(error) or "NotImplemented" in type(error).__name__:
            return None
        raise
    return session.run(None, {each.name: x for each, x in zip(session.get_inputs(), arrays)})


@pytest.fixture(scope="module", autouse=True)
def _quiet():
    ort.set_default_logger_severity(4)


@pytest.mark.parametrize("family", sorted({op.family for op in OPS.values()}))
def test_every_op_is_written_or_refused(family):
    for case in CASES:
        if case.op.family != family:
            continue
        model, refusal = written(case)
        if model is None:
            assert (REFUSED | PARTLY).get(case.name, "?") in refusal, case
            continue
        arrays = sample(case)
        expected = gl.interpret(case.graph(), *arrays)
        # onnxruntime repeats to no elements wrongly, and has the least number for the largest of nothing.
        fits = all(y.size for y in expected) and not any(np.isinf(y.astype("float64")).any() for y in expected)
        if fits and all(t.dtype != BFLOAT16 and t.dtype != np.dtype("float64") for t in case.types):
            for mine, theirs in zip(run(model, arrays) or expected, expected, strict=True):
                in_bounds(case, mine, theirs)
        if case.name == "pow" and expected[0].dtype.kind == "i":
            continue  # a negative power of an integer is an error here
        back = gl.nn.functional_call(gl.from_onnx(model), {}, *arrays)
        for mine, theirs in zip(back if isinstance(back, tuple) else (back,), expected, strict=True):
            in_bounds(case, mine, theirs)


def test_an_op_that_is_refused_is_refused_in_some_case():
    seen = defaultdict(set)
    for case in CASES:
        if case.name in REFUSED | PARTLY:
            seen[case.name].add("refused" if written(case)[0] is None else "written")
    assert {name for name, found in seen.items() if found == {"refused"}} == set(REFUSED)
    assert {name for name, found in seen.items() if len(found) == 2} == set(PARTLY)
