"""A Python function, compiled by Numba to object code that stands by itself: no other library, no Python, no Numba.

Importing this module imports Numba.
"""

import contextlib
import gc
import os
import pickle
import signal
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import llvmlite.binding as llvm
from numba import types
from numba.core import compiler, sigutils, typed_passes, untyped_passes
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler_lock import global_compiler_lock
from numba.core.compiler_machinery import PassManager
from numba.core.registry import cpu_target
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import lower_builtin

Built = tuple[bytes, list[str], float]
"""Object code, the names of the symbols that it needs, and the seconds that it took."""


class _ObjectLibrary(JITCodeLibrary):
    """A code library that ends as the bytes of an object file instead of in Numba's own JIT engine.

    Everything but the entry becomes internal to the object. So LLVM may inline it whole, and objects that different
    processes made, in which different functions may have the same name, can be loaded side by side.
    """

    entry = ""
    symbol = ""
    code = b""

    def __init__(self, codegen: Any, name: str) -> None:
        super().__init__(codegen, name)
        self.subroutines: dict[Callable[..., Any], Any] = {}

    def _optimize_final_module(self) -> None:
        module = self._final_module
        for value in [*module.functions, *module.global_variables]:
            if not value.is_declaration and value.name != self.entry:
                value.linkage = llvm.Linkage.internal
        passes, builder = self._codegen._module_pass_manager()
        passes.run(module, builder)

    def _optimize_functions(self, ll_module: Any) -> None:
        """Nothing: all of the module is optimized at its end. (Numba does it twice, for its reference counts.)"""
        ll_module.data_layout = self._codegen._data_layout

    def _finalize_final_module(self) -> None:
        self._verify_declare_only_symbols()
        self._final_module.get_function(self.entry).name = self.symbol
        self.code = self._codegen._tm.emit_object(self._final_module)
        self._finalized = True

    def externals(self) -> list[str]:
        """The functions and variables that the object expects from the process."""
        values = [*self._final_module.functions, *self._final_module.global_variables]
        return sorted(value.name for value in values if value.is_declaration and not value.name.startswith("llvm."))


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


def _contexts() -> tuple[Any, Any]:
    """Numba's contexts for types and for code, with all that was registered since they were last used."""
    typing: Any = cpu_target.typing_context
    target: Any = cpu_target.target_context
    typing.refresh()
    target.refresh()
    return typing, target


def build(function: Callable[..., Any], signature: str, symbol: str) -> Built:
    """The object code of a function under the name `symbol`.

    Raises Numba's errors where the function cannot be typed.
    """
    start = time.perf_counter()
    arguments, result = sigutils.normalize_signature(signature)
    # Compilation makes a great many objects that live until its end: the collector would walk them over and over.
    collecting = gc.isenabled()
    gc.disable()
    try:
        with global_compiler_lock:
            typing, target = _contexts()
            library = _ObjectLibrary(target.codegen(), function.__name__)
            compiled = _compile_into(library, typing, target, function, arguments, result)
            library.entry, library.symbol = compiled.fndesc.llvm_func_name, symbol
            library.finalize()
    finally:
        if collecting:
            gc.enable()
    return library.code, library.externals(), time.perf_counter() - start


def _compile_into(
    library: _ObjectLibrary, typing: Any, target: Any, function: Callable[..., Any], arguments: Any, result: Any
) -> Any:
    """Adds a function to a library, which stays open for more."""
    flags: Any = compiler.Flags()
    cpu_target.options.parse_as_flags(flags, {"nopython": True, "nogil": True, "error_model": "numpy"})
    flags.no_cpython_wrapper = True
    flags.no_cfunc_wrapper = True
    flags.no_compile = True  # `finalize` is ours to call
    flags.nrt = False
    pipeline: Any = _Pipeline
    return compiler.compile_extra(typing, target, function, arguments, result, flags, {}, library, pipeline)


def subroutine(result: str, arguments: int) -> Callable[[Any], Any]:
    """Decorates a Python function of so many int64 that compiled functions call.

    It becomes part of the object code of whatever calls it, once. (As a function of Numba's own it would be machine
    code by itself first, which takes as long again.)
    """
    returns = getattr(types, result)
    typed = signature(returns, *[types.int64] * arguments)
    resolves: Any = infer_global  # whose type hints are wrong

    def decorate(function: Any) -> Any:
        template = type(f"_TypeOf_{function.__name__}", (ConcreteTemplate,), {"key": function, "cases": [typed]})
        resolves(function, types.Function(template))

        @lower_builtin(function, *typed.args)
        def _(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            library = context.active_code_library
            if function not in library.subroutines:
                compiled = _compile_into(library, context.typing_context, context, function, typed.args, returns)
                library.subroutines[function] = compiled.fndesc
            return context.call_internal(builder, library.subroutines[function], typed, args)

        return function

    return decorate


_PATIENCE_SECONDS = 120
"""A process that takes longer is ended: a thread of its parent held a lock that nobody there will open."""


def build_together(
    functions: Mapping[str, tuple[Callable[[], Callable[..., Any]], str, str]], processes: int
) -> dict[str, Built]:
    """What `build` makes of many (maker of the function, signature, symbol), by their keys, in so many processes.

    Each process takes the next function that nobody has taken, in the order given. The children are forked, for Numba
    takes half a second to import and begin. What does not compile is missing from the result, and so is what a child
    took that came to grief: `build` it again, to see why.
    """
    keys = list(functions)

    def share(queue: int) -> dict[str, Built]:
        done: dict[str, Built] = {}
        while number := os.read(queue, _NUMBER_BYTES):
            key = keys[int.from_bytes(number)]
            make, signature, symbol = functions[key]
            with contextlib.suppress(Exception):
                start = time.perf_counter()
                code, externals, _ = build(make(), signature, symbol)
                done[key] = code, externals, time.perf_counter() - start
        return done

    queue = _queue(len(keys))
    children: list[tuple[int, int]] = []
    with global_compiler_lock:  # so that no other thread holds it while this one forks
        _contexts()
        for _ in range(1, processes):
            reader, writer = os.pipe()
            try:
                child = _fork()
            except OSError:  # no more processes
                os.close(reader)
                os.close(writer)
                break
            if child == 0:
                _live_as_child(lambda: share(queue), writer)
            os.close(writer)
            children.append((child, reader))
    built = share(queue)
    os.close(queue)
    for child, reader in children:
        with os.fdopen(reader, "rb") as file, contextlib.suppress(EOFError, pickle.UnpicklingError):
            built |= pickle.load(file)
        os.waitpid(child, 0)
    return built


_NUMBER_BYTES = 4


def _queue(n: int) -> int:
    """A pipe that gives the numbers below `n`, each to the one process that reads it; as many as it holds."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        for number in range(n):
            os.write(writer, number.to_bytes(_NUMBER_BYTES))
    os.close(writer)
    return reader


def _fork() -> int:
    """Forks; 0 in the child. Warnings about threads do not apply: a child uses nothing that other threads hold."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return os.fork()


def _live_as_child(work: Callable[[], dict[str, Built]], writer: int) -> None:
    """Writes the result of some work to a pipe and ends the process, whatever happens."""
    try:
        gc.disable()  # finalizers belong to the parent
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(_PATIENCE_SECONDS)
        with os.fdopen(writer, "wb") as file:
            pickle.dump(work(), file)
    finally:
        os._exit(0)
