"""Kernels of ops and of workloads through both compilers, to machine code of both architectures. No GPU is asked."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from functools import cache
from typing import Any

import gradloom as gl
import pytest
from gpu_sources import SOURCES
from gradloom.passes.pipeline import plan_graph
from gradloom.passes.target import Target, TargetError
from gradloom.runtime.codegen import disk_cache
from gradloom.runtime.cuda import assembler as assemblers
from gradloom.runtime.cuda import compilers, kernel_cache
from gradloom.runtime.cuda.assembler import Assembler
from gradloom.runtime.cuda.compilers import compiler
from gradloom.runtime.cuda.kernel_cache import compile_kernels
from gradloom.runtime.cuda.ptx import ARCHITECTURES
from gradloom.tools.bench.workloads import WORKLOADS, task
from gradloom.tools.find_recipe import make_recipe
from gradloom.tools.prove_cuda import op_table
from gradloom.tools.prove_cuda.kernels import GpuSource, compile_source, kernels_of, rounded_otherwise
from op_cases import CASES, CPU_ONLY
from op_programs import plain

COMPILERS = ("own", "numba")
VARIABLE = "GRADLOOM_FRONT_END"
MOST_REGISTERS = 255
MOST_SPILLED = {"own": 128, "numba": 256}
"""Bytes. Of ours attention with dropout and a few convolutions spill, most of them for the older architecture."""
ROWS = {name: [case for case in CASES if case.name == name] for name in {case.name for case in CASES} - CPU_ONLY}
# Of each kind of kernel one op: its shortest kernel goes through both compilers in every run of `pytest -m cuda`.
SAMPLE = ("mul", "pow", "exp", "atan2", "reduce_sum", "argmax", "dot", "conv", "window_max", "gather", "scatter_add",
          "cumsum", "sort", "random_bits", "concatenate")  # fmt: skip
ZOO = ("gpt2_small", "resnet50")


def needs_compilers() -> None:
    """Skips where the packages of the extra `cuda` are not installed."""
    for name in ("cuda.bindings.nvrtc", "numba_cuda", "gradloom.runtime.cuda.numba_ptx"):
        pytest.importorskip(name)


@cache
def op_kernels(name: str) -> list[GpuSource]:
    """The kernels of all rows of an op, each row planned by itself."""
    programs = (plain([case]) for case in ROWS[name])
    target = Target.cuda()
    return kernels_of(plan_graph(made.b.graph(made.outputs), target=target) for made in programs)


def step_kernels(*ingredients: Any) -> list[GpuSource]:
    """The kernels of a step that libraries multiply for, and those that there are without them."""
    targets = Target.cuda(), replace(Target.cuda(), libraries=())
    return kernels_of(gl.plan_step(*ingredients, target=target).plan for target in targets)


def assert_compiled(kernels: list[GpuSource]) -> None:
    """By both compilers for both architectures, rounded as it is written."""
    for kernel in kernels:
        for by in COMPILERS:
            for arch in ARCHITECTURES:
                code = compile_source(kernel, by, arch)
                assert code.cubin.code.startswith(b"\x7fELF")
                assert 0 < code.cubin.registers <= MOST_REGISTERS
                assert code.cubin.spilled_bytes <= MOST_SPILLED[by], kernel.source
                assert not code.unlike, (by, code.unlike, kernel.source)


@pytest.mark.cuda
@pytest.mark.parametrize("name", [name for name in SAMPLE if name in ROWS])
def test_the_shortest_kernel_of_an_op_becomes_machine_code_by_both_compilers(name: str):
    needs_compilers()
    assert_compiled([min(op_kernels(name), key=lambda kernel: len(kernel.source))])


@pytest.mark.cuda
@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(ROWS))
def test_every_row_of_an_op_becomes_machine_code_by_both_compilers(name: str):
    needs_compilers()
    assert_compiled(op_kernels(name))


@pytest.mark.cuda
@pytest.mark.slow
@pytest.mark.parametrize("name", WORKLOADS)
def test_every_kernel_of_a_workload_becomes_machine_code_by_both_compilers(name: str):
    needs_compilers()
    workload = task(name)
    assert_compiled(step_kernels(*workload.ingredients[:3], workload.batch))


@pytest.mark.cuda
@pytest.mark.slow
@pytest.mark.parametrize("name", ZOO)
def test_every_kernel_of_a_large_model_becomes_machine_code_by_both_compilers(name: str):
    needs_compilers()
    assert_compiled(step_kernels(*make_recipe(f"examples/zoo/{name}.py:recipe")))


@pytest.mark.cuda
def test_a_table_says_by_kind_of_op_what_is_right_and_what_kernels_became(tmp_path, capsys):
    needs_compilers()
    file = tmp_path / "ops.json"
    assert op_table.main(["sqrt", "copy", "--compilers", "own", "--processes", "1", "--json", str(file)]) == 0
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("elementwise", "all", "own sm_80", "regs"))
    figures = json.loads(file.read_text())
    assert [(each["rows"], each["wrong"]) for each in figures] == [(each["right"], []) for each in figures]
    assert all(each["kernels"] == code["kernels"] > 0 for each in figures for code in each["code"].values())


def test_instructions_that_round_otherwise_than_the_source_are_found():
    right = ["add.rn.f32", "mul.rn.f64", "div.rn.f32", "sqrt.rn.f64", "fma.rn.f32", "add.s32", "mul.wide.s32"]
    wrong = ["add.f32", "mul.f32", "mul.rn.ftz.f32", "div.full.f32", "sqrt.approx.f32", "ex2.approx.ftz.f32"]
    text = "\n".join(f"\t{word} %f1, %f2, %f3;" for word in right + wrong) + "\n\t@%p1 mad.f32 %f1, %f2, %f3, %f4;\n"
    assert rounded_otherwise(text, True) == (*wrong, "mad.f32")
    assert "fma.rn.f32" in rounded_otherwise(text, False)
    # A sum alone has nothing to be contracted with.
    assert rounded_otherwise("\tadd.f64 %f1, %f2, %f3;\n\tmul.rn.f64 %f1, %f2, %f3;\n", True) == ()


# ---- which compiler, and what is kept on disk


@pytest.fixture
def cache_folder(tmp_path, monkeypatch):
    """An empty cache, in the process and on disk."""
    monkeypatch.setenv("GRADLOOM_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("GRADLOOM_CACHE", raising=False)
    monkeypatch.setattr(kernel_cache, "_kernels", {})
    return tmp_path


@pytest.fixture
def texts(monkeypatch):
    """The texts that an assembler is given which makes no code."""
    given = []

    def run(text, arch):
        given.append(text)
        return b"code", "Used 12 registers"

    monkeypatch.setattr(kernel_cache, "assembler", lambda: Assembler("a test", "1", run))
    monkeypatch.setattr(assemblers, "assembler", lambda: Assembler("a test", "1", run))
    return given


@pytest.mark.cuda
def test_the_variable_says_which_compiler_makes_a_kernel_and_each_has_files_of_its_own(
    cache_folder, texts, monkeypatch
):
    needs_compilers()
    for value, generator in (("own", "LLVM NVPTX"), ("numba", "NVVM")):
        monkeypatch.setenv(VARIABLE, value)
        assert not compile_kernels([SOURCES["copy"]], "sm_90")[0].hit
        assert generator in texts[-1]
    monkeypatch.setattr(kernel_cache, "_kernels", {})  # as in the next process
    for value in ("own", "numba", ""):
        monkeypatch.setenv(VARIABLE, value)
        assert compile_kernels([SOURCES["copy"]], "sm_90")[0].hit
    assert len(texts) == len(list(cache_folder.rglob("*.kernel"))) == 2


@pytest.mark.cuda
def test_another_version_of_a_compiler_makes_another_kernel(cache_folder, texts, monkeypatch):
    needs_compilers()
    monkeypatch.setenv(VARIABLE, "numba")
    compile_kernels([SOURCES["copy"]], "sm_90")
    newer = compilers.Compiler("numba", (("numba-cuda", "newer"),), compiler("numba").compile_ptx)
    monkeypatch.setattr(kernel_cache, "compiler", lambda: newer)
    monkeypatch.setattr(kernel_cache, "_kernels", {})
    compile_kernels([SOURCES["copy"]], "sm_90")
    assert len(texts) == 2


@pytest.mark.cuda
def test_a_file_of_numba_cuda_that_was_cut_is_compiled_again(cache_folder, texts, monkeypatch):
    needs_compilers()
    monkeypatch.setenv(VARIABLE, "numba")
    compile_kernels([SOURCES["copy"]], "sm_90")
    (file,) = cache_folder.rglob("*.kernel")
    file.write_bytes(file.read_bytes()[:-2])
    monkeypatch.setattr(kernel_cache, "_kernels", {})
    assert compile_kernels([SOURCES["copy"]], "sm_90")[0].why == disk_cache.DAMAGED
    assert len(texts) == 2


def test_without_numba_cuda_an_error_says_where_to_get_it(cache_folder, texts, monkeypatch):
    def absent(name, package):
        raise ModuleNotFoundError("No module named 'numba_cuda'")

    monkeypatch.setattr(importlib, "import_module", absent)
    monkeypatch.setenv(VARIABLE, "numba")
    compilers._numba.cache_clear()
    with pytest.raises(TargetError, match=r"numba-cuda.*No module named 'numba_cuda'; pip install 'gradloom\[cuda\]'"):
        compile_kernels([SOURCES["copy"]], "sm_90")
