"""A plan with machine code and memory: what runs."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ...ir import Array, ArrayType, Node
from ...passes.memory.plan import Plan
from ..codegen.kernel_cache import KernelRequest, code_salt, compile_kernels
from ..lowering.launch_list import lower
from ..lowering.refusal import refusal
from .program import Program
from .ranks_block import ranks_block
from .tables import Tables
from .thread_pool import driver_request

_LINE = 64


def _namespace() -> Any:
    from ..lowering.namespace import kernel_namespace

    return kernel_namespace()


def allocate(nbytes: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """`nbytes` of memory that begins at a cache line."""
    memory = np.empty(nbytes + _LINE, np.uint8)
    skip = -memory.ctypes.data % _LINE
    return memory[skip : skip + nbytes]


def hold(types: Iterable[ArrayType]) -> list[Array]:
    """Arrays each of which begins at a cache line; their memory is taken from the system as they are written."""
    return [allocate(type.nbytes).view(type.dtype).reshape(type.shape) for type in types]


def address_of(array: np.ndarray[Any, Any]) -> int:
    """The address of the first element."""
    try:
        return ctypes.addressof(ctypes.c_char.from_buffer(array))  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError):  # read-only or empty: as good, but it takes a microsecond
        return array.__array_interface__["data"][0]


def addresses_of(arrays: Sequence[np.ndarray[Any, Any]]) -> list[int]:
    """`address_of` of each."""
    address, memory = ctypes.addressof, ctypes.c_char.from_buffer
    try:
        return [address(memory(array)) for array in arrays]  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError):
        return [address_of(array) for array in arrays]


class Executable:
    """Machine code for a plan, and its arena.

    Set the memory of inputs and of outputs with `bind_input` and `bind_output`: C-contiguous arrays of exactly the
    type of the graph's input or output, which must live until the run is over. An output that overwrites an input is
    found there. `kernels` are what it is made of, which took `kernel_seconds` to compile or to read; `kernel_users`
    are the units that each of them runs. `ranks` are those that a plan with collectives is of.
    """

    def __init__(self, plan: Plan, arena: np.ndarray[Any, np.dtype[np.uint8]] | None = None, ranks: Any = None) -> None:
        self.plan = plan
        graph = plan.graph
        self._first_output = 1 + len(graph.inputs)
        self._first_constant = self._first_output + len(graph.outputs)
        lowered = lower(plan)
        self._traps = lowered.traps
        uses: dict[str, list[Node]] = {}
        for source, node in lowered.uses():
            uses.setdefault(source, []).extend([] if node is None else [node])
        salt = code_salt()
        cpu = plan.target.name
        requests = [KernelRequest(source, "kernel", _namespace, salt=salt, cpu=cpu) for source in uses]
        start = time.perf_counter()
        self.kernels = compile_kernels([*requests, driver_request()])
        self.kernel_users = [*uses.values(), []]
        self.kernel_seconds = time.perf_counter() - start
        addresses = {source: kernel.address for source, kernel in zip(uses, self.kernels)}
        self._ranks = ranks_block(plan, ranks)
        block = 0 if self._ranks is None else self._ranks.address
        tables = Tables(lowered, addresses, block)
        self.program = Program(**tables.arrays(), threads=plan.threads, ranks=block)
        constants = [v.node for each in lowered.plans() for v in each.constants if v.node is not None]
        self._constants = [np.ascontiguousarray(node.attrs["value"]) for node in constants]
        self._bound: dict[int, np.ndarray[Any, Any]] = {}
        bases = self.program.bases
        self.use_arena(allocate(plan.arena_bytes) if arena is None else arena)
        for i, array in enumerate(self._constants):
            bases[self._first_constant + i] = address_of(array)

    @property
    def arena_bytes(self) -> int:
        """What the plan needs of the arena."""
        return self.plan.arena_bytes

    def use_arena(self, arena: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
        """Work in `arena` from now on: at least `plan.arena_bytes`, beginning at a cache line. Programs that never
        run at the same time may share one.
        """
        assert arena.nbytes >= self.plan.arena_bytes
        self.arena = arena
        self.program.bases[0] = address_of(arena)

    def bind_input(self, i: int, array: np.ndarray[Any, Any]) -> None:
        """Let input `i` of the graph be read (and, if aliased, overwritten) in `array`."""
        self._bound[1 + i] = array
        self.program.bases[1 + i] = address_of(array)

    def bind_output(self, i: int, array: np.ndarray[Any, Any]) -> None:
        """Let output `i` of the graph be written to `array`."""
        self._bound[self._first_output + i] = array
        self.program.bases[self._first_output + i] = address_of(array)

    def output_in_arena(self, i: int) -> np.ndarray[Any, Any]:
        """A view of output `i`, of a plan made with `outputs_in_arena`; the next run overwrites it."""
        value = self.plan.graph.outputs[i]
        location = self.plan.locations[value]
        memory = self.arena[location.offset : location.offset + value.type.nbytes]
        return memory.view(value.type.dtype).reshape(value.type.shape)

    def run(
        self,
        inputs: Sequence[np.ndarray[Any, Any]] = (),
        outputs: Sequence[np.ndarray[Any, Any]] = (),
        first_input: int = 0,
    ) -> None:
        """Run once. Raises `IndexError` where an index is out of range, `ValueError` where an integer is raised to a
        negative power, `np.linalg.LinAlgError` where a matrix is singular or not positive definite, and
        `FloatingPointError` where a number that is checked is not finite; inputs are then as they were before.
        `ConnectionError` where another rank does not send what it should, and inputs may be half updated then.

        `inputs`, from number `first_input` of the graph on, and `outputs` serve for this run alone and are not held
        after it; what is not given must be bound.
        """
        bases = self.program.bases
        bases[1 + first_input : 1 + first_input + len(inputs)] = addresses_of(inputs)
        bases[self._first_output : self._first_output + len(outputs)] = addresses_of(outputs)
        code = self.program.run()
        if code:
            raise refusal(self._traps.entries[code - 1])
