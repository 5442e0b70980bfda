"""PTX of kernels: what stands in the text, and what is refused. No GPU is asked, and none of CUDA's packages."""

import re

import gradloom as gl
import llvmlite.binding as llvm
import pytest
from gpu_sources import SOURCES, elementwise_source, free_calls
from gradloom.ir import DTYPES
from gradloom.runtime.codegen.kernel_cache import KernelRequest
from gradloom.runtime.cuda.ptx import ARCHITECTURES, MOST_WORDS, CodeError, compile_ptx
from gradloom.runtime.lowering import launch_list
from gradloom.runtime.lowering.namespace import kernel_namespace
from gradloom.tools.find_recipe import make_recipe
from op_cases import BFLOAT16_CASES, CASES


def ptx(source, words, arch="sm_90", entry="kernel"):
    return compile_ptx(KernelRequest(source, "kernel", kernel_namespace).function(), words, arch, entry).text


def test_this_llvm_generates_code_for_nvidia():
    llvm.initialize_all_targets()
    assert llvm.Target.from_triple("nvptx64-nvidia-cuda").name == "nvptx64"


@pytest.mark.parametrize("name", SOURCES)
def test_a_kernel_has_its_parameters_and_rounds_as_written(name):
    source, words = SOURCES[name]
    for arch in ARCHITECTURES:
        text = ptx(source, words, arch, f"k_{name}")
        assert ".version 8.0\n" in text
        assert f".target {arch}\n" in text
        assert f".visible .entry k_{name}(" in text
        parameters = re.findall(r"\.param \.u64 (\w+)", text)
        assert parameters == [f"k_{name}_param_{i}" for i in range(words + 1)]
        if name != "softmax":  # whose exponential is written with them
            assert "fma" not in text
        real = re.findall(r"\b((?:add|sub|mul|div|sqrt|fma)\.\S*f(?:32|64))", text)
        assert all(".rn." in operation and "ftz" not in operation for operation in real)
        assert ".local" not in text
        assert re.search(r"\b(ld|st)\.[bsuf]\d", text) is None, "an access of memory of no known kind"


def test_equal_sources_give_equal_text():
    for source, words in SOURCES.values():
        assert ptx(source, words) == ptx(source, words)


def test_shared_memory_barriers_and_shuffles_are_instructions():
    parts = ptx(*SOURCES["column_parts"])
    assert ".shared .align 16 .b8 shared" in parts
    assert "[1056]" in parts
    assert len(re.findall(r"bar\.sync|barrier\.sync", parts)) == 1
    assert ptx(*SOURCES["softmax"]).count("shfl.sync.bfly") == 10
    assert ptx(*SOURCES["swaps"]).count("shfl.sync.bfly") == 6  # 64 bits go in two halves


def test_quotients_and_roots_are_exact():
    body = "x = array_{0}(word(b, 0), 0)\n    x[0] = np.sqrt(x[0]) / x[1]"
    for kind in ("f32", "f64"):
        text = ptx("def kernel(b):\n    " + body.format(kind) + "\n", 1)
        assert f"sqrt.rn.{kind}" in text
        assert f"div.rn.{kind}" in text


def test_a_trap_and_a_code_that_is_returned_go_to_the_error_word_once():
    text = ptx(*SOURCES["checked"])
    assert len(re.findall(r"atom\.\S*global\.cas\.b64", text)) == 2
    assert "ld.param.b64" in text
    assert "kernel_param_3" in text.split("{", 1)[1]
    assert "atom" not in ptx("def kernel(b):\n    return i64(0)\n", 0)


def test_words_found_by_an_index_that_runs_are_read_too():
    source = "def kernel(b):\n    x = array_i64(word(b, 0), 0)\n    for i in range(1, 4):\n        x[i] = word(b, i)\n"
    assert "st.global" in ptx(source, 4)
    dynamic = source.replace("range(1, 4)", "range(1, word(b, 1))")
    assert ".local" in ptx(dynamic, 4)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("gemm_f32(1, 0, 0, 1, 1, 1, f32(1), 2, 1, 3, 1, f32(0), 4, 1)", "a call by address"),
        ("pause()", "a call of llvm"),
        ("x = [1]", "List in line 2"),
        ("x = shared_f32(word(b, 0))", "shared_f32 takes a positive number that stands in the source"),
        ("x = b + 1", r"i64\* "),
        ("barrier(1)", "barrier of i64"),
    ],
)
def test_what_a_gpu_has_not_is_refused(body, message):
    with pytest.raises(CodeError, match=f"the kernel kernel has no code for sm_90: .*{message}"):
        ptx(f"def kernel(b):\n    {body}\n", 1)


def test_a_kernel_of_too_many_arguments_is_refused():
    with pytest.raises(CodeError, match="512 arguments, more than 511"):
        ptx("def kernel(b):\n    return i64(0)\n", MOST_WORDS + 1)


def check_element_wise(cases, dtype):
    source, words = elementwise_source(cases, dtype)
    text = ptx(source, words, "sm_80")
    assert len(re.findall(r"st\.global", text)) == source.count("] = ")


ELEMENTWISE = [c for c in (*CASES, *BFLOAT16_CASES) if c.op.is_elementwise]
LONG = ("float64", "bfloat16")
"""Dtypes of which functions are long: the suite compiles every fourth row, and all of them by name."""


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_element_wise_op_is_compiled(dtype):
    for k in range(2):  # a kernel has no more than 511 arguments
        check_element_wise(ELEMENTWISE[k :: 8 if str(dtype) in LONG else 2], dtype)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [dtype for dtype in DTYPES if str(dtype) in LONG], ids=str)
def test_every_element_wise_op_is_compiled_for_dtypes_of_long_functions(dtype):
    for k in range(2):
        check_element_wise(ELEMENTWISE[k::2], dtype)


@pytest.mark.parametrize("recipe", ["mlp_s", pytest.param("gpt", marks=pytest.mark.slow)])
def test_the_kernels_of_a_plan_for_a_cpu_are_compiled_as_they_are(recipe):
    launches = launch_list.lower(gl.plan_step(*make_recipe(recipe)).plan)
    for source, words in {call.source: len(call.args) for call in free_calls(launches)}.items():
        assert ".target sm_90" in ptx(source, words)
