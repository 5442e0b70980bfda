"""A Python function, compiled by Numba to object code that stands by itself: no other library, no Python, no Numba.

Importing this module imports Numba.
"""

import contextlib
import gc
import os
import pickle
import signal
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import llvmlite.binding as llvm
from numba.core import compiler, sigutils
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target

Built = tuple[bytes, list[str]]
"""Object code, and the names of the symbols that it needs."""


class _ObjectLibrary(JITCodeLibrary):
    """A code library that ends as the bytes of an object file instead of in Numba's own JIT engine.

    Everything but the entry becomes internal to the object. So LLVM may inline it whole, and objects that different
    processes made, in which different functions may have the same name, can be loaded side by side.
    """

    entry = ""
    symbol = ""
    code = b""

    def _optimize_final_module(self) -> None:
        module = self._final_module
        for value in [*module.functions, *module.global_variables]:
            if not value.is_declaration and value.name != self.entry:
                value.linkage = llvm.Linkage.internal
        super()._optimize_final_module()

    def _finalize_final_module(self) -> None:
        self._verify_declare_only_symbols()
        self._final_module.get_function(self.entry).name = self.symbol
        self.code = self._codegen._tm.emit_object(self._final_module)
        self._finalized = True

    def externals(self) -> list[str]:
        """The functions and variables that the object expects from the process."""
        values = [*self._final_module.functions, *self._final_module.global_variables]
        return sorted(value.name for value in values if value.is_declaration and not value.name.startswith("llvm."))


def _contexts() -> tuple[Any, Any]:
    """Numba's contexts for types and for code, with all that was registered since they were last used."""
    typing: Any = cpu_target.typing_context
    target: Any = cpu_target.target_context
    typing.refresh()
    target.refresh()
    return typing, target


def build(function: Callable[..., Any], signature: str, symbol: str) -> Built:
    """The object code of a function under the name `symbol`, and the names of the symbols that it needs.

    Raises Numba's errors where the function cannot be typed.
    """
    arguments, result = sigutils.normalize_signature(signature)
    flags: Any = compiler.Flags()
    options = {"nopython": True, "nogil": True, "error_model": "numpy"}
    cpu_target.options.parse_as_flags(flags, options)
    flags.no_cpython_wrapper = True
    flags.no_cfunc_wrapper = True
    flags.no_compile = True  # `finalize` below is ours to call
    flags.nrt = False
    # Compilation makes a great many objects that live until its end: the collector would walk them over and over.
    collecting = gc.isenabled()
    gc.disable()
    try:
        with global_compiler_lock:
            typing, target = _contexts()
            library = _ObjectLibrary(target.codegen(), function.__name__)
            compiled = compiler.compile_extra(typing, target, function, arguments, result, flags, {}, library=library)
            library.entry, library.symbol = compiled.fndesc.llvm_func_name, symbol
            library.finalize()
    finally:
        if collecting:
            gc.enable()
    return library.code, library.externals()


_PATIENCE_SECONDS = 120
"""A process that takes longer is ended: a thread of its parent held a lock that nobody there will open."""


def build_together(
    functions: Mapping[str, tuple[Callable[[], Callable[..., Any]], str, str]], processes: int
) -> dict[str, Built]:
    """What `build` makes of many (maker of the function, signature, symbol), by their keys, in so many processes.

    The children are forked, for Numba takes half a second to import and begin. What does not compile is missing from
    the result, and so is the share of a child that came to grief: `build` it again, to see why.
    """
    keys = list(functions)

    def share(part: int) -> dict[str, Built]:
        done = {}
        for key in keys[part::processes]:
            make, signature, symbol = functions[key]
            with contextlib.suppress(Exception):
                done[key] = build(make(), signature, symbol)
        return done

    children = []
    with global_compiler_lock:  # so that no other thread holds it while this one forks
        _contexts()
        for part in range(1, processes):
            reader, writer = os.pipe()
            try:
                child = _fork()
            except OSError:  # no more processes
                os.close(reader)
                os.close(writer)
                break
            if child == 0:
                _live_as_child(lambda part=part: share(part), writer)
            os.close(writer)
            children.append((child, reader))
    built = share(0)
    for child, reader in children:
        with os.fdopen(reader, "rb") as file, contextlib.suppress(EOFError, pickle.UnpicklingError):
            built |= pickle.load(file)
        os.waitpid(child, 0)
    return built


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
