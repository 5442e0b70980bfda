"""A Python function, compiled by Numba to object code that stands by itself: no other library, no Python, no Numba.

Importing this module imports Numba.
"""

import gc
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
from numba.core import compiler, sigutils
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target


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


def build(function: Callable[..., Any], signature: str, symbol: str) -> tuple[bytes, list[str]]:
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
            typing: Any = cpu_target.typing_context
            target: Any = cpu_target.target_context
            typing.refresh()
            target.refresh()
            library = _ObjectLibrary(target.codegen(), function.__name__)
            compiled = compiler.compile_extra(typing, target, function, arguments, result, flags, {}, library=library)
            library.entry, library.symbol = compiled.fndesc.llvm_func_name, symbol
            library.finalize()
    finally:
        if collecting:
            gc.enable()
    return library.code, library.externals()
