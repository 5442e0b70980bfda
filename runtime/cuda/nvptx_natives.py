"""What native functions are on an NVIDIA GPU, as instructions of LLVM's NVPTX."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from llvmlite import ir

from ..codegen import intrinsics
from ..codegen.gpu_math import GPU_MATH
from ..codegen.gpu_natives import GPU_NATIVES, SHUFFLED, constant_size, trap
from ..codegen.natives import INT, NATIVES, WORD, Machine, Native, declared, llvm_type, stack_slot

GLOBAL, SHARED = 1, 3
"""LLVM's numbers of the memory that a whole grid has, and of that which a block has."""

_WARP = 32
_ALIGNMENT = 16
"""Bytes that a thread reads together at most."""


def _special_register(name: str) -> Callable[[Any], Any]:
    def emit(builder: Any) -> Any:
        typed = ir.FunctionType(INT, ())
        register = declared(builder.module, f"llvm.nvvm.read.ptx.sreg.{name}", typed)
        return builder.zext(builder.call(register, ()), WORD)

    return emit


def _emit_barrier(builder: Any) -> None:
    typed = ir.FunctionType(ir.VoidType(), (INT,))
    builder.call(declared(builder.module, "llvm.nvvm.barrier.cta.sync.aligned.all", typed), (INT(0),))


def _emit_shuffle_word(builder: Any, value: Any, mask: Any) -> Any:
    """The 32 bits of another thread of the warp."""
    typed = ir.FunctionType(INT, (INT, INT, INT, INT))
    shuffle = declared(builder.module, "llvm.nvvm.shfl.sync.bfly.i32", typed)
    return builder.call(shuffle, (INT(-1), value, mask, INT(_WARP - 1)))


def _shuffle(kind: str) -> Callable[[Any, Any, Any], Any]:
    real = llvm_type(kind)
    bits: Any = INT if kind.endswith("32") else WORD

    def emit(builder: Any, value: Any, mask: Any) -> Any:
        mask = builder.trunc(mask, INT)
        value = builder.bitcast(value, bits)
        low = _emit_shuffle_word(builder, builder.trunc(value, INT) if bits is WORD else value, mask)
        if bits is WORD:
            high = _emit_shuffle_word(builder, builder.trunc(builder.lshr(value, WORD(32)), INT), mask)
            high = builder.shl(builder.zext(high, WORD), WORD(32))
            low = builder.or_(high, builder.zext(low, WORD))
        return builder.bitcast(low, real)

    return emit


def _shared(kind: str) -> Callable[[Any, Any], Any]:
    element = llvm_type(kind, True)

    def emit(builder: Any, n: Any) -> Any:
        module = builder.module
        typed = ir.ArrayType(element, constant_size(f"shared_{kind}", n))
        memory: Any = ir.GlobalVariable(module, typed, module.get_unique_name("shared"), addrspace=SHARED)
        memory.linkage, memory.align, memory.initializer = "internal", 16, ir.Constant(typed, ir.Undefined)
        return builder.addrspacecast(builder.bitcast(memory, element.as_pointer(SHARED)), element.as_pointer())

    return emit


def _emit_trap(builder: Any, code: Any) -> None:
    """The word for errors is where the last parameter of every kernel points to."""
    word = builder.inttoptr(builder.function.args[-1], WORD.as_pointer(GLOBAL))
    builder.cmpxchg(word, WORD(0), code, "monotonic", "monotonic")


# ---- arguments and memory


def _emit_word(builder: Any, words: Any, i: Any) -> Any:
    return builder.load(builder.gep(words, [i], inbounds=True))


def _type_of_word(arguments: tuple[str, ...]) -> Any:
    """A kernel's words are its parameters: the block is a pointer to them, and no address."""
    return ("i64", ("i64*", "i64")) if len(arguments) == 2 and arguments[0] == "i64*" else None


def _array(kind: str) -> Callable[[Any, Any, Any], Any]:
    element = llvm_type(kind, True)

    def emit(builder: Any, address: Any, n: Any) -> Any:
        memory = builder.inttoptr(address, element.as_pointer(GLOBAL))
        return builder.addrspacecast(memory, element.as_pointer())

    return emit


def parameter_words(builder: Any, count: int) -> Any:
    """A pointer to the first `count` parameters of a kernel. What is read by a constant index stays a parameter."""
    words = stack_slot(builder, ir.ArrayType(WORD, max(count, 1)))
    for i, parameter in enumerate(builder.function.args[:count]):
        builder.store(parameter, builder.gep(words, [INT(0), INT(i)], inbounds=True))
    return builder.gep(words, [INT(0), INT(0)], inbounds=True)


def _emit_aligned(builder: Any, pointer: Any, i: Any) -> Any:
    return builder.load(builder.gep(pointer, [i], inbounds=True), align=_ALIGNMENT)


_EMITTERS: Mapping[Any, Callable[..., Any]] = {
    GPU_NATIVES["thread_index"]: _special_register("tid.x"),
    GPU_NATIVES["block_index"]: _special_register("ctaid.x"),
    GPU_NATIVES["block_size"]: _special_register("ntid.x"),
    GPU_NATIVES["grid_size"]: _special_register("nctaid.x"),
    GPU_NATIVES["barrier"]: _emit_barrier,
    trap: _emit_trap,
    **{GPU_NATIVES[f"shuffle_xor_{kind}"]: _shuffle(kind) for kind in SHUFFLED},
    **{GPU_NATIVES[f"shared_{kind}"]: _shared(kind) for kind in SHUFFLED},
    **{GPU_NATIVES[f"aligned_{kind}"]: _emit_aligned for kind in SHUFFLED},
    **{getattr(intrinsics, f"array_{kind}"): _array(kind) for kind in intrinsics.ARRAY_DTYPES},
}

NVPTX = Machine(
    "an NVIDIA GPU",
    {
        **GPU_MATH,
        **{function: Native(emit, NATIVES[function].typed) for function, emit in _EMITTERS.items()},
        intrinsics.word: Native(_emit_word, _type_of_word),
    },
)
"""Arithmetic is the CPU's, and so are its bits. A call of anything that is only on a CPU, such as BLAS, is refused."""
