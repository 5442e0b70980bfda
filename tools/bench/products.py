"""Products of matrices beside OpenBLAS's and MKL's: `python -m gradloom.tools.bench.products`.

In each round all sides take turns at each shape. A round's ratio is the time of the faster library over ours (above 1:
Gradloom is faster); the table has its median over the rounds, and for each side the median of GFLOP/s. OpenBLAS is
SciPy's, MKL that of the package `mkl`, and is left out where it is not installed. A batch is one call for Gradloom and
for MKL; OpenBLAS is called for one product after the other by a compiled loop, a program of a target whose products
BLAS makes. What stays unmeasured is the cost of calling a side from Python, so small products come in batches. One
thread is measured by its processor time, several by the time that passes. Pin one to a core: `taskset -c 0`.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.metadata
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from ...engine.tracing.trace import trace
from ...ir import spec
from ...passes.pipeline import plan_graph
from ...passes.target import Target
from ...runtime.backend import backend_of
from ...runtime.cpu import blas
from ...runtime.cpu.control_block import BLAS_WORDS, SET_THREADS, words_at

# Seconds of calls of a side in a round, and of the rest before it: threads of a library go on spinning for some
# milliseconds, and would take a core from whoever comes next.
_TURN = 0.02
_REST = 0.005
_ROW_MAJOR, _PLAIN, _TRANSPOSED = 101, 111, 112


@dataclass(frozen=True)
class Product:
    """`batch` products of an (m, k) and a (k, n) matrix. `layout` has a letter for each factor, as BLAS has them: "n",
    or "t" where it is the transpose of what lies in memory.
    """

    m: int
    k: int
    n: int
    dtype: str = "f32"
    layout: str = "nn"
    batch: int = 1

    def __str__(self) -> str:
        text = f"{self.m}x{self.k}x{self.n} {self.dtype}"
        text += f" {self.layout}" if self.layout != "nn" else ""
        return text + (f" b{self.batch}" if self.batch > 1 else "")

    @staticmethod
    def parse(text: str) -> Product:
        """The product that prints as `text`. Raises `ValueError` where none does."""
        found = re.fullmatch(r"(\d+)x(\d+)x(\d+) (f32|f64)(?: ([nt]{2}))?(?: b(\d+))?", text.strip())
        if found is None:
            raise ValueError(f"{text!r} is no product like '128x784x512 f32' or '128x32x128 f64 nt b16'")
        m, k, n, dtype, layout, batch = found.groups()
        return Product(int(m), int(k), int(n), dtype, layout or "nn", int(batch or 1))

    @property
    def flops(self) -> int:
        """Additions and multiplications."""
        return 2 * self.batch * self.m * self.k * self.n

    def factors(self) -> list[np.ndarray[Any, Any]]:
        """Both factors as they lie in memory, of random numbers."""
        rng = np.random.default_rng(0)
        shapes = ((self.m, self.k), (self.k, self.n))
        laid = (shape[::-1] if letter == "t" else shape for shape, letter in zip(shapes, self.layout))
        lead = (self.batch,) * (self.batch > 1)
        return [rng.standard_normal((*lead, *shape)).astype(self.dtype.replace("f", "float")) for shape in laid]

    def of(self, x: Any, y: Any) -> Any:
        """What is computed of the factors."""
        return np.matmul(*(np.swapaxes(a, -1, -2) if letter == "t" else a for a, letter in zip((x, y), self.layout)))


GRID = tuple(
    Product.parse(line)
    for line in """
        64x64x64 f32 b64
        128x128x128 f32 b8
        256x256x256 f32
        512x512x512 f32
        1024x1024x1024 f32
        2048x2048x2048 f32
        4096x4096x4096 f32
        64x64x64 f64 b64
        2x1024x1024 f32
        256x256x256 f64
        512x512x512 f64
        1024x1024x1024 f64
        2048x2048x2048 f64
        8192x256x64 f32
        4096x64x64 f32
        2048x512x32 f32
        16384x128x128 f32
        4096x128x64 f64
        4x1024x1024 f32
        1x1024x1024 f32 nt
        16x1024x4096 f32
        32x784x512 f32
        16x512x1024 f64
        128x784x512 f32
        64x8192x64 f32
        256x4096x256 f32
        100x300x77 f32 b4
        333x257x129 f32
        101x203x307 f64
        128x512x512 f32 nt
        128x512x10 f32 nt
        784x128x512 f32 tn
        1024x1024x1024 f32 nt
        1000x1000x1000 f32 tt
        1024x1024x1 f32
        512x512x512 f64 tn
        128x32x128 f32 nt b64
        128x128x32 f32 b64
        16x16x16 f32 b1024
        32x32x32 f64 b256
    """.strip().splitlines()
)
"""Square, tall, wide and deep products, tiny ones, with transposed factors and in batches."""


@dataclass(frozen=True)
class Side:
    """Functions that compute a product and that give it, and the memory that they use."""

    run: Callable[[], Any]
    result: Callable[[], Any]
    memory: Sequence[Any]


def gradloom_side(product: Product, factors: Sequence[Any], threads: int, target: Target) -> Side:
    """The product by a program for this target."""
    graph = trace(product.of, *(spec(a.shape, a.dtype) for a in factors))
    executable = backend_of(target).build(plan_graph(graph, threads, outputs_in_arena=True, target=target))
    for i, array in enumerate(factors):
        executable.bind_input(i, array)
    return Side(executable.run, lambda: executable.output_in_arena(0), factors)


def openblas_side(product: Product, factors: Sequence[Any], threads: int) -> Side:
    """The same by SciPy's OpenBLAS."""
    if product.batch > 1:
        return gradloom_side(product, factors, threads, replace(Target.cpu(), matmul="blas"))
    function = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 13)(blas.pointer(_prefix(product) + "gemm"))
    ctypes.CFUNCTYPE(None, ctypes.c_int)(int(words_at(blas.SWITCH, BLAS_WORDS)[SET_THREADS]))(threads)
    x, y = factors
    out = np.empty((product.m, product.n), x.dtype)
    one, zero = np.ones(1, x.dtype), np.zeros(1, x.dtype)
    # The transpose of the result, in columns, is what BLAS computes.
    letters = np.frombuffer(product.layout[::-1].encode(), np.int8)
    numbers = np.array([product.n, product.m, product.k, y.shape[1], x.shape[1], product.n], np.int32)
    at = [numbers.ctypes.data + 4 * i for i in range(6)]
    places = [letters.ctypes.data, letters.ctypes.data + 1, *at[:3], one.ctypes.data, y.ctypes.data, at[3]]
    places += [x.ctypes.data, at[4], zero.ctypes.data, out.ctypes.data, at[5]]
    return Side(lambda: function(*places), lambda: out, [x, y, letters, numbers, one, zero])


def mkl_side(product: Product, factors: Sequence[Any], threads: int) -> Side:
    """The same by MKL."""
    library = _mkl()
    assert library is not None
    library.MKL_Set_Num_Threads(threads)
    x, y = factors
    out = np.empty((*x.shape[:-2], product.m, product.n), x.dtype)
    real = ctypes.c_float if product.dtype == "f32" else ctypes.c_double
    by_letter = {"n": _PLAIN, "t": _TRANSPOSED}
    m, n, k = (ctypes.c_int(length) for length in (product.m, product.n, product.k))
    arguments: list[Any] = [_ROW_MAJOR, *(by_letter[letter] for letter in product.layout), m, n, k, real(1)]
    for array in (x, y, out):
        arguments += [real(0)] * (array is out) + [ctypes.c_void_p(array.ctypes.data), ctypes.c_int(array.shape[-1])]
        arguments += [ctypes.c_int(array[0].size)] * (product.batch > 1)
    arguments += [ctypes.c_int(product.batch)] * (product.batch > 1)
    function = getattr(library, f"cblas_{_prefix(product)}gemm{'_batch_strided' * (product.batch > 1)}")
    return Side(lambda: function(*arguments), lambda: out, factors)


def _prefix(product: Product) -> str:
    return "s" if product.dtype == "f32" else "d"


@cache
def _mkl() -> ctypes.CDLL | None:
    try:
        files = importlib.metadata.files("mkl") or ()
    except importlib.metadata.PackageNotFoundError:
        return None
    found = [
        str(file.locate()) for file in files if re.fullmatch(r"(lib)?mkl_rt[.\d]*\.(so|dll|dylib)[.\d]*", file.name)
    ]
    return ctypes.CDLL(found[0]) if found else None


def sides(product: Product, threads: int) -> dict[str, Side]:
    """All sides, which have been found to compute the same."""
    factors = product.factors()
    made = {"gradloom": gradloom_side(product, factors, threads, Target.cpu())}
    made["openblas"] = openblas_side(product, factors, threads)
    if _mkl() is not None:
        made["mkl"] = mkl_side(product, factors, threads)
    expected = product.of(*factors)
    for name, side in made.items():
        side.run()
        worst = float(np.abs(side.result() - expected).max() / np.abs(expected).max())
        if not worst < 1e-4:
            raise AssertionError(f"{product} by {name} is off by {worst:.1e}")
    return made


def measure(measured: Mapping[str, Side], rounds: int, clock: Callable[[], float]) -> dict[str, list[float]]:
    """Seconds of a call in each round, of each side."""
    runs = {name: side.run for name, side in measured.items()}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    calls = max(1, round(_TURN / min(_time(run, 1, clock) for run in runs.values())))
    for number in range(rounds):
        # Whoever comes first does so in turn, too.
        names = list(runs)[number % len(runs) :] + list(runs)[: number % len(runs)]
        for name in names:
            time.sleep(_REST)
            runs[name]()
            seconds[name].append(_time(runs[name], calls, clock))
    return seconds


def _time(run: Callable[[], Any], calls: int, clock: Callable[[], float]) -> float:
    start = clock()
    for _ in range(calls):
        run()
    return (clock() - start) / calls


def ratio(seconds: Mapping[str, Sequence[float]]) -> float:
    """The median over the rounds of the time of the faster library over that of Gradloom."""
    others = [times for name, times in seconds.items() if name != "gradloom"]
    return statistics.median(min(turn) / ours for ours, *turn in zip(seconds["gradloom"], *others))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the grid and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("products", nargs="*", help="as the table writes them (default: all of it)")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    clock = time.thread_time if options.threads == 1 else time.perf_counter
    products = list(map(Product.parse, options.products)) or GRID
    names = ["gradloom", "openblas", *(["mkl"] if _mkl() is not None else [])]
    print(f"{'GFLOP/s':26}" + "".join(f"{name:>10}" for name in names) + f"{'ratio':>8}")
    ratios: list[float] = []
    for product in products:
        seconds = measure(sides(product, options.threads), options.rounds, clock)
        rates = "".join(f"{product.flops / statistics.median(seconds[name]) / 1e9:>10.1f}" for name in names)
        ratios.append(ratio(seconds))
        print(f"{product!s:26}{rates}{ratios[-1]:>8.2f}", flush=True)
    print(f"{'geometric mean':26}{statistics.geometric_mean(ratios):>{10 * len(names) + 8}.2f}")
    print(f"{'least':26}{min(ratios):>{10 * len(names) + 8}.2f}  {products[ratios.index(min(ratios))]}")


if __name__ == "__main__":
    main()
