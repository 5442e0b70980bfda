"""A kernel as PTX through numba.cuda: the other compiler, to check ours by.

It needs `numba-cuda` with NVVM and NVRTC, and no GPU. Importing this module imports numba.cuda.

Numba types and lowers the same source, and NVVM compiles it. NVVM contracts products and sums, and no option turns that
off: here arithmetic is made of operations that it leaves alone, so that both compilers give the same bits.
"""

from __future__ import annotations

import ast
import contextlib
import importlib.metadata
import inspect
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from types import FunctionType, SimpleNamespace
from typing import Any

import numba_cuda  # noqa: F401  # pyright: ignore[reportMissingImports]  # else numba's own old copy is found
import numpy as np
from llvmlite import ir
from numba import cuda as numba_target
from numba.cuda import dispatcher as numba_dispatcher
from numba.cuda import extending as numba_extending
from numba.cuda import types as numba_types
from numba.cuda.cudadrv import nvvm as numba_nvvm

from ..codegen import gpu_natives, intrinsics
from ..codegen.arithmetic import INTRINSICS, TYPES, WIDENED, Arithmetic, Unsupported, Value
from ..codegen.definitions import definition
from ..codegen.natives import BYTE, INT, NUMBERS, WORD, Machine, Native, declared, llvm_type, stack_slot
from .nvptx_natives import GLOBAL, NVPTX, SHARED
from .ptx import CodeError, Ptx

types: Any = numba_types  # which are not annotated
cuda: Any = numba_target
dispatcher: Any = numba_dispatcher
extending: Any = numba_extending
intrinsic = extending.intrinsic

_NUMBA: dict[str, Any] = {
    "none": types.none,
    "bool": types.boolean,
    **{name: getattr(types, name.replace("i", "int").replace("u", "uint").replace("f", "float")) for name in NUMBERS},
}
_NUMBA |= {f"{name}*": types.CPointer(element) for name, element in _NUMBA.items() if name != "none"}
_NAMES = {typed: name for name, typed in _NUMBA.items()}


def compile_ptx(function: Callable[..., Any], words: int, arch: str, entry: str = "kernel") -> Ptx:
    """As `ptx.compile_ptx`. The version of PTX is that of the NVVM that is installed. Raises `CodeError`."""
    names = [f"w{i}" for i in range(words)]
    body = _translated(function)
    block = "".join(f"{name}, " for name in names or ["0"])
    source = f"def entry({block if names else ''}error):\n    begin(error)\n    report(body(({block})), error)\n"
    space: dict[str, Any] = {"begin": _begin, "report": _report, "body": body}
    exec(source, space)
    capability = int(arch[3:-1]), int(arch[-1])
    try:
        with _device(capability):
            text, _ = cuda.compile_ptx(space["entry"], (types.int64,) * (words + 1), cc=capability)
    except Exception as error:  # Numba raises many kinds
        raise CodeError(f"numba.cuda has no code for the kernel {function.__name__} for {arch}: {error}") from error
    return Ptx(entry, arch, words, _renamed(text, entry))


def versions() -> tuple[tuple[str, str], ...]:
    """What the text depends on beside the source and our own code: pairs of a name and a text.

    Raises what Numba raises where NVVM is not installed.
    """
    library: Any = numba_nvvm.NVVM()
    nvvm = *library.get_version(), *library.get_ir_version(), _distribution("nvidia-nvvm")
    options = sorted(f"{name}={value}" for name, value in os.environ.items() if name.startswith("NUMBA_"))
    return (
        ("Numba", importlib.metadata.version("numba")),
        ("numba-cuda", importlib.metadata.version("numba-cuda")),
        ("NVVM", " ".join(map(str, nvvm))),
        ("NVRTC", _distribution("nvidia-cuda-nvrtc")),
        ("setting of NUMBA_ variables", " ".join(options)),
    )


def _distribution(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:  # it comes with a toolkit
        return "of a toolkit"


@contextlib.contextmanager
def _device(capability: tuple[int, int]) -> Iterator[None]:
    """Numba asks the device of this machine what to compile functions for that a kernel calls: here, this one."""
    before = dispatcher.get_current_device
    dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=capability)
    try:
        yield
    finally:
        dispatcher.get_current_device = before


def _renamed(text: str, entry: str) -> str:
    """The text without Numba's names, which are others in every process."""
    (mangled,) = re.findall(r"\.visible \.entry (\w+)\(", text)
    return re.sub(r"^\.common \.global .*NumbaEnv.*\n", "", text, flags=re.MULTILINE).replace(mangled, entry)


# ---- functions, as Numba is to see them


class _Renaming(ast.NodeTransformer):
    """Operators and elements of arrays become calls of intrinsics, and NumPy's functions names of their own.

    Names that begin with "__" stand in no kernel.
    """

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        name = ast.Name(f"__binary_{type(node.op).__name__}", ast.Load())
        return ast.copy_location(ast.Call(name, [node.left, node.right], []), node)

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        self.generic_visit(node)
        call = ast.Call(ast.Name("__element", ast.Load()), [node.value, node.slice], [])
        return ast.copy_location(call, node)

    def visit_Assign(self, node: ast.Assign) -> ast.AST | list[ast.stmt]:
        (target,) = node.targets
        targets = target.elts if isinstance(target, ast.Tuple) else [target]
        stores: list[ast.stmt] = []
        for i, part in enumerate(targets):
            if isinstance(part, ast.Subscript):
                value = ast.Name(f"__stored_{i}", ast.Load())
                call = ast.Call(ast.Name("__set_element", ast.Load()), [part.value, part.slice, value], [])
                stores.append(self.visit(ast.copy_location(ast.Expr(call), node)))
                targets[i] = ast.Name(f"__stored_{i}", ast.Store())
        node.targets = [target if isinstance(target, ast.Tuple) else targets[0]]
        node.value = self.visit(node.value)
        return [node, *stores] if stores else node

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        read = ast.parse(ast.unparse(node.target), mode="eval").body
        return self.visit(ast.copy_location(ast.Assign([node.target], ast.BinOp(read, node.op, node.value)), node))

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if isinstance(node.value, ast.Name) and node.value.id == "np":
            return ast.copy_location(ast.Name(f"__np_{node.attr}", node.ctx), node)
        return node


_SHARED = frozenset(gpu_natives.GPU_NATIVES[f"shared_{kind}"] for kind in gpu_natives.SHUFFLED)


@cache
def _translated(function: Any) -> Any:
    """The function that Numba compiles instead of one of ours."""
    tree = _Renaming().visit(ast.parse(ast.unparse(definition(function))))
    space: dict[str, Any] = {}
    exec(compile(ast.fix_missing_locations(tree), f"<{function.__name__} for numba.cuda>", "exec"), space)
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    variables = {node.id for node in found if isinstance(node.ctx, ast.Store)}
    variables |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    names = {node.id: 0 for node in found if node.id not in variables}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id not in variables:
            names[node.func.id] = len(node.args)  # how many arguments it takes
    space |= {name: _operator(name) for name in names if name.startswith("__binary_")}
    space |= {name: _known(getattr(np, name[5:]), n) for name, n in names.items() if name.startswith("__np_")}
    space |= {name: _known(function.__globals__[name], n) for name, n in names.items() if name in function.__globals__}
    space |= {name: _INTRINSICS[name] for name in names.keys() & _INTRINSICS.keys()}
    return extending.register_jitable(space[function.__name__])


def _known(value: Any, arity: int) -> Any:
    """What a global is for Numba, called with so many arguments."""
    if value is intrinsics.word:
        return _word
    if value is gpu_natives.trap:
        return _trap
    if isinstance(value, type) and value in TYPES:
        return _conversion(TYPES[value])
    if callable(value) and value in INTRINSICS:
        return _arithmetic(lambda numbers, x: numbers.intrinsic(INTRINSICS[value], x), 1)
    native = _NVVM.native(value) if callable(value) else None
    if native is not None:
        return _native(native, arity, value in _SHARED)
    return _translated(value) if isinstance(value, FunctionType) else value


# ---- intrinsics


_LIBDEVICE = {
    "llvm.fabs": ("__nv_fabsf", "__nv_fabs"),
    "llvm.sqrt": ("__nv_fsqrt_rn", "__nv_dsqrt_rn"),
    "llvm.copysign": ("__nv_copysignf", "__nv_copysign"),
    **{f"llvm.{name}": (f"__nv_{name}f", f"__nv_{name}") for name in ("floor", "ceil", "trunc", "rint")},
}
"""Functions of CUDA's library, of float32 and of float64, in place of LLVM's intrinsics that NVVM lacks."""


class _Module:
    """A module whose intrinsics are those that NVVM has."""

    def __init__(self, module: Any) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)

    def declare_intrinsic(self, name: str, kinds: Sequence[Any] = (), typed: Any = None) -> Any:
        if name not in _LIBDEVICE:
            return self._module.declare_intrinsic(name, kinds, typed)
        (real,) = kinds
        typed = typed or ir.FunctionType(real, (real,))
        return declared(self._module, _LIBDEVICE[name][real == llvm_type("f64")], typed)


class _Rounded:
    """A builder whose sums and products are rounded as they are written: NVVM contracts others."""

    def __init__(self, builder: Any) -> None:
        self._builder = builder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._builder, name)

    @property
    def module(self) -> Any:
        return _Module(self._builder.module)

    def _call(self, operation: str, x: Any, y: Any) -> Any:
        if isinstance(x.type, ir.VectorType):
            raise Unsupported("a vector, which only a CPU has")
        name = f"llvm.nvvm.{operation}.rn.{'f' if x.type == llvm_type('f32') else 'd'}"
        function = declared(self._builder.module, name, ir.FunctionType(x.type, (x.type, x.type)))
        return self._builder.call(function, (x, y))

    def fadd(self, x: Any, y: Any) -> Any:
        return self._call("add", x, y)

    def fsub(self, x: Any, y: Any) -> Any:
        return self._call("add", x, self.fneg(y))

    def fmul(self, x: Any, y: Any) -> Any:
        return self._call("mul", x, y)

    def fneg(self, x: Any) -> Any:
        return self._builder.fsub(ir.Constant(x.type, -0.0), x)  # NVVM's LLVM has no fneg


def _declare(
    typed: Callable[[tuple[str, ...]], Any], emit: Callable[..., Any], arity: int, constant: bool = False
) -> Any:
    """An intrinsic of Numba. `typed` gives the signature for arguments of some types, or None where there is none.

    The arguments of a `constant` one stand in the source.
    """

    def call(typingctx, *arguments):
        if constant and not all(isinstance(argument, types.IntegerLiteral) for argument in arguments):
            return None  # then Numba asks again, for literal types
        found = typed(tuple(_NAMES.get(types.unliteral(argument), "") for argument in arguments))
        if found is None:
            return None
        kinds = found[1]

        def codegen(context, builder, signature, values):
            given = [
                ir.Constant(llvm_type(kind), argument.literal_value) if constant else value
                for kind, argument, value in zip(kinds, arguments, values)
            ]
            result = emit(_Rounded(builder), *given)
            return context.get_dummy_value() if found[0] == "none" else result

        return _NUMBA[found[0]](*(_NUMBA[kind] for kind in kinds)), codegen

    return _intrinsic(call, arity)


def _intrinsic(call: Any, arity: int) -> Any:
    """Numba's intrinsic of `call(typingctx, *arguments)` for so many arguments, which it wants by name."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    names = ["typingctx", *(f"x{i}" for i in range(arity))]
    call.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in names])
    return intrinsic(call)


@cache
def _native(native: Native, arity: int, constant: bool) -> Any:
    return _declare(native.typed, native.emit, arity, constant)


def _arithmetic(operation: Callable[..., Value], arity: int) -> Any:
    """An intrinsic that is an operation of our front end's arithmetic, with its types."""

    def typed(arguments: tuple[str, ...]) -> Any:
        if not set(arguments) <= {*NUMBERS, "bool"}:
            return None
        scratch = ir.Function(ir.Module(), ir.FunctionType(ir.VoidType(), [llvm_type(a) for a in arguments]), "f")
        numbers = Arithmetic(ir.IRBuilder(scratch.append_basic_block()))
        try:
            result = operation(numbers, *(Value(kind, x) for kind, x in zip(arguments, scratch.args)))
        except Unsupported:
            return None
        return result.type, arguments

    def call(typingctx, *arguments):
        kinds = tuple(_NAMES.get(argument, "") for argument in arguments)
        found = typed(kinds)
        if found is None:
            return None

        def codegen(context, builder, signature, values):
            given = (Value(kind, value) for kind, value in zip(kinds, values))
            return operation(Arithmetic(_Rounded(builder)), *given).llvm

        return _NUMBA[found[0]](*arguments), codegen

    return _intrinsic(call, arity)


@cache
def _conversion(kind: str) -> Any:
    return _arithmetic(lambda numbers, x: numbers.convert(x, kind), 1)


@cache
def _operator(name: str) -> Any:
    kind = getattr(ast, name.removeprefix("__binary_"))
    return _arithmetic(lambda numbers, x, y: numbers.binary(kind, x, y), 2)


@intrinsic
def _element(typingctx, array, index):
    kind = _NAMES.get(array, "")
    if not kind.endswith("*") or _NAMES.get(index) not in WIDENED:
        return None

    def codegen(context, builder, signature, values):
        value = builder.load(builder.gep(values[0], [values[1]], inbounds=True))
        return builder.trunc(value, llvm_type("bool")) if kind == "bool*" else value

    return _NUMBA[kind[:-1]](array, types.int64), codegen


@intrinsic
def _set_element(typingctx, array, index, value):
    kind, given = _NAMES.get(array, ""), _NAMES.get(value)
    if not kind.endswith("*") or _NAMES.get(index) not in WIDENED or given is None:
        return None

    def codegen(context, builder, signature, values):
        stored = Arithmetic(_Rounded(builder)).convert(Value(given, values[2]), kind[:-1]).llvm
        stored = builder.zext(stored, BYTE) if kind == "bool*" else stored
        builder.store(stored, builder.gep(values[0], [values[1]], inbounds=True))
        return context.get_dummy_value()

    return types.none(array, types.int64, value), codegen


_INTRINSICS: Mapping[str, Any] = {
    "__element": _element,
    "__set_element": _set_element,
    "abs": _arithmetic(lambda numbers, x: numbers.absolute(x), 1),
    "min": _arithmetic(lambda numbers, x, y: numbers.smallest(x, y), 2),
    "max": _arithmetic(lambda numbers, x, y: numbers.smallest(x, y, sign=">"), 2),
}


def _emit_barrier(builder: Any) -> None:
    builder.call(declared(builder.module, "llvm.nvvm.barrier0", ir.FunctionType(ir.VoidType(), ())), ())


_NVVM = Machine(
    "an NVIDIA GPU through NVVM",
    {
        **NVPTX.natives,
        gpu_natives.barrier: Native(_emit_barrier, NVPTX.natives[gpu_natives.barrier].typed),
    },
)


@intrinsic
def _word(typingctx, words, i):
    if not isinstance(words, types.UniTuple) or not isinstance(i, types.Integer):
        return None

    def codegen(context, builder, signature, values):
        memory = stack_slot(builder, values[0].type)
        builder.store(values[0], memory)
        return builder.load(builder.gep(memory, [INT(0), values[1]]))

    return types.int64(words, types.int64), codegen


# ---- errors. The address of their word is kept in shared memory, where functions that a kernel calls find it.


def _error_word(builder: Any) -> Any:
    found = builder.module.globals.get("error_word")
    if found is None:
        found: Any = ir.GlobalVariable(builder.module, WORD, "error_word", addrspace=SHARED)
        found.linkage, found.initializer = "internal", ir.Constant(WORD, ir.Undefined)
    return found


def _emit_begin(builder: Any, error: Any) -> None:
    builder.store(error, _error_word(builder))


def _emit_report(builder: Any, code: Any, error: Any) -> None:
    with builder.if_then(builder.icmp_signed("!=", code, WORD(0))):
        word = builder.inttoptr(error, WORD.as_pointer(GLOBAL))
        builder.cmpxchg(word, WORD(0), code, "monotonic", "monotonic")


_begin = _declare(lambda kinds: ("none", kinds), _emit_begin, 1)
_trap = _declare(lambda kinds: ("none", ("i64",)), lambda b, code: _emit_report(b, code, b.load(_error_word(b))), 1)


@intrinsic
def _report(typingctx, code, error):
    def codegen(context, builder, signature, values):
        if code != types.none:
            _emit_report(builder, *values)
        return context.get_dummy_value()

    return types.none(types.none if code == types.none else types.int64, types.int64), codegen
