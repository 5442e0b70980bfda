"""Products of matrices on a GPU: those of contractions, and of convolutions whose kernel is one place."""

from __future__ import annotations

from dataclasses import dataclass

from ...ir import Node, Value
from ...ir.types import is_float
from ...passes.kernels.block_tiles import product_tiles
from ...passes.kernels.matrix_products import Matrix, MatrixProduct, matrix_product
from ...passes.memory.plan import Plan
from .elementwise import CAST, loaded, stored
from .gpu_copies import begin_accumulators
from .gpu_product import Finish, Result, held, product_launches
from .kernel_text import KernelText
from .launch import Launch, Pointer, Scratch, Traps


def lower_gpu_matmul(node: Node, plan: Plan, traps: Traps) -> list[Launch]:
    """One launch over tiles of all products of the batch, after the copy of what is added to, if any."""
    product = matrix_product(node, plan.views)
    assert product is not None
    return [*begin_accumulators(node, plan), *matrix_launches(product, node, plan)]


def matrix_launches(product: MatrixProduct, node: Node, plan: Plan, finish: Finish | None = None) -> list[Launch]:
    """The launches of the products that a unit consists of, whose sums are stored, or finished as is said."""
    cut = product_tiles(product, plan.target)
    result = Result(product.m, product.n, product.batch, product.result.row_stride, product.result.column_stride)
    left = MatrixFactor("left", product.left.transposed)
    right = MatrixFactor("right", product.right)
    finish = finish or Store(node.output, product.added is not None)
    parts = Scratch(plan.scratch.get(node, 0))
    return product_launches(left, right, result, product.k, product.dtype, cut, finish, parts)


@dataclass(frozen=True)
class MatrixFactor:
    """A factor that is a matrix of (terms, places)."""

    side: str
    matrix: Matrix

    @property
    def terms_first(self) -> bool:
        """Whether its terms are dense."""
        return self.matrix.row_stride == 1 and self.matrix.rows > 1

    def begin(self, text: KernelText) -> None:
        """The array of the factor."""
        address = Pointer(self.matrix.base, self.matrix.offset * self.matrix.base.type.dtype.itemsize)
        text.array(f"of_side_{self.side}", self.matrix.base, address)

    def at_place(self, text: KernelText, name: str, place: str) -> list[str]:
        """Where a place begins."""
        return [f"at_{name} = of_{self.side} + {place} * {text.stride(self.matrix.column_stride)}"]

    def at_term(self, text: KernelText, name: str, term: str) -> list[str]:
        """How far a term is from there."""
        return [f"at_{name} = {term} * {text.stride(self.matrix.row_stride)}"]

    def element(self, text: KernelText, place: str, term: str) -> tuple[str, str]:
        """The element, which there is always."""
        return "", held(f"of_side_{self.side}[at_{place} + at_{term}]", self.matrix.base.type.dtype)


@dataclass(frozen=True)
class Store:
    """A sum is stored in `value`, or `added` to what stands there."""

    value: Value
    added: bool

    def begin(self, text: KernelText) -> None:
        """The array of the result."""
        text.array("z", self.value, Pointer(self.value))

    def lines(self, text: KernelText) -> list[str]:
        """The sum in its place."""
        dtype = self.value.type.dtype
        total = f"{loaded('z[place]', dtype)} + total" if self.added else "total"
        if not is_float(dtype):
            total = f"{CAST[dtype]}({total})"
        return [f"z[place] = {stored(total, dtype)}"]
