"""Machine code has the instructions of its target alone, and uses its vectors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn
from gradloom.passes.target import Target
from gradloom.runtime.codegen.host import host_cpu, runnable
from gradloom.runtime.codegen.kernel_cache import KernelRequest, compile_kernel, compile_kernels
from gradloom.runtime.codegen.object_code import assembly
from gradloom.runtime.cpu.thread_pool import NATIVE
from gradloom.runtime.lowering.launch_list import lower
from gradloom.runtime.lowering.namespace import kernel_namespace

MULTIPLY = r"fmla\s+v|vfmadd\w*ps|mulps"
X86 = host_cpu() in ("avx512", "avx2", "sse")


class Net(nn.Module):
    """A convolution, a recurrent loop, products whose ends are no whole vectors, a softmax, sums by row and column."""

    def __init__(self) -> None:
        self.conv = nn.Conv2d(3, 23, 3, padding=1)
        self.norm = nn.BatchNorm2d(23)
        self.lstm = nn.LSTM(23, 64, batch_first=True)
        self.linear = nn.Linear(64, 50)

    def forward(self, x: Any) -> Any:
        y = self.norm(np.tanh(self.conv(x)))
        y = np.moveaxis(y.reshape(*y.shape[:2], -1), 1, 2)
        return self.linear(self.lstm(y)[0][:, -1])


def loss(model: Any, batch: Any) -> Any:
    return nn.cross_entropy(model(batch["x"]), batch["y"])


@cache
def sources(name: str) -> tuple[str, ...]:
    batch = {"x": gl.spec((64, 3, 6, 6)), "y": gl.spec((64,), "int64")}
    made = gl.plan_step(Net(), loss, gl.optim.AdamW(1e-3), batch, target=Target.cpu(name), threads=1)
    return tuple(dict.fromkeys(lower(made.plan).sources()))


@cache
def code(name: str) -> tuple[list[str], set[str]]:
    """The assembly of all kernels of a step for a target, and the symbols that they need."""
    made = [assembly(KernelRequest(s, "kernel", kernel_namespace).function(), name) for s in sources(name)]
    return [text for text, _ in made], {symbol for _, symbols in made for symbol in symbols}


@pytest.mark.parametrize(
    ("name", "wide", "multiply_add", "foreign"),
    [
        ("avx512", "%zmm", "vfmadd", "%q"),
        ("avx2", "%ymm", "vfmadd", r"%zmm|%k[0-7]|%[xy]mm(1[6-9]|[23]\d)"),
        ("sse", "%xmm", "mulps", "%ymm|%zmm|vfmadd|vmulps"),
        ("neon", r"v\d+\.4s", r"fmla\s+v", r"%xmm|z\d+\.s"),
    ],
)
def test_kernels_have_the_vectors_of_their_target_and_no_others(name: str, wide: str, multiply_add: str, foreign: str):
    if name != "neon" and not X86:
        pytest.skip("the code of an x86 target is for a system that this is not")
    texts, symbols = code(name)
    assert symbols <= {"memcpy", "memset", "memmove"}  # copies alone: no function of an element
    assert not any(re.search(foreign, text) for text in texts)
    products = [text for source, text in zip(sources(name), texts) if "tile_product" in source]
    assert len(products) >= 3
    assert all(re.search(wide, text) and re.search(multiply_add, text) for text in products)


def innermost_loops(text: str) -> Iterator[list[str]]:
    """The lines of each loop of some assembly that has no jump into its middle."""
    lines = text.splitlines()
    labels = {match[1]: i for i, line in enumerate(lines) if (match := re.match(r"(\.\w+):", line))}
    for i, line in enumerate(lines):
        start = labels.get(line.split()[-1], i) if line.startswith("\t") else i
        if start < i and not any(at in range(start + 1, i) for at in labels.values()):
            yield lines[start + 1 : i + 1]


# With AVX2 a mask of a tile that is partly there lies in memory; LLVM stores and loads one of NEON's 27 sums.
@pytest.mark.parametrize(("name", "most"), [("avx512", 0), ("avx2", 0), ("sse", 0), ("neon", 2)])
def test_no_vector_register_of_a_product_is_spilled(name: str, most: int):
    if name != "neon" and not X86:
        pytest.skip("the code of an x86 target is for a system that this is not")
    texts = [text for source, text in zip(sources(name), code(name)[0]) if "rows_of_b" in source]
    found = [loop for text in texts for loop in innermost_loops(text) if not any("maskmov" in line for line in loop)]
    loops = [loop for loop in found if len(re.findall(MULTIPLY, "\n".join(loop))) >= 8]
    assert len(loops) >= 4
    spill = r"\(%rsp.*%[xyz]mm|%[xyz]mm.*\(%rsp|(ld|st)[rp]\s+[qv]\d+,.*\[sp"
    assert max(sum(bool(re.search(spill, line)) for line in loop) for loop in loops) <= most


@pytest.mark.parametrize("name", ["avx512", "avx2", "sse", "neon"])
def test_every_tile_has_the_lanes_of_its_target(name: str):
    lanes = Target.cpu(name).vector_bytes // 4
    found = {int(n) for source in sources(name) for n in re.findall(r"^lanes = (\d+)$", source, re.MULTILINE)}
    assert found == {lanes}
    squares = {n for source in sources(name) for n in re.findall(r"tile_transpose\(4, (\w+), ", source)}
    assert squares <= {"lanes", str(lanes)}
    assert squares


@pytest.mark.parametrize(
    ("name", "widened", "narrowed"),
    [
        ("avx512", r"vcvtph2ps.*%zmm", r"vcvtps2ph.*%zmm"),
        ("avx2", r"vcvtph2ps.*%ymm", r"vcvtps2ph.*%ymm"),
        ("sse", "pslld", "psrld"),
        ("neon", r"fcvtl\s+v", r"fcvtn\s+v"),
    ],
)
def test_float16_is_converted_a_vector_at_a_time(name: str, widened: str, narrowed: str):
    if name != "neon" and not X86:
        pytest.skip("the code of an x86 target is for a system that this is not")
    lines = ["x = array_f16(word(b, 0), 0)", "for i in parallel_range(word(b, 1)):"]
    lines += ["    x[i] = f16_of_f32(2 * f32_of_f16(x[i]))", "return i64(0)"]
    source = "\n    ".join(["def kernel(b):", *lines]) + "\n"
    text, symbols = assembly(KernelRequest(source, "kernel", kernel_namespace).function(), name)
    assert not symbols
    assert re.search(widened, text)
    assert re.search(narrowed, text)


def test_kernels_of_different_targets_are_kept_apart():
    source = "def f(block):\n    return 7\n"
    named = [KernelRequest(source, "f", {}, salt="target", cpu=name) for name in runnable()]
    assert len({request.key().name for request in named}) == len(named)
    assert len({kernel.address for kernel in compile_kernels(named)}) == len(named)
    assert compile_kernel(source, "f", {}, salt="target").address in {k.address for k in compile_kernels(named)}


@pytest.mark.skipif("avx2" not in runnable(), reason="this machine has no target with a multiply-add and one without")
@pytest.mark.parametrize("number", ["f32", "f64"])
def test_a_multiply_add_is_rounded_once_where_there_is_no_instruction_for_it(number: str):
    arrays = (f"{name} = array_{number}(word(b, {i}), 0)" for i, name in enumerate("xyzw"))
    lines = [*arrays, "for i in parallel_range(word(b, 4)):", f"    w[i] = fma_{number}(x[i], y[i], z[i])"]
    source = "\n    ".join(["def kernel(b):", *lines, "return i64(0)\n"])
    rng = np.random.default_rng(0)
    x, y, z = (rng.standard_normal((3, 3000)) * 10.0 ** rng.integers(-3, 3, (3, 3000))).astype(f"float{number[1:]}")
    z[::3] = -(x * y)[::3]  # what is left is what the product loses
    special = np.array([0, -0.0, np.inf, -np.inf, np.nan, 1e18, 1, 3], x.dtype)
    for values, turn in ((x, 1), (y, 8), (z, 64)):
        values[: 8**3] = special[np.arange(8**3) // turn % 8]
    results: list[Any] = []
    for kernel in compile_kernels([KernelRequest(source, "kernel", kernel_namespace, cpu=n) for n in ("avx2", "sse")]):
        results.append(np.zeros_like(x))
        block = np.array([a.ctypes.data for a in (x, y, z, results[-1])] + [x.size], np.int64)
        NATIVE(kernel.address)(block[:1].copy().ctypes.data, block[:1].copy().ctypes.data, block.ctypes.data)
    np.testing.assert_array_equal(*results)


def test_two_targets_give_the_same_values_within_rounding_and_each_the_same_bits_for_any_threads():
    def f(x: Any, w: Any) -> Any:
        y = np.tanh(x @ w)
        return np.exp(y - y.max(axis=1, keepdims=True)).sum(axis=0), (x.T @ y).mean(axis=0)

    x = np.random.default_rng(0).standard_normal((130, 70), "float32")
    w = np.random.default_rng(1).standard_normal((70, 51), "float32") / 8
    for name in runnable():
        one, two = (gl.compile(f, target=Target.cpu(name), threads=n)(x, w) for n in (1, 2))
        for a, b, expected in zip(one, two, f(x.astype("float64"), w.astype("float64"))):
            np.testing.assert_array_equal(a, b)
            np.testing.assert_allclose(a, expected, rtol=1e-4, atol=1e-5)
