"""The loops of a region: tiles of rows, rows, and the sweeps over a row with the values held between them.

They follow from the region, the layout of what it reads and the target, so the planner and the lowering agree on them.
They do not follow from budgets or threads, since tiles fix the order of sums.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ...ir import Builder, Graph, Node, Value, is_float
from ...ir.ops import contraction, creation, movement, reduction
from ...ir.types import contiguous_strides
from ..graph.views import View, own
from ..target import DEFAULT_TARGET, Target
from .matmul_tiles import panel_bytes
from .row_tiles import (
    RowTiles,
    accumulator_count,
    column_tiles,
    even_tiles,
    shared_rows,
    summed_tile_rows,
    tile_rows_of,
    whole_groups,
)

_BYTES_AN_ELEMENT = 16
"""Bytes of the L1 cache for an element of a row, where the domain is one long axis: a row stays there with its buffers.
"""
# Rows of a product that a tile makes where its epilogue runs with it: with fewer, packing costs more than a tenth.
_PRODUCT_ROWS = 128
LEAST_BLOCK = 256
"""Rows that are added up one after the other in any case."""
# Functions such as exp take as long as all the rest of a region. A tile of a region with several of them has fewer
# elements, by this factor at most, so that threads end at about the same time.
_SLOW_TILES = 4
# Bytes of row buffers in the shared memory of a block of a GPU, at most, and elements that such a row is rounded to.
_BYTES_ON_CHIP, _ROWS_ON_CHIP = 32 << 10, 256
# Tiles of a product with an epilogue, at least.
_PRODUCT_TILES = 4


@dataclass(frozen=True, slots=True)
class Access:
    """Where a full or row value lies in memory: element (row, j) is at `offset + row terms + column terms`.

    `row_strides` has one stride for each of the nest's row axes, `column_strides` one for each column axis, in
    elements.
    """

    offset: int
    row_strides: tuple[int, ...]
    column_strides: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """A value as a part of output `output` of the region, in which it lies as `view` says."""

    output: int
    view: View


@dataclass
class LoopNest:
    """The loops of one region.

    `row_axes` and `column_axes` are lengths after merging neighbours that all accesses walk as one. With `chunked`
    the only axis is cut into rows of `chunk` elements, the last one shorter. `tiles` tiles of rows, as `cut` says, are
    independent. With `together` above 1 so many rows are walked as one, and what differs by column alone is repeated
    for them in a line. A sum over rows has so many `accumulators`, rows of sums: row i of a tile is added to
    accumulator i modulo their number. Sums over long groups of rows are added up in blocks (`block_rows`), of which
    each worker has a line.

    Kinds of values: a `full` value has one element for each element of the domain, a `row` value one for each row, a
    `crossing` value is reduced over rows, and a `scalar` is an input of one element or the constant key of random bits.

    `sweeps[s]` lists the full nodes computed in sweep s over a row; `row_nodes[s]` the row nodes computed before sweep
    s. `buffers` are full values that a later sweep or a reduction reads back from a row buffer. `crossings` are
    reductions over rows; with more than one tile each tile leaves a partial sum in scratch, and a last launch adds
    these in order.

    Where the region concatenates values, `body` ends before that: `parts` are its last outputs.

    Where the region begins with a dot, `body` is what follows, and its first input is `product`, of which each worker
    holds the `product_rows` rows of a tile, and the panels that these are made in: sums of `product_terms` terms,
    by pairs of bfloat16 where `product_by_pairs`.
    """

    target: Target
    body: Graph
    row_axes: tuple[int, ...]
    column_axes: tuple[int, ...]
    chunked: bool
    size: int
    rows: int
    columns: int
    cut: RowTiles
    tiles: int
    kinds: dict[Value, str]
    accesses: dict[Value, Access]
    sweeps: list[list[Node]]
    row_nodes: list[list[Node]]
    sweep_of: dict[Value, int]
    buffers: list[Value] = field(default_factory=list[Value])
    crossings: list[Node] = field(default_factory=list[Node])
    last_read: dict[Value, int] = field(default_factory=dict[Value, int])
    product: Value | None = None
    product_rows: int = 0
    product_terms: int = 0
    product_by_pairs: bool = False
    together: int = 1
    accumulators: int = 1
    parts: Mapping[Value, Part] = field(default_factory=dict["Value", "Part"])

    @property
    def chunk(self) -> int:
        """Elements of a row where the only axis is cut."""
        return row_elements(self.target)

    @property
    def rows_on_chip(self) -> bool:
        """Whether row buffers are in the registers or the shared memory of a block of a GPU."""
        elements = -(-self.columns // _ROWS_ON_CHIP) * _ROWS_ON_CHIP
        nbytes = elements * sum(max(v.type.dtype.itemsize, 4) for v in self.buffers)
        return self.target.is_gpu and nbytes <= _BYTES_ON_CHIP

    @property
    def buffer_bytes(self) -> int:
        """Bytes of all row buffers and lines of one worker, and of its tile of the product."""
        return self.product_bytes + self.lines_at + self.line_bytes(self.lines)

    def workers_bytes(self, workers: int) -> int:
        """Bytes of the buffers of so many workers; a GPU runs no more blocks than there are tiles."""
        return self.buffer_bytes * (min(workers, self.tiles) if self.target.is_gpu else workers)

    @property
    def lines_at(self) -> int:
        """Where the lines begin in a worker's buffers."""
        if self.rows_on_chip:
            return 0
        return sum(self.target.round_to_line(self.columns * v.type.dtype.itemsize) for v in self.buffers)

    def line_bytes(self, values: Sequence[Value]) -> int:
        """Bytes of the lines of these values."""
        return sum(self.target.round_to_line(self.accumulators * self.columns * v.type.dtype.itemsize) for v in values)

    @property
    def lines(self) -> list[Value]:
        """Values with a line of `accumulators` rows: inputs that are repeated, sums over rows, sums of blocks."""
        repeated = [v for v in self.body.inputs if self.together > 1 and self.repeated(v)]
        accumulated = [n.output for n in self.crossings if self.accumulators > 1 and by_columns(self, n)]
        return repeated + accumulated + [n.output for n in self.crossings if block_rows(n)]

    def repeated(self, value: Value) -> bool:
        """Whether a value differs by column alone."""
        access = self.accesses[value]
        return self.kinds[value] == "full" and not any(access.row_strides) and any(access.column_strides)

    @property
    def product_bytes(self) -> int:
        """Bytes of a tile of the product, and behind it of its panels; they come last in a worker's buffers."""
        if self.product is None or self.target.is_gpu:
            return 0
        return self.panels_at + panel_bytes(
            self.product_rows,
            self.product_terms,
            self.product.type.dtype.itemsize,
            self.target,
            self.product_by_pairs,
        )

    @property
    def panels_at(self) -> int:
        """Bytes of a tile of the product."""
        assert self.product is not None
        product = self.product.type
        return self.target.round_to_line(self.product_rows * product.shape[1] * product.dtype.itemsize)

    @property
    def partial_bytes(self) -> int:
        """Bytes of the partial sums that tiles leave of crossing reductions."""
        if self.tiles <= 1:
            return 0
        parts = [self.tiles * n.output.type.nbytes for n in self.crossings if self.partial(n)]
        return sum(map(self.target.round_to_line, parts))

    def partial(self, node: Node) -> bool:
        """Whether a crossing reduction has partial sums. One with kept axes before the reduced ones has none: its tiles
        are whole groups of rows.
        """
        return self.tiles > 1 and reduction_form(node)[0] != "middle"

    def group_rows(self, node: Node) -> int:
        """Consecutive rows that are reduced to one element, or one row of columns, of a crossing reduction's result."""
        form = reduction_form(node)[0]
        return self.rows if form != "middle" else _group_rows(node)


def _group_rows(node: Node) -> int:
    axes: tuple[int, ...] = node.attrs["axes"]
    return math.prod(node.inputs[0].type.shape[a] for a in axes)


def block_rows(node: Node) -> int:
    """Rows that a sum over a long middle axis adds up before it begins anew: about as many as there are such blocks, as
    errors grow with both. 0 for other reductions.
    """
    if (
        node.op is not reduction.reduce_sum
        or not is_float(node.output.type.dtype)
        or reduction_form(node)[0] != "middle"
    ):
        return 0
    rows = _group_rows(node)
    return max(LEAST_BLOCK, math.isqrt(rows)) if rows > LEAST_BLOCK else 0


@functools.cache
def squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape without axes of length 1."""
    return tuple(n for n in shape if n != 1)


def reduction_form(node: Node) -> tuple[str, int]:
    """The form of a reduction over its input as a domain, and the number of row axes that it asks for.

    `row`: over the last axes. `all`: over everything. `columns`: over the first axes. `middle`: axes are kept on both
    sides.
    """
    shape = node.inputs[0].type.shape
    axes: tuple[int, ...] = node.attrs["axes"] if "axes" in node.attrs else (node.attrs["axis"],)
    kept_before = squeezed(shape[: axes[0]])
    kept_after = squeezed(shape[axes[-1] + 1 :])
    reduced = len(squeezed(tuple(shape[a] for a in axes)))
    if not kept_after:
        return ("row", len(kept_before)) if kept_before else ("all", 0)
    return ("middle" if kept_before else "columns"), len(kept_before) + reduced


def _squeeze(shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(s for n, s in zip(shape, strides) if n != 1)


def _merge(
    lengths: tuple[int, ...], all_strides: list[tuple[int, ...]]
) -> tuple[tuple[int, ...], list[tuple[int, ...]]]:
    """Merge neighbouring axes that every access walks as one."""
    merged: list[int] = []
    kept: list[list[int]] = [[] for _ in all_strides]
    for axis, length in enumerate(lengths):
        if merged and all(k[-1] == length * s[axis] for k, s in zip(kept, all_strides)):
            merged[-1] *= length
            for k, s in zip(kept, all_strides):
                k[-1] = s[axis]
        else:
            merged.append(length)
            for k, s in zip(kept, all_strides):
                k.append(s[axis])
    return tuple(merged), [tuple(k) for k in kept]


def product_of(region: Node) -> Node | None:
    """The dot at the head of a region's body, if there is one."""
    first = region.attrs["body"].nodes[:1]
    return first[0] if first and first[0].op is contraction.dot else None


def tile_rows(m: int, n: int, target: Target = DEFAULT_TARGET) -> int:
    """Rows of an (m, n) product that a tile makes, or 0 where the tiles would be too few or too small: for whatever
    target.
    """
    tiles, whole = _PRODUCT_TILES, 16
    if target.has_many_cores:
        tiles, whole = target.whole_rounds(max(tiles, -(-m // _PRODUCT_ROWS))), 4
    rows = min(_PRODUCT_ROWS, max(16, -(-m // tiles // whole) * whole))
    return rows if m > rows and n >= 16 else 0


def _without_product(body: Graph) -> Graph:
    """The epilogue of the dot in the body of a region (x, rest..., y), as a graph of (product, rest...)."""
    b = Builder()
    product = b.input(body.nodes[0].output.type)
    local = {body.nodes[0].output: product}
    local.update((v, b.input(v.type)) for v in body.inputs[1:-1])
    for node in body.nodes[1:]:
        local.update(zip(node.outputs, b.copy(node, [local[v] for v in node.inputs]).outputs))
    return b.graph([local[v] for v in body.outputs])


def is_concatenated(value: Value) -> bool:
    """Whether an output of a region's body is a concatenation of values that the region makes."""
    return value.node is not None and value.node.op is movement.concatenate


def _parts(body: Graph) -> tuple[Graph, dict[Value, Part]]:
    """The body with the parts of each concatenation as outputs, and where they lie in the whole."""
    concatenated = [(o, v.node) for o, v in enumerate(body.outputs) if v.node is not None and is_concatenated(v)]
    if not concatenated:
        return body, {}
    parts: dict[Value, Part] = {}
    for o, node in concatenated:
        strides = contiguous_strides(node.output.type.shape)
        axis: int = node.attrs["axis"]
        done = 0
        for value in node.inputs:
            parts[value] = Part(o, View(value, done * strides[axis], value.type.shape, strides))
            done += value.type.shape[axis]
    nodes = [node for node in body.nodes if node.op is not movement.concatenate]
    outputs = [v for v in body.outputs if not is_concatenated(v)]
    return Graph(body.inputs, nodes, [*outputs, *parts]), parts


def row_elements(target: Target) -> int:
    """Elements of a row where the domain is one long axis."""
    return target.l1_bytes // _BYTES_AN_ELEMENT


def loop_nest(region: Node, views: Mapping[Value, View], target: Target, cut: RowTiles | None = None) -> LoopNest:
    """The loops of `region`, whose inputs lie as `views` says; over tiles of rows that are cut so, if it is given."""
    body: Graph = region.attrs["body"]
    product = product_of(region)
    if product is not None:
        body = _without_product(body)
    body, parts = _parts(body)
    domain: tuple[int, ...] = region.attrs["domain"]
    rows: int = region.attrs["rows"]
    crossing = [n for n in body.nodes if n.op.is_reduction and _is_crossing(n, domain)]
    # Where each value in memory lies. Values of other shapes than a row's or the domain's are read whole, as scalars.
    where: dict[Value, View] = {}
    scalars: dict[Value, int] = {}
    row_shape = domain if rows < 0 else domain[:rows]
    for value, outer in zip(body.inputs, region.inputs):
        view = views[outer] if product is None or value is not body.inputs[0] else own(value)
        if squeezed(value.type.shape) not in (domain, row_shape):
            scalars[value] = view.offset
            continue
        where[value] = View(value, view.offset, value.type.shape, view.strides)
    for value in body.outputs:
        if value.node is not None and value.node not in crossing:
            where[value] = parts[value].view if value in parts else own(value)
    row_count = max(len(domain) - 1, 0) if rows < 0 else rows
    full_strides = {v: _squeeze(w.shape, w.strides) for v, w in where.items()}
    needs_index = any(n.op is creation.iota for n in body.nodes)
    chunked = False
    # A region that asks for no rows may choose its own. Where all its accesses walk the domain as one axis, that axis
    # is cut into rows. Else the last axis after merging is the row, as long as no sum asks for the axes as they are,
    # and no node for its index along them.
    if rows < 0 and (not needs_index or len(domain) == 1) and product is None:
        lengths, merged = _merge(domain, list(full_strides.values()))
        if len(lengths) <= 1 and not (crossing and len(domain) > 1):
            chunked = True
            full_strides = dict(zip(full_strides, merged))
            domain = lengths or (1,)
            full_strides = {v: s or (0,) for v, s in full_strides.items()}
            row_count = 0
        elif not crossing and len(lengths) > 1:
            full_strides, domain, row_count = dict(zip(full_strides, merged)), lengths, len(lengths) - 1
    kinds = _kinds(body, domain, row_count, crossing, chunked)
    kinds.update((v, "scalar") for v in scalars)
    # A constant key is a number in the kernel, unless the region also writes it.
    keys = (v for n in body.nodes if n.op is creation.random_bits for v in n.inputs)
    kinds.update((v, "scalar") for v in keys if is_free(v) and v not in body.outputs)
    row_lengths, column_lengths = domain[:row_count], domain[row_count:]
    accesses: dict[Value, Access] = {}
    full_values = [v for v in where if kinds[v] == "full"]
    # Fewer axes are fewer divisions to find an element. Nodes that compute with an index need the axes as they are.
    if needs_index:
        row_axes, column_axes = row_lengths, column_lengths
        rows_of = {v: full_strides[v][:row_count] for v in where}
        columns_of = {v: full_strides[v][row_count:] for v in full_values}
    else:
        row_axes, merged_rows = _merge(row_lengths, [full_strides[v][:row_count] for v in where])
        column_axes, merged_columns = _merge(column_lengths, [full_strides[v][row_count:] for v in full_values])
        rows_of = dict(zip(where, merged_rows))
        columns_of = dict(zip(full_values, merged_columns))
    for v in where:
        accesses[v] = Access(where[v].offset, rows_of[v], columns_of.get(v, ()))
    accesses.update((v, Access(offset, (), ())) for v, offset in scalars.items())
    total_columns = math.prod(column_lengths)
    total_rows = math.prod(row_lengths)
    if chunked:
        chunk = row_elements(target)
        total_rows, total_columns = -(-domain[0] // chunk), min(chunk, domain[0])
    nest = LoopNest(
        target,
        body,
        row_axes,
        column_axes,
        chunked,
        math.prod(domain),
        total_rows,
        total_columns,
        RowTiles(1, 1, 1),
        1,
        kinds,
        accesses,
        [],
        [],
        {},
        [],
        crossing,
        parts=parts,
    )
    nest.cut = cut or _tiles(nest)
    if product is not None and target.is_gpu:
        nest.product = body.inputs[0]  # sums of a tile are finished where they are made, in no tiles of rows
    elif product is not None:
        m, n = product.output.type.shape
        nest.product, nest.product_rows = body.inputs[0], tile_rows(m, n, target)
        nest.product_terms = product.inputs[0].type.shape[-1]
        nest.product_by_pairs = contraction.has_bf16_factors(product)
        nest.cut = RowTiles(nest.product_rows, 1, nest.product_rows)
    nest.tiles = max(1, nest.cut.count(nest.rows))
    _sweep(nest)
    _walk_together(nest)
    return nest


def _is_crossing(node: Node, domain: tuple[int, ...]) -> bool:
    if "axis" in node.attrs:
        return False
    return reduction_form(node)[0] != "row" or squeezed(node.inputs[0].type.shape) != domain


def _kinds(body: Graph, domain: tuple[int, ...], rows: int, crossing: list[Node], chunked: bool) -> dict[Value, str]:
    row = domain[:rows]

    def kind(value: Value) -> str:
        return "row" if not chunked and row != domain and squeezed(value.type.shape) == row else "full"

    kinds = {value: kind(value) for value in body.inputs}
    for node in body.nodes:
        kinds.update((v, "crossing" if node in crossing else kind(v)) for v in node.outputs)
    return kinds


def summed_tiles(node: Node, target: Target) -> RowTiles:
    """Tiles of rows that a reduction over rows wants. They fix the order of its sums, so they follow from its operand
    alone: the sum has the same bits in every region.
    """
    domain = squeezed(node.inputs[0].type.shape)
    form, asked = reduction_form(node)
    rows = domain[: max(len(domain) - 1, 0) if form == "all" else asked]
    columns = math.prod(domain[len(rows) :])
    if form == "middle":
        return whole_groups(math.prod(rows), columns, _group_rows(node), target)
    if form == "columns":
        return column_tiles(rows, columns, target)
    return even_tiles(math.prod(rows), summed_tile_rows(math.prod(rows), columns, target))


def _tiles(nest: LoopNest) -> RowTiles:
    """Tiles of rows: those that sums want, which agree, since fusion joins no others. Without sums the tiles fix no
    order, and slow regions have smaller ones.
    """
    if nest.crossings and not nest.chunked:
        return summed_tiles(nest.crossings[0], nest.target)
    if nest.crossings:
        return even_tiles(nest.rows, summed_tile_rows(nest.rows, nest.columns, nest.target))
    slow = sum(n.op.is_transcendental for n in nest.body.nodes if nest.kinds[n.outputs[0]] == "full")
    smaller = 1 if nest.target.is_gpu else max(1, min(slow, _SLOW_TILES))
    wanted = tile_rows_of(nest.columns, nest.target, smaller)
    return even_tiles(nest.rows, shared_rows(nest.rows, nest.columns, wanted, nest.target, smaller))


def _walk_together(nest: LoopNest) -> None:
    """Sets the accumulators of sums, and the rows that are walked together where all that they touch allows it.

    The accumulators fix the order of a sum, so they follow from what is summed alone. That rows are walked together
    changes no order, so it may depend on the layout of what else the region reads.

    On a GPU the threads of a block do both, without lines.
    """
    if nest.target.is_gpu:
        return
    forms = {reduction_form(n)[0] for n in nest.crossings}
    short = not nest.chunked and nest.product is None and "middle" not in forms
    count = accumulator_count(nest.columns, nest.cut.step) if short else 1
    if not forms <= {"columns"}:
        nest.accumulators = count if "columns" in forms else 1
        return
    # Rows may be walked as one long row where all values are dense, or differ by column alone and come from outside:
    # those are repeated in a line.
    dense = ((nest.columns,), (1,))
    alike = len(nest.row_axes) == len(nest.column_axes) == 1
    alike = alike and not any(n.op.depends_on_place for n in nest.body.nodes)
    alike = alike and not nest.buffers and "row" not in nest.kinds.values()
    for value, access in nest.accesses.items():
        if nest.kinds[value] == "full" and (access.row_strides, access.column_strides) != dense:
            alike = alike and value.node is None and not any(access.row_strides)
    nest.together = count if alike else 1
    nest.accumulators = count if alike or forms else 1


def _sweep(nest: LoopNest) -> None:
    """Put each node in its sweep over a row, and find the values that must be held from one sweep to a later one.

    A value is ready in the first sweep in which all that it is computed from is. The result of a reduction along the
    row is ready in the next sweep only, as it needs the whole row: a softmax has three sweeps.
    """
    ready = nest.sweep_of
    for value in nest.body.inputs:
        ready[value] = 0
    reads: dict[Value, int] = nest.last_read
    for node in nest.body.nodes:
        at = max((ready[v] for v in node.inputs), default=0)
        kind = nest.kinds[node.outputs[0]]
        reduces = kind == "crossing" or (kind == "row" and node.op.is_reduction)
        if reduces and nest.kinds[node.inputs[0]] == "full":
            # A reduction of full values needs the whole row, so it ends its sweep.
            for value in node.outputs:
                ready[value] = at + 1
        else:
            for value in node.outputs:
                ready[value] = at
    last = max(ready.values(), default=0)
    nest.sweeps = [[] for _ in range(last + 1)]
    nest.row_nodes = [[] for _ in range(last + 2)]
    buffered: dict[Value, None] = {}
    outputs = set(nest.body.outputs)
    for node in nest.body.nodes:
        kind = nest.kinds[node.outputs[0]]
        if kind == "scalar":
            continue
        at = ready[node.outputs[0]]
        if kind == "full":
            nest.sweeps[at].append(node)
            reading = at
        else:
            nest.row_nodes[at].append(node)
            reading = at
            if node.op.is_reduction and nest.kinds[node.inputs[0]] == "full":
                reading = at - 1
                value = node.inputs[0]
                # Reductions along a row run after the sweep, over a dense row: a buffer, where memory has none.
                if not by_columns(nest, node) and not _readable(nest, value, outputs):
                    buffered[value] = None
        for value in node.inputs:
            reads[value] = max(reads.get(value, 0), reading)
            # Registers do not outlive a sweep. Outputs are read back from memory, and generated values are cheap enough
            # to be computed again.
            made_earlier = nest.kinds[value] == "full" and value.node is not None and ready[value] < reading
            if kind == "full" and made_earlier and value not in outputs and not is_free(value):
                buffered[value] = None
    nest.buffers = list(buffered)


def by_columns(nest: LoopNest, node: Node) -> bool:
    """Whether a reduction adds whole rows together, column by column."""
    return nest.kinds[node.outputs[0]] == "crossing" and reduction_form(node)[0] in ("columns", "middle")


def is_free(value: Value) -> bool:
    """Whether a full value is computed again wherever it is read."""
    return value.node is not None and value.node.op.is_generated


def _readable(nest: LoopNest, value: Value, outputs: set[Value]) -> bool:
    """Whether a row of the value stands densely in memory, so that a reduction needs no buffer."""
    if value in outputs and value not in nest.parts:
        return True
    access = nest.accesses.get(value)
    return access is not None and access.column_strides in ((1,), ())
