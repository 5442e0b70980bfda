"""Runs a plan without machine code: kernel source as plain Python, on memory that notices every access outside of it.

Tiles run last to first and are dealt to all workers in turn, units of a phase run last to first, and memory holds
garbage before the run: a kernel that relies on an order or on zeros gives wrong numbers here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.linalg
from gpu_unjitted import Block
from gradloom.ir import OPS, Array, Graph
from gradloom.passes.memory.plan import Plan
from gradloom.runtime.codegen.column_product import plain_column_product
from gradloom.runtime.codegen.group_product import plain_group_product
from gradloom.runtime.codegen.intrinsics import ARRAY_DTYPES
from gradloom.runtime.codegen.line_gradient import plain_line_gradient
from gradloom.runtime.codegen.pair_product import plain_pair_columns, plain_pair_product, plain_pair_row
from gradloom.runtime.codegen.tile_copy import plain_tile_copy
from gradloom.runtime.codegen.tile_dots import plain_tile_dots
from gradloom.runtime.codegen.tile_product import Line, plain_tile_product
from gradloom.runtime.codegen.tile_transpose import plain_tile_transpose
from gradloom.runtime.codegen.weight_squares import plain_pack_square, plain_unpack_square
from gradloom.runtime.lowering.launch import Arg, KernelAddress, Launch, Pointer, Routine, Scratch, Tile
from gradloom.runtime.lowering.launch_list import Loop, lower
from gradloom.runtime.lowering.namespace import kernel_namespace

_BASE_BITS = 40


def _address(base: int) -> int:
    """The first byte of memory number `base`, from 1 on; addresses before it, which nothing may be read at, are its
    own too.
    """
    return (base << _BASE_BITS) + (1 << (_BASE_BITS - 1))


class _Array:
    """A kernel's array: elements of `dtype` behind an address, any number of them up to the end of its memory."""

    def __init__(self, memory: Array, offset: int, dtype: np.dtype[Any]) -> None:
        self.memory = memory
        self.offset = offset
        self.dtype = dtype

    def _elements(self, start: int, stop: int) -> Array:
        low, high = (self.offset + int(i) * self.dtype.itemsize for i in (start, stop))
        assert 0 <= low <= high <= self.memory.size, f"bytes {low} to {high} of {self.memory.size}"
        return self.memory[low:high].view(self.dtype)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self._elements(index.start or 0, index.stop)
        return self._elements(index, index + 1)[0]

    def __setitem__(self, index: int, value: Any) -> None:
        assert isinstance(value, (bool, np.bool_)) or np.asarray(value).dtype == self.dtype, (value, self.dtype)
        self._elements(index, index + 1)[0] = value


class _Block:
    """The words of a kernel's block from one of them on; an address of words further on is another block."""

    def __init__(self, words: list[np.int64], start: int = 0) -> None:
        self.words = words
        self.start = start

    def __add__(self, nbytes: int) -> _Block:
        return _Block(self.words, self.start + int(nbytes) // 8)

    def word(self, i: int) -> np.int64:
        return self.words[self.start + i]

    def set_word(self, i: int, value: int) -> None:
        self.words[self.start + i] = np.int64(value)


class _Machine:
    """Memory behind addresses, and the functions that kernels call, in terms of it."""

    def __init__(self, memory: Sequence[Array]) -> None:
        self.memory = memory
        self.kernels: dict[str, Callable[[_Block], int]] = {}
        self.called: list[str] = []
        """Sources of kernels that others call: their address is their place here, counted from 1."""

    def address(self, source: str) -> np.int64:
        if source not in self.called:
            self.called.append(source)
        return np.int64(self.called.index(source) + 1)

    def pointer(self, address: int, dtype: np.dtype[Any]) -> _Array:
        base = int(address) >> _BASE_BITS
        return _Array(self.memory[base - 1], int(address) - _address(base), dtype)

    def array(self, dtype: np.dtype[Any]) -> Callable[[int, int], _Array]:
        return lambda address, n: self.pointer(address, dtype)

    def gemm(self, dtype: np.dtype[Any]) -> Callable[..., None]:
        def gemm(fn: int, ta: int, tb: int, m: int, n: int, k: int, alpha: Any, a: int, lda: int, b: int, ldb: int,
                 beta: Any, c: int, ldc: int) -> None:  # fmt: skip
            assert beta == 0
            left, right, result = (self.pointer(address, dtype) for address in (a, b, c))
            for i in range(m):
                for j in range(n):
                    total = dtype.type(0)
                    for step in range(k):
                        x = left[step * lda + i] if ta else left[i * lda + step]
                        total = total + x * (right[j * ldb + step] if tb else right[step * ldb + j])
                    result[i * ldc + j] = dtype.type(alpha * total)

        return gemm

    def gemv(self, dtype: np.dtype[Any]) -> Callable[..., None]:
        def gemv(fn: int, turned: int, rows: int, columns: int, a: int, lda: int, x: int, step: int, y: int) -> None:
            matrix, vector, result = (self.pointer(address, dtype) for address in (a, x, y))
            for i in range(columns if turned else rows):
                for j in range(rows if turned else columns):
                    element = matrix[i * lda + j] if turned else matrix[j * lda + i]
                    result[i] = result[i] + element * vector[j * step]

        return gemv

    def columns(self, dtype: np.dtype[Any], address: int, shape: tuple[int, int], leading: int) -> list[_Array]:
        """The columns of a matrix as Fortran has it."""
        whole = self.pointer(address, dtype)
        size = dtype.itemsize
        return [_Array(whole.memory, whole.offset + j * int(leading) * size, dtype) for j in range(shape[1])]

    def read(self, dtype: np.dtype[Any], address: int, shape: tuple[int, int], leading: int) -> Array:
        found = [column[0 : shape[0]] for column in self.columns(dtype, address, shape, leading)]
        return np.array(found, dtype).reshape(shape[1], shape[0]).T.copy()

    def write(self, dtype: np.dtype[Any], address: int, matrix: Array, leading: int) -> None:
        for column, values in zip(self.columns(dtype, address, matrix.shape, leading), matrix.T, strict=True):
            column[0 : len(values)][:] = values

    def potrf(self, dtype: np.dtype[Any]) -> Callable[..., int]:
        def potrf(fn: int, n: int, a: int, lda: int) -> int:
            matrix = self.read(dtype, a, (n, n), lda)
            try:
                upper = np.linalg.cholesky(np.triu(matrix).T).T
            except np.linalg.LinAlgError:
                return 1
            self.write(dtype, a, np.tril(matrix, -1) + upper, lda)
            return 0

        return potrf

    def syevd(self, dtype: np.dtype[Any]) -> Callable[..., int]:
        def syevd(fn: int, n: int, a: int, lda: int, w: int, work: int, lwork: int, iwork: int, liwork: int) -> int:
            values, vectors = np.linalg.eigh(self.read(dtype, a, (n, n), lda))
            self.write(dtype, w, values[:, None], n)
            self.write(dtype, a, vectors, lda)
            # All of it may be written to.
            self.pointer(work, dtype)[0:lwork][:] = dtype.type(np.nan)
            self.pointer(iwork, np.dtype("int32"))[0:liwork][:] = -1
            return 0

        return syevd

    def geqrf(self, dtype: np.dtype[Any]) -> Callable[..., int]:
        def geqrf(fn: int, m: int, n: int, a: int, lda: int, tau: int, work: int, lwork: int) -> int:
            h, scales = np.linalg.qr(self.read(dtype, a, (m, n), lda), "raw")
            self.write(dtype, a, h.T, lda)
            self.write(dtype, tau, scales[:, None], len(scales))
            self.pointer(work, dtype)[0:lwork][:] = dtype.type(np.nan)
            return 0

        return geqrf

    def gesdd(self, dtype: np.dtype[Any]) -> Callable[..., int]:
        def gesdd(
            fn: int, m: int, n: int, a: int, lda: int, s: int, u: int, ldu: int, vt: int, ldvt: int, work: int,
            lwork: int, iwork: int,
        ) -> int:  # fmt: skip
            left, values, right = np.linalg.svd(self.read(dtype, a, (m, n), lda), full_matrices=False)
            self.write(dtype, a, np.full((m, n), np.nan, dtype), lda)
            for at, matrix, leading in ((s, values[:, None], len(values)), (u, left, ldu), (vt, right, ldvt)):
                self.write(dtype, at, matrix, leading)
            self.pointer(work, dtype)[0:lwork][:] = dtype.type(np.nan)
            self.pointer(iwork, np.dtype("int32"))[0 : 8 * len(values)][:] = -1
            return 0

        return gesdd

    def geev(self, dtype: np.dtype[Any]) -> Callable[..., int]:
        def geev(
            fn: int, n: int, a: int, lda: int, wr: int, wi: int, vl: int, ldvl: int, vr: int, ldvr: int, work: int,
            lwork: int,
        ) -> int:  # fmt: skip
            values, vectors = scipy.linalg.eig(self.read(dtype, a, (n, n), lda))
            packed = vectors.real.copy()
            for j in np.flatnonzero(values.imag > 0):
                packed[:, j + 1] = vectors[:, j].imag
            for at, matrix in ((wr, values.real[:, None]), (wi, values.imag[:, None]), (vr, packed)):
                self.write(dtype, at, matrix.astype(dtype), n)
            self.pointer(work, dtype)[0:lwork][:] = dtype.type(np.nan)
            return 0

        return geev

    def orgqr(self, dtype: np.dtype[Any]) -> Callable[..., int]:
        def orgqr(fn: int, m: int, n: int, k: int, a: int, lda: int, tau: int, work: int, lwork: int) -> int:
            h, scales = self.read(dtype, a, (m, k), lda), self.read(dtype, tau, (k, 1), k)[:, 0]
            q = np.eye(m, n, dtype=dtype)
            for i in reversed(range(k)):
                v = np.concatenate([np.zeros(i, dtype), np.ones(1, dtype), h[i + 1 :, i]])
                q -= scales[i] * np.outer(v, v @ q)
            self.write(dtype, a, q, lda)
            self.pointer(work, dtype)[0:lwork][:] = dtype.type(np.nan)
            return 0

        return orgqr

    def getrf(self, dtype: np.dtype[Any]) -> Callable[..., int]:
        def getrf(fn: int, m: int, n: int, a: int, lda: int, pivots: int) -> int:
            lu, rows = self.read(dtype, a, (m, n), lda), self.pointer(pivots, np.dtype("int32"))
            info = 0
            for k in range(min(m, n)):
                best = k + int(np.argmax(np.abs(lu[k:, k])))
                lu[[k, best]] = lu[[best, k]]
                rows[k] = np.int32(best + 1)
                if lu[k, k] == 0:
                    info = info or k + 1
                    continue
                lu[k + 1 :, k] /= lu[k, k]
                lu[k + 1 :, k + 1 :] -= np.outer(lu[k + 1 :, k], lu[k, k + 1 :])
            self.write(dtype, a, lu, lda)
            return info

        return getrf

    def trsm(self, dtype: np.dtype[Any]) -> Callable[..., None]:
        def trsm(
            fn: int, lower: int, turned: int, unit: int, m: int, n: int, a: int, lda: int, b: int, ldb: int
        ) -> None:
            matrix = self.read(dtype, a, (n, n), lda)
            matrix = np.tril(matrix) if lower else np.triu(matrix)
            if unit:
                np.fill_diagonal(matrix, 1)
            matrix = matrix.T if turned else matrix
            right = self.read(dtype, b, (m, n), ldb)
            solved = OPS["triangular_solve"].reference(matrix.T, right.T, lower=bool(lower) == bool(turned))
            self.write(dtype, b, np.asarray(solved).T, ldb)

        return trsm

    def tile_product(
        self,
        short: str,
        lanes: int,
        rows: int,
        vectors: int,
        tail: bool = False,
        pairwise: bool = False,
        sectioned: bool = False,
        ahead: str = "",
        line: Line | None = None,
        run: int = 1,
    ) -> Callable[..., None]:
        dtype, how = np.dtype(ARRAY_DTYPES[short]), (tail, pairwise, sectioned, line, run)
        return plain_tile_product(self.array(dtype), dtype.itemsize, lanes, rows, vectors, *how)

    def line_gradient(
        self, short: str, lanes: int, vectors: int, tail: bool, sectioned: bool, line: Line
    ) -> Callable[..., None]:
        dtype = np.dtype(ARRAY_DTYPES[short])
        return plain_line_gradient(self.array(dtype), dtype.itemsize, lanes, vectors, tail, sectioned, line)

    def group_product(
        self, short: str, lanes: int, rows: int, group: tuple[int, int, int], tail: bool, apart: bool, sectioned: bool
    ) -> Callable[..., None]:
        dtype = np.dtype(ARRAY_DTYPES[short])
        return plain_group_product(self.array(dtype), dtype.itemsize, lanes, rows, group, tail, apart, sectioned)

    def pack_square(self, short: str, lanes: int, whole: bool) -> Callable[..., None]:
        dtype = np.dtype(ARRAY_DTYPES[short])
        return plain_pack_square(self.array(dtype), _Block.word, dtype.itemsize, lanes)

    def unpack_square(self, short: str, lanes: int, whole: bool) -> Callable[..., None]:
        return plain_unpack_square(self.array(np.dtype(ARRAY_DTYPES[short])), _Block.word)

    def tile_dots(
        self, short: str, lanes: int, rows: int, columns: int, interleaved: bool = False
    ) -> Callable[..., None]:
        dtype = np.dtype(ARRAY_DTYPES[short])
        return plain_tile_dots(self.array(dtype), dtype.itemsize, rows, columns, interleaved)

    def column_product(
        self, short: str, lanes: int, vectors: int, columns: int, whole: bool, turned: bool, dense_rows: bool
    ) -> Callable[..., None]:
        dtype = np.dtype(ARRAY_DTYPES[short])
        return plain_column_product(self.array(dtype), dtype.itemsize, lanes * vectors, columns, whole, turned)

    def pair_product(self, rows: int, vectors: int) -> Callable[..., None]:
        return plain_pair_product(self.array(np.dtype("u2")), self.array(np.dtype("f4")), rows)

    def zero_bytes(self, address: int, n: int) -> None:
        self.array(np.dtype("u1"))(address, n)[:n][:] = 0

    def tile_copy(self, itemsize: int, n: int) -> Callable[..., None]:
        return plain_tile_copy(self.array(np.dtype(f"i{itemsize}")), n)

    def tile_transpose(self, itemsize: int, lanes: int, whole: bool) -> Callable[..., None]:
        return plain_tile_transpose(self.array(np.dtype(f"i{itemsize}")), itemsize)

    def namespace(self) -> dict[str, Any]:
        names = dict(kernel_namespace())
        names["word"], names["set_word"] = _Block.word, _Block.set_word
        names["call_kernel"] = lambda address, block: self.call(self.called[address - 1], block)
        names["window"] = lambda pointer, start, n: _Array(
            pointer.memory, pointer.offset + int(start) * pointer.dtype.itemsize, pointer.dtype
        )
        for suffix, dtype in ARRAY_DTYPES.items():
            names[f"array_{suffix}"] = self.array(np.dtype(dtype))
        names["column_product"] = self.column_product
        names["group_product"] = self.group_product
        names["pack_square"], names["unpack_square"] = self.pack_square, self.unpack_square
        names["line_gradient"], names["tile_product"] = self.line_gradient, self.tile_product
        names["pair_columns"] = plain_pair_columns(self.array(np.dtype("u2")))
        names["pair_row"] = plain_pair_row(self.array(np.dtype("u2")))
        names["pair_product"] = self.pair_product
        names["tile_copy"] = self.tile_copy
        names["zero_bytes"] = self.zero_bytes
        names["tile_dots"] = self.tile_dots
        names["tile_transpose"] = self.tile_transpose
        names["gemm_f32"], names["gemm_f64"] = self.gemm(np.dtype("f4")), self.gemm(np.dtype("f8"))
        names["gemv_f32"], names["gemv_f64"] = self.gemv(np.dtype("f4")), self.gemv(np.dtype("f8"))
        for name in ("potrf", "getrf", "trsm", "syevd", "geqrf", "orgqr", "gesdd", "geev"):
            make = getattr(self, name)
            names[f"{name}_f32"], names[f"{name}_f64"] = make(np.dtype("f4")), make(np.dtype("f8"))
        return names

    def call(self, source: str, block: _Block) -> int:
        if source not in self.kernels:
            names = self.namespace()
            exec(compile(source, "<kernel>", "exec"), names)
            self.kernels[source] = names["kernel"]
        return int(self.kernels[source](block))

    def call_blocks(self, source: str, block: _Block, blocks: int, threads: int) -> int:
        """Runs a GPU's kernel, the last block first; the code of a trap, or 0."""
        code = compile(source, "<kernel>", "exec")
        for index in reversed(range(blocks)):
            names = self.namespace()
            one = Block(index, blocks, threads, lambda memory, dtype: _Array(memory, 0, dtype))
            names.update(one.names())
            exec(code, names)
            if trapped := one.run(names["kernel"], block):
                return trapped
        return 0


def _garbage(nbytes: int) -> Array:
    return np.full(nbytes, 0xA5, np.uint8)


def _as_bytes(array: Array) -> Array:
    return np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8).copy()


def run_unjitted(plan: Plan, *arrays: Array) -> list[Array]:
    """The outputs of the planned graph. Raises `IndexError` where a kernel stops the run."""
    graph = plan.graph
    constants = [v.node.attrs["value"] for v in plan.constants if v.node]
    memory = [
        _garbage(plan.arena_bytes),
        *map(_as_bytes, arrays),
        *(_garbage(v.type.nbytes) for v in graph.outputs),
        *map(_as_bytes, constants),
    ]
    first = {"arena": 0, "input": 1, "output": 1 + len(graph.inputs)}
    first["constant"] = first["output"] + len(graph.outputs)
    machine = _Machine(memory)

    def word(arg: Arg, tile: int, worker: int) -> np.int64:
        match arg:
            case Tile():
                return np.int64(tile)
            case KernelAddress():
                return machine.address(arg.source)
            case Routine():
                return np.int64(0)
            case Scratch():
                offset = arg.offset + worker * arg.worker_stride + tile * arg.tile_stride
                return np.int64(_address(1) + offset)
            case Pointer():
                location = plan.locations[arg.value]
                base = 1 + first[location.place] + location.index
                return np.int64(_address(base) + location.offset + arg.offset)
            case _:
                return np.int64(arg)

    def run_grid(launch: Launch) -> None:
        (call,) = launch.calls
        words = _Block([word(arg, 0, 0) for arg in call.args])
        if code := machine.call_blocks(call.source, words, min(launch.tiles, plan.threads), launch.threads):
            raise IndexError(lowered.traps.entries[code - 1].node)

    def run(launch: Launch) -> None:
        for tile in reversed(range(launch.tiles)):
            for call in launch.calls:
                block = [word(arg, tile, tile % plan.threads) for arg in call.args]
                with np.errstate(all="ignore"):
                    code = machine.call(call.source, _Block(block))
                if code:
                    raise IndexError(lowered.traps.entries[code - 1].node)

    lowered = lower(plan)
    for phase in lowered.phases:
        units = [unit for unit in phase if not isinstance(unit, Loop)]
        assert len(units) == len(phase), "a loop has launches for each iteration"
        for stage in range(max(map(len, units), default=0)):
            launches = [launch for unit in units if stage < len(unit) for launch in unit[stage]]
            for launch in reversed(launches):
                (run_grid if plan.target.is_gpu else run)(launch)
    return [_output(plan, graph, memory, first, i) for i in range(len(graph.outputs))]


def _output(plan: Plan, graph: Graph, memory: list[Array], first: dict[str, int], i: int) -> Array:
    value = graph.outputs[i]
    location = plan.locations[value]
    base, offset = first[location.place] + location.index, location.offset
    if i in graph.aliases:
        base, offset = 1 + graph.aliases[i], 0
    return memory[base][offset : offset + value.type.nbytes].view(value.type.dtype).reshape(value.type.shape)
