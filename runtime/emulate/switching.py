"""From one fiber to another, as LLVM's code: glibc's makecontext begins a fiber, its _setjmp and _longjmp switch.

swapcontext would do both, with two system calls a switch, which take ten times as long. A fiber that called _setjmp
does nothing before it leaves, so its stack and registers are what they were when _setjmp returns once more.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from ..codegen.natives import INT, WORD, declared

_THREAD = ir.FunctionType(ir.VoidType(), (WORD,))
_MAKE = ir.FunctionType(ir.VoidType(), (WORD, WORD, INT), var_arg=True)
_POINTER_BYTES = 8


def emit_switch(builder: Any, here: Any, there: Any) -> None:
    """Saves this fiber at `here`, and goes on where one was saved at `there`."""
    leave = declared(builder.module, "_longjmp", ir.FunctionType(ir.VoidType(), (WORD, INT)))
    _leave(builder, here, lambda: builder.call(leave, (there, INT(1))))


def emit_enter(builder: Any, here: Any, context: Any) -> None:
    """Saves this fiber at `here`, and begins one in its context."""
    begin = declared(builder.module, "setcontext", ir.FunctionType(INT, (WORD,)))
    _leave(builder, here, lambda: builder.call(begin, (context,)))


def _leave(builder: Any, here: Any, go: Any) -> None:
    save = declared(builder.module, "_setjmp", ir.FunctionType(INT, (WORD,)))
    save.attributes.add("returns_twice")
    again = builder.icmp_signed("!=", builder.call(save, (here,)), INT(0))
    goes, after = builder.append_basic_block(), builder.append_basic_block()
    builder.cbranch(again, after, goes)
    builder.position_at_end(goes)
    go()
    builder.unreachable()
    builder.position_at_end(after)


def emit_make(builder: Any, context: Any, kernel: Any, scratch: Any, block: Any) -> None:
    """Lets a context begin with a kernel, which gets two pointers to memory and the address of a block."""
    make = declared(builder.module, "makecontext", _MAKE)
    builder.call(make, (context, kernel, INT(3), scratch, builder.add(scratch, WORD(_POINTER_BYTES)), block))


def emit_call(builder: Any, function: Any, argument: Any) -> None:
    """Calls `void function(int64)`."""
    builder.call(builder.inttoptr(function, _THREAD.as_pointer()), (argument,))
