"""Shards: what a rank holds of a parameter or of its state, as equal pieces of its elements in their order.

Known elsewhere as ZeRO (Rajbhandari et al., 2020) and fully sharded data parallel.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...ir import Array, ArrayType, Node, Value
from ...ir.ops import collectives, dynamic_slice
from .. import array_api as xp
from ..optim import Optimizer
from ..optim.update_inputs import StateSpec, UpdateInputs
from ..tracing.tracer import Trace, Tracer, emit, located


@dataclass(frozen=True)
class Shards:
    """How the elements of an array lie on the ranks: in `blocks` of equal length, the last of which end in zeros. Each
    rank has as many, one after the other. The number of blocks does not depend on that of the ranks.
    """

    ranks: int
    blocks: int

    def block(self, size: int) -> int:
        """Elements of a block of an array of so many."""
        return -(-size // self.blocks)

    def type(self, whole: ArrayType) -> ArrayType:
        """The type of a rank's shard of an array."""
        return replace(whole, shape=(self.blocks // self.ranks * self.block(whole.size),))

    # ---- traced

    def padded(self, x: Any) -> Any:
        """All elements in their order, and zeros up to whole blocks."""
        flat = xp.reshape(x, (-1,))
        rest = self.blocks * self.block(x.size) - x.size
        return xp.concatenate([flat, xp.zeros((rest,), dtype=x.dtype)]) if rest else flat

    def own(self, x: Any) -> Any:
        """This rank's shard of what all ranks have."""
        flat = self.padded(x)
        if self.ranks == 1:
            return flat
        rows = xp.reshape(flat, (self.ranks, -1))
        mine = emit(dynamic_slice.dynamic_slice, rows, _number(self.ranks, x), size=1, axis=0, batch=0)
        return xp.reshape(mine, (-1,))

    def scattered(self, x: Any) -> Any:
        """This rank's shard of the sum over all ranks."""
        return emit(collectives.reduce_scatter, self.padded(x), ranks=self.ranks)

    def whole(self, shard: Any, type: ArrayType) -> Any:
        """The array of which each rank has a shard."""
        every = emit(collectives.all_gather, shard, ranks=self.ranks)
        return xp.reshape(every[: type.size], type.shape)

    # ---- held

    def cut(self, array: Array, rank: int) -> Array:
        """The shard of a rank."""
        flat = np.zeros(self.blocks * self.block(array.size), array.dtype)
        flat[: array.size] = array.reshape(-1)
        return flat.reshape(self.ranks, -1)[rank]

    def joined(self, shards: Sequence[Array], type: ArrayType) -> Array:
        """The array that all ranks' shards are of."""
        return np.concatenate(shards)[: type.size].reshape(type.shape)


def _number(ranks: int, near: Tracer) -> Tracer:
    trace = near.owner
    return Tracer(trace, trace.emit_node(collectives.rank_index, ranks=ranks).output)


@dataclass(frozen=True)
class BlockSums:
    """Sums and maxima of all elements of arrays in an order that does not depend on the ranks, nor on who has which
    shard: block by block, then over the blocks. With `sharded`, what is summed is a shard.
    """

    shards: Shards
    sharded: bool

    def _of_blocks(self, x: Any, reduce: Any) -> Any:
        flat = xp.reshape(x, (-1,)) if self.sharded else self.shards.padded(x)
        blocks = self.shards.blocks // self.shards.ranks if self.sharded else self.shards.blocks
        found = reduce(xp.reshape(flat, (blocks, -1)), axis=1)
        return emit(collectives.all_gather, found, ranks=self.shards.ranks) if self.sharded else found

    def sum(self, x: Any) -> Any:
        """The sum of all elements."""
        return xp.sum(self._of_blocks(x, xp.sum))

    def max(self, x: Any) -> Any:
        """The largest of elements that are not negative."""
        return xp.max(self._of_blocks(x, xp.max))


def owners(types: Mapping[str, ArrayType], state: Iterable[str]) -> dict[str, str]:
    """For each array of state the parameter that it is of, if it is of one: state names end in those of parameters."""
    found = {name: [path for path in types if name.endswith(f".{path}")] for name in state}
    return {name: max(paths, key=len) for name, paths in found.items() if paths}


def updated_whole(
    optimizer: Optimizer, types: Mapping[str, ArrayType], specs: Mapping[str, StateSpec]
) -> frozenset[str]:
    """The parameters that a rule does not update element by element, as it reads a norm or multiplies matrices: the
    ranks have to put together what it reads of them.

    Raises `NotImplementedError` for state with axes that is of no single parameter.
    """
    of = owners(types, specs)
    for name, spec in specs.items():
        if spec.type.shape and name not in of:
            what = f"the state {name} of shape {spec.type.shape} is of no single parameter"
            how = "take an optimizer of each parameter by itself, such as AdamW, or leave shard out"
            raise NotImplementedError(located(f"shard with {optimizer.title}: {what}; {how}"))
    found = {path for path, type in types.items() if not type.shape}
    found |= {path for name, path in of.items() if specs[name].type.shape not in ((), types[path].shape)}
    with Trace() as trace:
        scalar = ArrayType((), np.dtype("float64"))
        given = UpdateInputs(
            parameters={name: trace.input(t, name) for name, t in types.items()},
            gradients={name: trace.input(t, name) for name, t in types.items()},
            state={name: trace.input(spec.type, name) for name, spec in specs.items()},
            step=trace.input(ArrayType((), np.dtype("int64")), "step"),
            rates={group: trace.input(scalar, group) for group in optimizer.rates},
            loss=trace.input(ArrayType((), np.dtype("float32")), "loss"),
            loss_at=_no_loss,
            evaluate=_no_loss,
            taps=[],
        )
        new, new_state = optimizer.update_all(given)
        if all(map(_is_elementwise, trace.builder.nodes)):
            return frozenset(found)
        arrays = {x.value: name for some in (given.parameters, given.gradients) for name, x in some.items()}
        arrays |= {given.state[name].value: path for name, path in of.items()}
        for x in (*new.values(), *new_state.values()):
            before = _upstream(x.value) if isinstance(x, Tracer) else set[Value]()
            if any(v.node is not None and not _is_elementwise(v.node) for v in before):
                found |= {arrays[v] for v in before if v in arrays and v.type.shape}
    return frozenset(found)


def _upstream(value: Value) -> set[Value]:
    """The value and all that it is computed from."""
    found: set[Value] = set()
    stack = [value]
    while stack:
        value = stack.pop()
        if value not in found:
            found.add(value)
            stack += () if value.node is None else value.node.inputs
    return found


def _no_loss(parameters: Any) -> Any:
    raise NotImplementedError(located("shard with an optimizer that evaluates the loss again"))


def _is_elementwise(node: Node) -> bool:
    """Whether a node computes each element from those in its place, and from numbers."""
    return node.op.is_elementwise or all(not v.type.shape for v in node.inputs)
