"""The same sources through numba.cuda. It needs the package numba-cuda with NVVM, and no GPU."""

import contextlib
import re

import gradloom as gl
import pytest
from gpu_sources import SOURCES, elementwise_source, free_calls
from gradloom.ir import DTYPES
from gradloom.runtime.codegen.kernel_cache import KernelRequest
from gradloom.runtime.cuda.assembler import assemble
from gradloom.runtime.cuda.ptx import ARCHITECTURES, CodeError
from gradloom.runtime.cuda.ptx import compile_ptx as compile_ours
from gradloom.runtime.lowering import launch_list
from gradloom.runtime.lowering.namespace import kernel_namespace
from gradloom.tools.find_recipe import make_recipe
from op_cases import BFLOAT16_CASES, CASES

pytestmark = pytest.mark.cuda

pytest.importorskip("cuda.bindings.nvrtc")
pytest.importorskip("numba_cuda")
numba_ptx = pytest.importorskip("gradloom.runtime.cuda.numba_ptx")


def function(source):
    return KernelRequest(source, "kernel", kernel_namespace).function()


def ptx(source, words, arch="sm_90", entry="kernel"):
    return numba_ptx.compile_ptx(function(source), words, arch, entry)


def contracted(text):
    return len(re.findall(r"\bfma\.", text))


@pytest.mark.parametrize("name", SOURCES)
def test_a_kernel_is_compiled_with_its_parameters_and_without_contraction(name):
    source, words = SOURCES[name]
    for arch in ARCHITECTURES:
        text = ptx(source, words, arch, f"k_{name}").text
        assert f".target {arch}\n" in text
        assert f".visible .entry k_{name}(" in text
        assert len(re.findall(r"^\s*\.param ", text, re.MULTILINE)) == words + 1
        if name != "softmax":  # whose exponential is written with fma
            assert contracted(text) == 0


def test_both_compilers_live_in_one_process():
    source, words = SOURCES["saxpy"]
    assert ptx(source, words).entry == "kernel"
    assert "mul.rn.f32" in compile_ours(function(source), words, "sm_90").text


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_element_wise_op_is_compiled(dtype):
    source, words = elementwise_source([c for c in (*CASES, *BFLOAT16_CASES) if c.op.is_elementwise], dtype)
    assert ".visible .entry" in ptx(source, words).text


@pytest.mark.slow
def test_kernels_of_a_plan_for_a_cpu_are_compiled_as_they_are_but_for_those_of_vectors():
    launches = launch_list.lower(gl.plan_step(*make_recipe("mlp_s"), target="cpu:avx512").plan)
    sources = {call.source: len(call.args) for call in free_calls(launches)}
    compiled = 0
    for source, words in sources.items():
        with contextlib.suppress(CodeError):
            compiled += ".visible .entry" in ptx(source, words).text
    assert compiled > len(sources) // 2


def test_its_ptx_becomes_machine_code():
    for name in ("column_parts", "softmax"):
        cubin = assemble(ptx(*SOURCES[name]))
        assert (cubin.code[:4], cubin.spilled_bytes) == (b"\x7fELF", 0)


def test_a_kernel_may_call_its_variables_what_it_likes():
    source = "def kernel(b):\n    x = array_f32(word(b, 0), 0)\n    element = f32(2.0)\n    error = x[1] * element\n"
    assert "st.global" in ptx(source + "    x[0] = f32(error + element)\n", 1).text


def test_a_variable_may_have_the_name_of_the_function_around_it():
    part = "def part0(x):\n    part0 = x[1]\n    x[0] = part0\n\n\n"
    assert "st.global" in ptx(part + "def kernel(b):\n    part0(array_f32(word(b, 0), 0))\n", 1).text


def test_what_it_has_no_code_for_is_told():
    with pytest.raises(CodeError, match="has no code for the kernel kernel for sm_90"):
        ptx("def kernel(b):\n    x = shared_f32(word(b, 0))\n", 1)
