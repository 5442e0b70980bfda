"""Numba as a front end: for kernels with what ours does not know. Importing this module imports Numba."""

import operator
from collections.abc import Callable
from functools import cache
from types import CellType, FunctionType
from typing import Any

from numba import njit, types
from numba.core import compiler, sigutils, typed_passes, untyped_passes
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler_lock import global_compiler_lock
from numba.core.compiler_machinery import PassManager
from numba.core.datamodel import models
from numba.core.datamodel.registry import register_default
from numba.core.registry import cpu_target
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import lower_builtin

from ...ir.function_digest import function_of
from ...ir.user_kernel import positional
from .natives import NATIVES, NUMBERS, Native
from .object_code import emit

_resolves: Any = infer_global  # whose type hints are wrong


# ---- kernels' arrays and native functions, as Numba knows them


class TypedPointer(types.Type):
    """Numba's type of a kernel's array: a pointer to elements of `dtype`."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        super().__init__(name=f"TypedPointer({dtype})")


register_default(TypedPointer)(models.PointerModel)


@_resolves(operator.getitem)
class _TypeOfElement(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        pointer, index = args
        if isinstance(pointer, TypedPointer) and isinstance(index, types.Integer):
            return signature(pointer.dtype, pointer, types.intp)
        return None


@_resolves(operator.setitem)
class _TypeOfStore(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        pointer, index, _ = args
        if isinstance(pointer, TypedPointer) and isinstance(index, types.Integer):
            return signature(types.none, pointer, types.intp, pointer.dtype)
        return None


@lower_builtin(operator.getitem, TypedPointer, types.Integer)
def _lower_element(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return context.unpack_value(builder, sig.return_type, builder.gep(args[0], [args[1]], inbounds=True))


@lower_builtin(operator.setitem, TypedPointer, types.Integer, types.Any)
def _lower_store(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    context.pack_value(builder, sig.args[0].dtype, args[2], builder.gep(args[0], [args[1]], inbounds=True))
    return context.get_dummy_value()


_TYPES: dict[str, Any] = {
    "none": types.none,
    "bool": types.boolean,
    **{name: getattr(types, name.replace("i", "int").replace("u", "uint").replace("f", "float")) for name in NUMBERS},
}
_TYPES |= {f"{name}*": TypedPointer(element) for name, element in _TYPES.items() if name != "none"}
_NAMES = {typed: name for name, typed in _TYPES.items()}

_declared: set[Any] = set()


def declare_natives() -> None:
    """Tells Numba of the native functions that there are by now."""
    for function, native in NATIVES.items():
        if function not in _declared:
            _declared.add(function)
            _declare(function, native)


def _declare(function: Any, native: Native) -> None:
    class _TypeOfCall(AbstractTemplate):
        key = function

        def generic(self, args: Any, kws: Any) -> Any:
            typed = native.typed(tuple(_NAMES.get(types.unliteral(argument), "") for argument in args))
            return typed and signature(_TYPES[typed[0]], *(_TYPES[name] for name in typed[1]))

    _resolves(function, types.Function(_TypeOfCall))

    @lower_builtin(function, types.VarArg(types.Any))
    def _(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        value = native.emit(builder, *args)
        return context.get_dummy_value() if sig.return_type is types.none else value


@cache
def _jitted(function: FunctionType) -> Any:
    """A Python function that kernels call."""
    return njit(error_model="numpy", forceinline=True)(positional(calling(function, _jitted)))


def calling(function: FunctionType, compiled: Callable[[FunctionType], Any]) -> FunctionType:
    """`function`, which calls what is `compiled` where it calls Python's functions, of its globals and its closure."""
    called = {name: function.__globals__[name] for name in function.__code__.co_names if name in function.__globals__}
    names = {name: compiled(found) for name, value in called.items() if (found := _python_function(value))}
    cells = tuple(
        CellType(compiled(found)) if (found := _python_function(cell.cell_contents)) else cell
        for cell in function.__closure__ or ()
    )
    made = FunctionType(
        function.__code__, function.__globals__ | names, function.__name__, function.__defaults__, cells or None
    )
    made.__kwdefaults__ = function.__kwdefaults__
    return made


def _python_function(value: Any) -> FunctionType | None:
    """A function that Numba has to compile before another one can call it."""
    found = function_of(value)
    return None if found is None or found in NATIVES else found


# ---- compilation


class Library(JITCodeLibrary):
    """A code library that ends as a module for us to emit instead of in Numba's own JIT engine."""

    def _optimize_final_module(self) -> None:
        pass

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout

    def _finalize_final_module(self) -> None:
        self._verify_declare_only_symbols()
        self._finalized = True


class _Pipeline(compiler.CompilerBase):
    """Numba's passes that kernels need: they have no closures, no arrays of Numba's, no dead branches."""

    def define_pipelines(self) -> list[PassManager]:
        passes = PassManager("kernel")
        passes.add_pass(untyped_passes.TranslateByteCode, "analyzing bytecode")
        passes.add_pass(untyped_passes.FixupArgs, "fix up args")
        passes.add_pass(untyped_passes.IRProcessing, "processing IR")
        passes.add_pass(untyped_passes.GenericRewrites, "nopython rewrites")
        passes.add_pass(untyped_passes.ReconstructSSA, "ssa")
        passes.add_pass(typed_passes.NopythonTypeInference, "nopython frontend")
        passes.add_pass(typed_passes.PreLowerStripPhis, "remove phis nodes")
        passes.add_pass(typed_passes.IRLegalization, "ensure IR is legal prior to lowering")
        passes.add_pass(typed_passes.NativeLowering, "native lowering")
        passes.add_pass(typed_passes.NoPythonBackend, "nopython mode backend")
        passes.finalize()
        return [passes]


def build(function: Callable[..., Any], signature: str, symbol: str, cpu: str = "") -> tuple[bytes, list[str]]:
    """As `object_code.emit`, of a function with the name `symbol`, for a CPU target."""
    declare_natives()
    arguments, result = sigutils.normalize_signature(signature)
    flags: Any = compiler.Flags()
    cpu_target.options.parse_as_flags(flags, {"nopython": True, "nogil": True, "error_model": "numpy"})
    flags.no_cpython_wrapper = True
    flags.no_cfunc_wrapper = True
    flags.no_compile = True  # `finalize` is ours to call
    flags.nrt = False
    pipeline: Any = _Pipeline
    function = calling(function, _jitted) if isinstance(function, FunctionType) else function
    with global_compiler_lock:
        typing: Any = cpu_target.typing_context
        target: Any = cpu_target.target_context
        typing.refresh()
        target.refresh()
        library: Any = Library(target.codegen(), function.__name__)
        compiled = compiler.compile_extra(typing, target, function, arguments, result, flags, {}, library, pipeline)
        library.finalize()
        module = library._final_module
        module.get_function(compiled.fndesc.llvm_func_name).name = symbol
        return emit(module, symbol, cpu)
