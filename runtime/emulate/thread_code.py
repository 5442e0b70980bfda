"""Machine code of one thread of a GPU kernel, for this CPU: `void thread(int64 words)`, with the words of `state`."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir

from ..codegen.arithmetic import Value
from ..codegen.fork_lock import compiler_lock
from ..codegen.gpu_math import GPU_MATH
from ..codegen.gpu_natives import GPU_NATIVES, SHUFFLED, constant_size
from ..codegen.intrinsics import ARRAY_DTYPES, call_kernel, word
from ..codegen.kernel_cache import load
from ..codegen.natives import NATIVES, WORD, Machine, Native, llvm_type
from ..codegen.object_code import emit
from ..codegen.python_to_llvm import Lowering
from . import state as at
from .switching import emit_switch

SHARED_ALIGNMENT = 16


@dataclass(frozen=True)
class Site:
    """A place in a kernel's source, or in that of a function which the kernel calls."""

    file: str
    line: int


@dataclass(frozen=True)
class SharedArray:
    """An array that the threads of a block share: `elements` of `kind`, so many bytes into the block's memory."""

    kind: str
    elements: int
    offset: int
    site: Site

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return itemsize(self.kind)


@dataclass(frozen=True)
class ThreadCode:
    """The code of a thread in this process, and what it needs of a launch."""

    address: int
    waits: bool
    """Whether threads wait for each other."""
    words: int
    """How many words the kernel reads."""
    shared: Sequence[SharedArray]
    shared_bytes: int
    smallest: int
    """Bytes of the smallest element that it accesses."""
    sites: Sequence[Site]


def itemsize(kind: str) -> int:
    """Bytes of an element in memory."""
    return np.dtype(ARRAY_DTYPES[kind]).itemsize


_numbers = itertools.count()


def compile_thread(function: Callable[..., Any], checked: bool) -> ThreadCode:
    """The code of the kernel `function`; `checked`, it looks at every access of an element before it happens.

    Raises `Unsupported` for what the front end does not know.
    """
    with compiler_lock:
        symbol = f"gradloom_emulated_{next(_numbers)}"
        module = ir.Module(symbol)
        native = ir.Function(module, ir.FunctionType(ir.VoidType(), (WORD,)), symbol)
        lowering = _ThreadLowering(ir.IRBuilder(native.append_basic_block()), native.args[0], checked)
        lowering.lower(function)
        code, _ = emit(llvm.parse_assembly(str(module)), symbol)
        return ThreadCode(
            address=load(code, symbol),
            waits=lowering.waits,
            words=lowering.words,
            shared=lowering.shared,
            shared_bytes=lowering.shared_bytes,
            smallest=lowering.finest,
            sites=lowering.sites,
        )


class _ThreadLowering(Lowering):
    """Lowers a kernel to the code of one thread. It keeps where in the source it is, for what faults say."""

    def __init__(self, builder: Any, thread: Any, checked: bool) -> None:
        natives: dict[str, Callable[..., Any]] = {
            "thread_index": partial(self.mine, at.THREAD),
            "block_index": partial(self.mine, at.BLOCK),
            "block_size": partial(self.launched, at.THREADS),
            "grid_size": partial(self.launched, at.GRID),
            "barrier": self.barrier,
            "trap": self.trap,
            **{f"shuffle_xor_{kind}": partial(self.shuffle, kind) for kind in SHUFFLED},
            **{f"shared_{kind}": partial(self.share, kind) for kind in SHUFFLED},
            **{f"aligned_{kind}": partial(self.aligned, kind) for kind in SHUFFLED},
        }
        emitted = {GPU_NATIVES[name]: Native(emit, NATIVES[GPU_NATIVES[name]].typed) for name, emit in natives.items()}
        super().__init__(builder, Machine("the emulator", {**GPU_MATH, **emitted}))
        self.thread, self.checked = thread, checked
        self.waits, self.words, self.shared_bytes, self.finest = False, 0, 0, 8
        self.shared: list[SharedArray] = []
        self.sites: list[Site] = []
        self.files: list[str] = []
        self.node: Any = None
        self.target: ast.expr | None = None
        """The element that is being stored."""

    def lower(self, function: Callable[..., Any]) -> None:
        """Appends all code of a thread. A code that the kernel returns is a trap."""
        code = self.inline(function, [Value("i64", self.launched(at.PARAMETERS, self.builder))])
        if code.type != "none":
            self.trap(self.builder, self.convert(code, "i64").llvm)
        self.builder.ret_void()

    # ---- where in the source this is

    def inline(self, function: Callable[..., Any], arguments: Sequence[Value]) -> Value:
        self.files.append(function.__code__.co_filename)
        result = super().inline(function, arguments)
        self.files.pop()
        return result

    def visit(self, node: ast.AST) -> Any:
        outer, self.node = self.node, node
        result = super().visit(node)
        self.node = outer
        return result

    def site(self, node: Any) -> Any:
        """The number of the place of a node."""
        self.sites.append(Site(self.files[-1], node.lineno))
        return WORD(len(self.sites) - 1)

    # ---- words of the thread and of the launch

    def place(self, words: Any, i: int) -> Any:
        return self.builder.gep(self.builder.inttoptr(words, WORD.as_pointer()), [WORD(i)])

    def mine(self, i: int, builder: Any) -> Any:
        return builder.load(self.place(self.thread, i))

    def set_mine(self, i: int, value: Any) -> None:
        self.builder.store(value, self.place(self.thread, i))

    def launched(self, i: int, builder: Any) -> Any:
        return builder.load(self.place(self.mine(at.LAUNCH, builder), i))

    def set_launched(self, i: int, value: Any) -> None:
        self.builder.store(value, self.place(self.mine(at.LAUNCH, self.builder), i))

    def native(self, function: Any, native: Native, arguments: Sequence[Value]) -> Value:
        if function is word and len(self.calls) == 1 and isinstance(arguments[1].llvm, ir.Constant):
            self.words = max(self.words, arguments[1].llvm.constant + 1)
        return super().native(function, native, arguments)

    # ---- threads together

    def wait(self, state: int, site: Any) -> None:
        """Goes to the scheduler, which comes back when all that must be here are."""
        self.waits = True
        self.set_mine(at.STATE, WORD(state))
        self.set_mine(at.SITE, site)
        emit_switch(self.builder, self.mine(at.JUMP, self.builder), self.launched(at.SCHEDULER, self.builder))

    def barrier(self, builder: Any) -> None:
        self.wait(at.AT_BARRIER, self.site(self.node))

    def shuffle(self, kind: str, builder: Any, value: Any, mask: Any) -> Any:
        """Two halves of the slots take turns: a thread that is one shuffle ahead overwrites nothing that another one
        has still to read.
        """
        site, me, parity = self.site(self.node), self.mine(at.THREAD, builder), self.mine(at.PARITY, builder)
        other = builder.xor(me, mask)
        outside = builder.icmp_unsigned(">=", mask, WORD(at.WARP))
        absent = builder.icmp_unsigned(">=", other, self.launched(at.THREADS, builder))
        with builder.if_then(builder.or_(outside, absent), likely=False):
            for i, noted in (
                (at.FAULT, WORD(at.NO_LANE)),
                (at.FAULT_SITE, site),
                (at.FAULT_THREAD, me),
                (at.FAULT_BLOCK, self.mine(at.BLOCK, builder)),
                (at.FAULT_INDEX, mask),
            ):
                self.set_launched(i, noted)
            builder.ret_void()
        half = builder.mul(parity, WORD(at.MOST_THREADS))
        slots = builder.inttoptr(self.launched(at.SLOTS, builder), WORD.as_pointer())

        def slot(thread: Any) -> Any:
            return builder.bitcast(builder.gep(slots, [builder.add(half, thread)]), llvm_type(f"{kind}*"))

        builder.store(value, slot(me))
        self.set_mine(at.PARITY, builder.xor(parity, WORD(1)))
        self.wait(at.AT_SHUFFLE, site)
        return builder.load(slot(other))

    def share(self, kind: str, builder: Any, n: Any) -> Any:
        elements = constant_size(f"shared_{kind}", n)
        array = SharedArray(kind, elements, self.shared_bytes, Site(self.files[-1], self.node.lineno))
        self.shared.append(array)
        self.shared_bytes += -(-elements * array.itemsize // SHARED_ALIGNMENT) * SHARED_ALIGNMENT
        address = builder.add(self.launched(at.SHARED, builder), WORD(array.offset))
        return builder.inttoptr(address, llvm_type(f"{kind}*"))

    def trap(self, builder: Any, code: Any) -> None:
        first = builder.icmp_signed("==", self.launched(at.TRAPPED, builder), WORD(0))
        with builder.if_then(first):
            self.set_launched(at.TRAPPED, code)

    # ---- elements

    def store(self, target: ast.expr, value: Value) -> None:
        self.target = target
        super().store(target, value)
        self.target = None

    def element(self, node: ast.Subscript) -> tuple[str, Any]:
        kind, place = super().element(node)
        self.check(kind, place, node, node is self.target)
        return kind, place

    def aligned(self, kind: str, builder: Any, pointer: Any, i: Any) -> Any:
        place = builder.gep(pointer, [i], inbounds=True)
        self.check(kind, place, self.node, False)
        return builder.load(place)

    def check(self, kind: str, place: Any, node: Any, writes: bool) -> None:
        """A look at an access to an element, which ends the thread where it is none that a GPU defines."""
        self.finest = min(self.finest, itemsize(kind))
        if self.checked:
            build = self.builder
            for i, value in (
                (at.SITE, self.site(node)),
                (at.BASE, build.ptrtoint(place.pointer, WORD)),
                (at.ADDRESS, build.ptrtoint(place, WORD)),
                (at.BYTES, WORD(itemsize(kind))),
                (at.WRITES, WORD(int(writes))),
            ):
                self.set_mine(i, value)
            code = NATIVES[call_kernel].emit(build, self.launched(at.CHECKER, build), self.thread)
            with build.if_then(build.icmp_signed("!=", code, WORD(0)), likely=False):
                build.ret_void()
