"""Products of bfloat16 by pairs, on the target whose CPUs have the instruction."""

import re
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn
from gradloom.ir import BFLOAT16, interpret
from gradloom.ir.ops.contraction import has_bf16_factors
from gradloom.passes.graph.rewrite import all_nodes
from gradloom.passes.pipeline import plan_graph
from gradloom.passes.target import Target
from gradloom.passes.verify.plan import check_plan
from gradloom.runtime.codegen import host
from gradloom.runtime.codegen.host import host_cpu, runnable
from gradloom.runtime.codegen.kernel_cache import KernelRequest
from gradloom.runtime.codegen.object_code import assembly
from gradloom.runtime.lowering.launch_list import lower
from gradloom.runtime.lowering.namespace import kernel_namespace
from unjitted import run_unjitted

NAME = "avx512_bf16"
PAIRS = Target.cpu(NAME)
runs = pytest.mark.skipif(NAME not in runnable(), reason="this CPU does not multiply pairs of bfloat16")
SHAPES = ((24, 16, 32), (61, 257, 45), (130, 600, 131), (300, 33, 64))
FEW = ((26, 19, 35), (24, 17, 33))


def products(arrays: Any) -> list[Any]:
    """Products of each matrix and its transposed copy, rounded to bfloat16, with those of another; and of a batch."""
    made: list[Any] = []
    for quadruple in zip(*(arrays[i::4] for i in range(4))):
        x, turned_x, y, turned_y = (np.astype(np.astype(v, BFLOAT16), "float32") for v in quadruple)
        made += [np.matmul(left, right) for left in (x, turned_x.T) for right in (y, turned_y.T)]
        made += [np.matmul(np.stack([x, x[::-1]]), y)]
    return made


def operands(shapes: Any) -> list[Any]:
    rng = np.random.default_rng(0)
    pairs = [rng.standard_normal(s, "float32") for m, k, n in shapes for s in ((m, k), (k, n))]
    return [array for v in pairs for array in (v, v.T.copy())]


def by_pairs(graph: Any) -> int:
    return sum(node.op.family == "contraction" and has_bf16_factors(node) for node in all_nodes(graph))


@runs
def test_kernels_compute_what_float64_does_with_the_same_bits_for_any_threads():
    arrays = operands(SHAPES)
    one, two = (gl.compile(products, target=PAIRS, threads=n)(arrays) for n in (1, 2))
    exact: list[Any] = []
    for x, y in zip(arrays[::4], arrays[2::4]):
        x, y = (v.astype(BFLOAT16).astype(np.float64) for v in (x, y))
        exact += [x @ y] * 4 + [np.stack([x, x[::-1]]) @ y]
    for a, b, expected in zip(one, two, exact, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_allclose(a, expected, rtol=1e-4, atol=1e-4)


def test_un_jitted_kernels_compute_what_the_interpreter_does():
    arrays = operands(FEW)
    graph = gl.trace(products, arrays)
    made = plan_graph(graph, threads=2, target=PAIRS)
    check_plan(made)
    assert by_pairs(made.graph) >= 4 * len(FEW)
    for a, expected in zip(run_unjitted(made, *arrays), interpret(graph, *arrays), strict=True):
        np.testing.assert_allclose(a, expected, rtol=1e-4, atol=1e-4)


class Net(nn.Module):
    def __init__(self) -> None:
        self.layers = nn.Sequential(nn.Linear(40, 64), nn.Tanh(), nn.Linear(64, 48))

    def forward(self, x: Any) -> Any:
        return self.layers(x)


def loss(model: Any, batch: Any) -> Any:
    return nn.cross_entropy(model(batch["x"]), batch["y"])


def ingredients() -> tuple[Any, ...]:
    rng = np.random.default_rng(0)
    batch = {"x": rng.standard_normal((96, 40), "float32"), "y": rng.integers(0, 48, 96)}
    return Net(), loss, gl.optim.AdamW(1e-2), batch


@runs
def test_a_step_trains_as_without_pairs_within_rounding():
    steps = [gl.compile_step(*ingredients(), precision="bf16", target=Target.cpu(n)) for n in ("avx512", NAME)]
    plans = [gl.plan_step(*ingredients(), precision="bf16", target=Target.cpu(n)) for n in ("avx512", NAME)]
    assert [by_pairs(made.plan.graph) for made in plans] == [0, 5]
    batch = ingredients()[-1]
    for _ in range(20):
        plain, paired = (float(step(batch)) for step in steps)
    assert paired == pytest.approx(plain, rel=1e-2)
    assert paired < 2


@runs
def test_a_step_of_float32_has_the_bits_and_the_memory_of_the_target_without_pairs():
    steps = [gl.compile_step(*ingredients(), target=Target.cpu(n)) for n in ("avx512", NAME)]
    assert steps[0].report.arena_bytes == steps[1].report.arena_bytes
    batch = ingredients()[-1]
    assert [[float(step(batch)) for _ in range(5)] for step in steps[:1]] == [
        [float(steps[1](batch)) for _ in range(5)]
    ]


def test_few_rows_and_what_was_never_bfloat16_are_left_alone():
    def f(x: Any, w: Any) -> Any:
        few = np.astype(np.astype(x, BFLOAT16), "float32")[:8] @ np.astype(np.astype(w, BFLOAT16), "float32")
        return few, x @ w

    shapes = gl.spec((64, 64)), gl.spec((64, 64))
    assert not by_pairs(plan_graph(gl.trace(f, *shapes), target=PAIRS).graph)


def test_a_cpu_without_the_instruction_refuses_to_run_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(host, "_host_features", lambda: frozenset({"avx512f"}))
    with pytest.raises(gl.TargetError, match=r"cannot run .*'cpu:avx512_bf16'"):
        gl.compile(products, target=PAIRS)


def test_code_multiplies_pairs_and_calls_nothing():
    if host_cpu() not in ("avx512", "avx2", "sse"):
        pytest.skip("the code of an x86 target is for a system that this is not")
    made = gl.plan_step(*ingredients(), precision="bf16", target=PAIRS, threads=1)
    sources = [s for s in dict.fromkeys(lower(made.plan).sources()) if "pair_product" in s]
    assert len(sources) >= 3
    for source in sources:
        text, symbols = assembly(KernelRequest(source, "kernel", kernel_namespace).function(), NAME)
        assert not symbols
        assert len(re.findall("vdpbf16ps.*zmm", text)) >= 8
