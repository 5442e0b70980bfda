"""Our front end: a Python function as LLVM's code, in the part of Python that kernels and the driver are written in.

That part is numbers, booleans and typed pointers, with the arithmetic of `arithmetic`; assignments, `if`, `while`,
`for ... in range(...)`, `break`, `continue`, `return`; calls of native functions, of number types, of some of NumPy's
functions, and of other functions in this part, which become part of the caller, or are called where they stand `apart`.

A variable belongs to the block (of an `if` or a loop) in which it is first assigned, and keeps its type there. So types
follow from one reading of the source, without type inference. A variable is a stack slot, loaded and stored where it is
used; LLVM's mem2reg turns slots into registers and phis.

What is outside of this part raises `Unsupported`: Numba knows more, and takes ten times as long.
"""

from __future__ import annotations

import ast
import builtins
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import numpy as np
from llvmlite import ir

from .arithmetic import COMPARISONS, INTRINSICS, TYPES, WIDENED, Arithmetic, Unsupported, Value
from .definitions import definition
from .natives import APART, BYTE, CPU, INT, NATIVES, NUMBERS, WORD, Machine, Native, llvm_type, stack_slot
from .vector_math.functions import VECTOR_MATH


@dataclass
class _Call:
    """A function that is being lowered, and where its `return` goes."""

    names: Mapping[str, Any]
    variables: list[dict[str, Value]]
    after: Any
    result: Value | None = None


@dataclass
class _Loop:
    """A loop: its latch, which leads to the next iteration, and what comes after it. `accesses` is the access group of
    its loads and stores of elements, if those of an iteration depend on none of another one.
    """

    latch: Any
    after: Any
    accesses: Any = None


class _Distinct(ir.MDValue):
    """A metadata node that equals no other. llvmlite merges nodes of equal operands; each loop needs one of its own."""

    def __init__(self, module: Any) -> None:
        super().__init__(module, (), str(len(module.metadata)))

    def descr(self, buf: list[str]) -> None:
        buf.append("distinct ")
        super().descr(buf)


def _loop_metadata(module: Any, accesses: Any, masked: bool) -> Any:
    """Metadata of a loop whose accesses to memory depend on none of another iteration; `masked`, its end is a masked
    vector instead of a scalar remainder.

    Without it LLVM puts a vectorized loop behind tests at run time that its arrays do not overlap.
    """
    hints = [module.add_metadata(["llvm.loop.parallel_accesses", accesses])]
    if masked:
        hints.append(module.add_metadata(["llvm.loop.vectorize.predicate.enable", ir.Constant(ir.IntType(1), True)]))
    loop = _Distinct(module)
    loop.operands = (loop, *hints)  # a loop's own name comes first
    return loop


_MOST_CALLS = 20
"""Calls inside each other: more are a recursion."""

LIBRARY_MATH = {
    found: name
    for name in sorted({name for name, _ in VECTOR_MATH})
    for module in (math, np)
    if (found := getattr(module, name, None)) is not None
}
"""Functions of Python's and of NumPy's library, which users call, and the vector functions that do the same."""


class KernelModule(ir.Module):
    """A function as LLVM's code. `by_element`, its own text reads or writes elements of arrays, in loops that LLVM may
    make vectors of; else native functions do all of that, as they emit it.
    """

    by_element = False


def lower(function: Callable[..., Any], symbol: str, machine: Machine = CPU) -> KernelModule:
    """A module with the function `int64(int64)`, in the convention `i32 symbol(i64 *result, i8 **exception, i64)`.

    Its native functions are those of `machine`. Raises `Unsupported`.
    """
    module = KernelModule(symbol)
    typed = ir.FunctionType(INT, (WORD.as_pointer(), BYTE.as_pointer().as_pointer(), WORD))
    native = ir.Function(module, typed, symbol)
    for pointer in native.args[:2]:
        pointer.add_attribute("noalias")
    builder = ir.IRBuilder(native.append_basic_block())
    lowering = Lowering(builder, machine)
    result = lowering.convert(lowering.inline(function, [Value("i64", native.args[2])]), "i64")
    builder.store(result.llvm, native.args[0])
    builder.ret(INT(0))
    module.by_element = lowering.by_element
    return module


class Lowering(Arithmetic, ast.NodeVisitor):
    """Lowers statements and expressions where its builder stands, with the native functions of a machine."""

    def __init__(self, builder: Any, machine: Machine = CPU) -> None:
        super().__init__(builder)
        self.machine = machine
        self.calls: list[_Call] = []
        self.loops: list[_Loop] = []
        self.by_element = False

    def generic_visit(self, node: ast.AST) -> Any:
        raise Unsupported(f"{type(node).__name__} in line {getattr(node, 'lineno', 0)}")

    # ---- functions and variables

    def inline(self, function: Callable[..., Any], arguments: Sequence[Value]) -> Value:
        """The result of a function, whose code is put here."""
        defined = definition(function)
        parameters = [argument.arg for argument in (*defined.args.args, *defined.args.kwonlyargs)]
        if len(parameters) != len(arguments) or len(self.calls) == _MOST_CALLS or function.__closure__:
            raise Unsupported(f"a call of {defined.name}")
        variables: dict[str, Value] = {}
        after = self.builder.append_basic_block()
        self.calls.append(_Call(function.__globals__, [variables], after))
        loops, self.loops = self.loops, []
        for name, value in zip(parameters, arguments):
            self.assign(name, value)
        self.block(defined.body)
        if not self.builder.block.is_terminated:
            self.builder.branch(after)
        self.builder.position_at_end(after)
        self.loops = loops
        result = self.calls.pop().result
        return Value("none", None) if result is None else self.load(result)

    def call_apart(self, function: Callable[..., Any], arguments: Sequence[Value]) -> Value:
        """The result of a function of words, which is one in this module too."""
        module, name = self.builder.module, f"{function.__module__}.{function.__name__}"
        made = module.globals.get(name)
        if made is None:
            made = ir.Function(module, ir.FunctionType(WORD, [WORD] * len(arguments)), name)
            made.attributes.add("noinline")
            within = Lowering(ir.IRBuilder(made.append_basic_block()), self.machine)
            result = within.inline(function, [Value("i64", argument) for argument in made.args])
            self.by_element |= within.by_element
            within.builder.ret(WORD(0) if result.type == "none" else within.convert(result, "i64").llvm)
        return Value("i64", self.builder.call(made, [self.convert(argument, "i64").llvm for argument in arguments]))

    def load(self, slot: Value) -> Value:
        return Value(slot.type, self.builder.load(slot.llvm))

    def slot(self, kind: str) -> Value:
        return Value(kind, stack_slot(self.builder, llvm_type(kind)))

    def assign(self, name: str, value: Value) -> None:
        variables = self.calls[-1].variables
        slot = next((block[name] for block in reversed(variables) if name in block), None)
        if slot is None:
            slot = variables[-1][name] = self.slot(value.type)
        self.builder.store(self.fitted(value, slot.type).llvm, slot.llvm)

    def fitted(self, value: Value, kind: str) -> Value:
        """A value as a type that holds all values of its own."""
        if value.type != kind and (kind != "i64" or value.type not in WIDENED) and kind != "f64":
            raise Unsupported(f"a variable is {kind} and {value.type}")
        return self.convert(value, kind)

    def static(self, node: ast.expr) -> Any:
        """The Python object that an expression is, whatever runs; `Unsupported` for a variable."""
        if isinstance(node, ast.Attribute):
            return getattr(self.static(node.value), node.attr)
        call = self.calls[-1]
        if not isinstance(node, ast.Name) or any(node.id in block for block in call.variables):
            raise Unsupported(f"{ast.unparse(node)} is not known beforehand")
        if node.id in call.names:
            return call.names[node.id]
        if not hasattr(builtins, node.id):
            raise Unsupported(f"{node.id} is not defined")
        return getattr(builtins, node.id)

    # ---- statements

    def block(self, statements: Sequence[ast.stmt]) -> dict[str, Value]:
        """Statements with variables of their own, which are returned, up to one that goes elsewhere."""
        self.calls[-1].variables.append({})
        for statement in statements:
            if self.builder.block.is_terminated:
                break
            self.visit(statement)
        return self.calls[-1].variables.pop()

    def visit_Assign(self, node: ast.Assign) -> None:
        if len(node.targets) != 1:
            raise Unsupported("several targets")
        target = node.targets[0]
        if isinstance(target, ast.Tuple):
            if not isinstance(node.value, ast.Tuple) or len(node.value.elts) != len(target.elts):
                raise Unsupported("a tuple that is no list of names")
            values = [self.visit(value) for value in node.value.elts]
            for part, value in zip(target.elts, values):
                self.store(part, value)
        else:
            self.store(target, self.visit(node.value))

    def store(self, target: ast.expr, value: Value) -> None:
        if isinstance(target, ast.Name):
            self.assign(target.id, value)
        elif isinstance(target, ast.Subscript):
            kind, place = self.element(target)
            stored = self.convert(value, kind).llvm
            stored = self.builder.zext(stored, BYTE) if kind == "bool" else stored
            self.named(self.builder.store(stored, place))
        else:
            self.generic_visit(target)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.store(node.target, self.binary(type(node.op), self.visit(node.target), self.visit(node.value)))

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):  # a docstring
            self.visit(node.value)

    def visit_Return(self, node: ast.Return) -> None:
        call = self.calls[-1]
        if node.value is not None:
            value = self.visit(node.value)
            if call.result is None:
                call.result = self.slot(value.type)
            self.builder.store(self.fitted(value, call.result.type).llvm, call.result.llvm)
        self.builder.branch(call.after)

    def visit_If(self, node: ast.If) -> None:
        then, after = self.builder.append_basic_block(), self.builder.append_basic_block()
        otherwise = self.builder.append_basic_block() if node.orelse else after
        self.builder.cbranch(self.truth(node.test), then, otherwise)
        arms: list[tuple[dict[str, Value], Any]] = []
        for start, statements in ((then, node.body), (otherwise, node.orelse)):
            if statements:
                self.builder.position_at_end(start)
                variables = self.block(statements)
                if not self.builder.block.is_terminated:
                    arms.append((variables, self.builder.block))
                    self.builder.branch(after)
        self.builder.position_at_end(after)
        if node.orelse and arms:
            self.merge(arms)

    def merge(self, arms: Sequence[tuple[dict[str, Value], Any]]) -> None:
        """Variables that all arms of a condition assign, with one type, live on after it: in the first arm's slots."""
        (first, _), *others = arms
        for name, slot in first.items():
            same = [(variables[name], end) for variables, end in others if name in variables]
            if len(same) == len(others) and all(other.type == slot.type for other, _ in same):
                self.calls[-1].variables[-1][name] = slot
                for other, end in same:
                    with self.builder.goto_block(end):  # before its terminator
                        self.builder.store(self.builder.load(other.llvm), slot.llvm)

    def visit_While(self, node: ast.While) -> None:
        head, body, after = (self.builder.append_basic_block() for _ in range(3))
        self.builder.branch(head)
        self.builder.position_at_end(head)
        self.builder.cbranch(self.truth(node.test), body, after)
        self.builder.position_at_end(body)
        self.loop(node, _Loop(head, after))

    def visit_For(self, node: ast.For) -> None:
        over = node.iter
        if not (isinstance(over, ast.Call) and isinstance(over.func, ast.Name) and self.static(over.func) is range):
            raise Unsupported("a loop over something else than a range")
        if not isinstance(node.target, ast.Name):
            raise Unsupported("a loop of several variables")
        bounds = [self.convert(self.visit(bound), "i64").llvm for bound in over.args]
        start, stop = bounds[:2] if len(bounds) > 1 else (WORD(0), bounds[0])
        step = bounds[2] if len(bounds) == 3 else WORD(1)
        counter = stack_slot(self.builder, WORD)
        self.builder.store(start, counter)
        head, body, latch, after = (self.builder.append_basic_block() for _ in range(4))
        self.builder.branch(head)
        self.builder.position_at_end(head)
        index = self.builder.load(counter)
        self.builder.cbranch(self.goes_on(index, stop, step), body, after)
        self.builder.position_at_end(latch)
        self.builder.store(self.builder.add(self.builder.load(counter), step, flags=("nsw",)), counter)
        back_edge = self.builder.branch(head)
        accesses = None
        if over.func.id in ("parallel_range", "masked_range"):
            module = self.builder.module
            accesses = _Distinct(module)
            back_edge.set_metadata("llvm.loop", _loop_metadata(module, accesses, over.func.id == "masked_range"))
        self.builder.position_at_end(body)
        self.calls[-1].variables.append({})
        self.assign(node.target.id, Value("i64", index))
        self.loop(node, _Loop(latch, after, accesses))
        self.calls[-1].variables.pop()

    def goes_on(self, index: Any, stop: Any, step: Any) -> Any:
        """Whether a range goes on at `index`."""
        build = self.builder
        up, down = (build.icmp_signed(sign, index, stop) for sign in "<>")
        if isinstance(step, ir.Constant):
            return up if step.constant > 0 else down
        return build.select(build.icmp_signed(">", step, WORD(0)), up, down)

    def loop(self, node: ast.For | ast.While, loop: _Loop) -> None:
        """The body of a loop, from where the builder stands; then the builder stands after the loop."""
        if node.orelse:
            raise Unsupported("else after a loop")
        self.loops.append(loop)
        self.block(node.body)
        self.loops.pop()
        if not self.builder.block.is_terminated:
            self.builder.branch(loop.latch)
        self.builder.position_at_end(loop.after)

    def visit_Break(self, node: ast.Break) -> None:
        self.builder.branch(self.loops[-1].after)

    def visit_Continue(self, node: ast.Continue) -> None:
        self.builder.branch(self.loops[-1].latch)

    def visit_Pass(self, node: ast.Pass) -> None:
        pass

    # ---- values

    def visit_Constant(self, node: ast.Constant) -> Value:
        return self.constant(node.value)

    def visit_Name(self, node: ast.Name) -> Value:
        for block in reversed(self.calls[-1].variables):
            if node.id in block:
                return self.load(block[node.id])
        return self.constant(self.static(node))

    def visit_Attribute(self, node: ast.Attribute) -> Value:
        return self.constant(self.static(node))

    def element(self, node: ast.Subscript) -> tuple[str, Any]:
        """The type and the address of an element."""
        array, index = self.visit(node.value), self.visit(node.slice)
        if not array.type.endswith("*"):
            raise Unsupported(f"an element of {array.type}")
        self.by_element = True
        return array.type[:-1], self.builder.gep(array.llvm, [self.convert(index, "i64").llvm], inbounds=True)

    def named(self, access: Any) -> Any:
        """A load or a store, under the name that accesses have in this loop."""
        if self.loops and self.loops[-1].accesses is not None:
            access.set_metadata("llvm.access.group", self.loops[-1].accesses)
        return access

    def visit_Subscript(self, node: ast.Subscript) -> Value:
        kind, place = self.element(node)
        value = self.named(self.builder.load(place))
        return Value(kind, self.builder.trunc(value, llvm_type("bool")) if kind == "bool" else value)

    def truth(self, node: ast.expr) -> Any:
        return self.nonzero(self.visit(node))

    # ---- operators

    def visit_BinOp(self, node: ast.BinOp) -> Value:
        return self.binary(type(node.op), self.visit(node.left), self.visit(node.right))

    def visit_UnaryOp(self, node: ast.UnaryOp) -> Value:
        return self.unary(type(node.op), self.visit(node.operand))

    def visit_Compare(self, node: ast.Compare) -> Value:
        if len(node.ops) != 1:
            raise Unsupported("a chain of comparisons")
        return self.compare(type(node.ops[0]), self.visit(node.left), self.visit(node.comparators[0]))

    def visit_BoolOp(self, node: ast.BoolOp) -> Value:
        first, *rest = node.values
        for other in rest:
            first = ast.IfExp(first, other, ast.Constant(False))
            if isinstance(node.op, ast.Or):
                first = ast.IfExp(first.test, ast.Constant(True), other)
        return Value("bool", self.truth(first))

    def visit_IfExp(self, node: ast.IfExp) -> Value:
        condition, build = self.truth(node.test), self.builder
        if _is_cheap(node.body) and _is_cheap(node.orelse):
            x, y = self.visit(node.body), self.visit(node.orelse)
            x, y = (x, y) if x.type == y.type else self.common(x, y)
            return Value(x.type, build.select(condition, x.llvm, y.llvm))
        then, otherwise, after = (build.append_basic_block() for _ in range(3))
        build.cbranch(condition, then, otherwise)
        values: list[tuple[Value, Any]] = []
        for start, part in ((then, node.body), (otherwise, node.orelse)):
            build.position_at_end(start)
            values.append((self.visit(part), build.block))
        (x, x_end), (y, y_end) = values
        if x.type != y.type:
            build.position_at_end(x_end)
            kind = "i64" if {x.type, y.type} <= set(WIDENED) else "f64"
            x = self.fitted(x, kind)
            build.position_at_end(y_end)
            y = self.fitted(y, kind)
        for end in (x_end, y_end):
            build.position_at_end(end)
            build.branch(after)
        build.position_at_end(after)
        phi = build.phi(llvm_type(x.type))
        phi.add_incoming(x.llvm, x_end)
        phi.add_incoming(y.llvm, y_end)
        return Value(x.type, phi)

    # ---- calls

    def visit_Call(self, node: ast.Call) -> Value:
        if node.keywords:
            raise Unsupported("arguments by name")
        function = self.static(node.func)
        arguments = [self.visit(argument) for argument in node.args]
        if isinstance(function, type):
            if len(arguments) == 1 and function in TYPES:
                return self.convert(arguments[0], TYPES[function])
        elif native := self.machine.native(function):
            return self.native(function, native, arguments)
        elif function in INTRINSICS and len(arguments) == 1 and arguments[0].type in ("f32", "f64"):
            return self.intrinsic(INTRINSICS[function], arguments[0])
        elif function in LIBRARY_MATH and all(argument.type in NUMBERS for argument in arguments):
            narrow = all(argument.type == "f32" for argument in arguments)
            vectorized = VECTOR_MATH[LIBRARY_MATH[function], "float32" if narrow else "float64"]
            return self.native(vectorized, NATIVES[vectorized], arguments)
        elif function is abs and len(arguments) == 1:
            return self.absolute(arguments[0])
        elif function in (min, max) and len(arguments) == 2 and {a.type for a in arguments} <= set(WIDENED):
            return self.smallest(*arguments, sign="<" if function is min else ">")
        elif isinstance(function, FunctionType):
            return (self.call_apart if function in APART else self.inline)(function, arguments)
        raise Unsupported(f"a call of {ast.unparse(node.func)}")

    def native(self, function: Any, native: Native, arguments: Sequence[Value]) -> Value:
        typed = native.typed(tuple(argument.type for argument in arguments))
        if typed is None:
            raise Unsupported(f"{function.__name__} of {', '.join(argument.type for argument in arguments)}")
        result, parameters = typed
        values = [self.convert(value, kind).llvm for value, kind in zip(arguments, parameters)]
        return Value(result, native.emit(self.builder, *values))


_CHEAP = (
    *(ast.Name, ast.Constant, ast.Load, ast.UnaryOp, ast.USub, ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.BitAnd),
    *(ast.BitOr, ast.Compare, *COMPARISONS),
)


def _is_cheap(node: ast.expr) -> bool:
    """Whether to compute an expression does no harm and takes no longer than not to."""
    return all(isinstance(part, _CHEAP) or _is_conversion(part) for part in ast.walk(node))


_NAMES_OFTYPES = frozenset(TYPES.values())


def _is_conversion(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _NAMES_OFTYPES
