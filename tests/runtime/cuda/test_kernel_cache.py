"""Machine code of GPU kernels: what the assembler says of it, where it is kept, and what is missing without one."""

import subprocess
import sys

import pytest
from gpu_sources import SOURCES
from gradloom.passes.target import TargetError
from gradloom.runtime.codegen import disk_cache
from gradloom.runtime.cuda import assembler as assemblers
from gradloom.runtime.cuda import kernel_cache
from gradloom.runtime.cuda.assembler import Assembler, Cubin, assemble
from gradloom.runtime.cuda.kernel_cache import compile_kernels
from gradloom.runtime.cuda.ptx import ARCHITECTURES, CodeError, Ptx

FOUND = {"nvJitLink": assemblers._nvjitlink, "ptxas": assemblers._ptxas}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, in the process and on disk."""
    monkeypatch.setenv("GRADLOOM_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("GRADLOOM_CACHE", raising=False)
    monkeypatch.setattr(kernel_cache, "_kernels", {})
    return tmp_path


@pytest.fixture
def counted(monkeypatch):
    """An assembler that makes no code, and the texts that it is given."""
    texts = []

    def run(text, arch):
        texts.append(text)
        return b"code\nof " + arch.encode(), "Used 12 registers, 8 bytes spill stores, 1056 bytes smem"

    monkeypatch.setattr(kernel_cache, "assembler", lambda: Assembler("a test", "1", run))
    monkeypatch.setattr(assemblers, "assembler", lambda: Assembler("a test", "1", run))
    return texts


@pytest.mark.parametrize("name", FOUND)
def test_every_kernel_is_assembled_for_both_architectures(name, monkeypatch):
    tool = FOUND[name]()
    if tool is None:
        pytest.skip(f"{name} is not here")
    monkeypatch.setattr(assemblers, "assembler", lambda: tool)
    for arch in ARCHITECTURES:
        for source, words in SOURCES.values():
            cubin = assemble(kernel_cache.ptx_of(source, words, arch))
            assert cubin.code.startswith(b"\x7fELF")
            assert 0 < cubin.registers <= 255
            assert cubin.spilled_bytes == 0
            assert cubin.shared_bytes == 1056 * (source == SOURCES["column_parts"][0]) + 768 * (
                source == SOURCES["swaps"][0]
            )


@pytest.mark.parametrize("name", FOUND)
def test_what_the_assembler_refuses_is_told_in_its_words(name, monkeypatch):
    tool = FOUND[name]()
    if tool is None:
        pytest.skip(f"{name} is not here")
    monkeypatch.setattr(assemblers, "assembler", lambda: tool)
    with pytest.raises(CodeError, match=f"{name}.* refuses a kernel for sm_90: "):
        assemble(Ptx("kernel", "sm_90", 0, ".version 8.0\n.target sm_90\n.address_size 64\nnonsense\n"))


def test_without_an_assembler_an_error_says_where_to_get_one(monkeypatch):
    monkeypatch.setattr(assemblers, "_nvjitlink", lambda: None)
    monkeypatch.setattr(assemblers, "_ptxas", lambda: None)
    assemblers.assembler.cache_clear()
    try:
        with pytest.raises(
            TargetError, match=r"needs nvJitLink or ptxas, and neither is here: pip install 'gradloom\[cuda"
        ):
            assemblers.assembler()
    finally:
        assemblers.assembler.cache_clear()


def test_a_kernel_is_compiled_once_and_found_on_disk_by_the_next_process(cache, counted, monkeypatch):
    first, again = compile_kernels([SOURCES["copy"], SOURCES["copy"]], "sm_90")
    assert again is first
    assert (len(counted), first.hit) == (1, False)
    monkeypatch.setattr(kernel_cache, "_kernels", {})  # as in the next process
    (found,) = compile_kernels([SOURCES["copy"]], "sm_90")
    assert (len(counted), found.hit, found.why) == (1, True, "")
    assert found.cubin == first.cubin == Cubin(b"code\nof sm_90", 12, 8, 1056)


def test_another_architecture_assembler_or_source_is_another_kernel(cache, counted, monkeypatch):
    compile_kernels([SOURCES["copy"]], "sm_90")
    compile_kernels([SOURCES["copy"]], "sm_80")
    compile_kernels([SOURCES["saxpy"]], "sm_80")
    assert len(counted) == 3
    newer = Assembler("a test", "2", kernel_cache.assembler().assemble)
    monkeypatch.setattr(kernel_cache, "_kernels", {})
    monkeypatch.setattr(kernel_cache, "assembler", lambda: newer)
    compile_kernels([SOURCES["copy"]], "sm_90")
    assert len(counted) == 4


def test_a_damaged_file_is_compiled_again_and_no_cache_is_no_harm(cache, counted, monkeypatch):
    compile_kernels([SOURCES["copy"]], "sm_90")
    (file,) = cache.rglob("*.kernel")
    file.write_bytes(file.read_bytes()[:-1])
    for why in (disk_cache.DAMAGED, disk_cache.CACHE_OFF):
        monkeypatch.setattr(kernel_cache, "_kernels", {})
        assert compile_kernels([SOURCES["copy"]], "sm_90")[0].why == why
        monkeypatch.setenv("GRADLOOM_CACHE", "0")
    assert len(counted) == 3


def test_the_cache_command_counts_and_clears_gpu_kernels_too(cache, counted):
    compile_kernels([SOURCES["copy"], SOURCES["saxpy"]], "sm_90")
    assert disk_cache.usage(cache).kernels == 2
    disk_cache.clear(cache)
    assert not list(cache.rglob("*.kernel"))


def test_nothing_of_cuda_is_imported_unless_something_is_assembled():
    code = (
        "import sys, gradloom.runtime.cuda.kernel_cache as k;"
        "k.ptx_of('def kernel(b):\\n    return i64(0)\\n', 0, 'sm_90');"
        "assert not [m for m in sys.modules if m.split('.')[0] in ('cuda', 'nvidia', 'numba_cuda')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
