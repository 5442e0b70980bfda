"""Addresses of functions of BLAS and LAPACK, and the switch that keeps BLAS from starting threads of its own.

The functions are those that SciPy exports to Cython (`scipy.linalg.cython_blas` and `cython_lapack`): the Fortran
interface, every argument by pointer, integers of 32 bits, column-major.
"""

import ctypes
import importlib.machinery
import importlib.util
import os
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

from .control_block import BLAS_WORDS, GET_THREADS, LOCK, SET_THREADS, USERS, USUAL_THREADS, allocate_forever, words_at

_BLAS, _LAPACK = "scipy.linalg.cython_blas", "scipy.linalg.cython_lapack"


@cache
def pointer(name: str) -> int:
    """The address of a function of BLAS or LAPACK, such as "sgemm". Raises KeyError if SciPy has none of that name."""
    found = _exporting(_BLAS).__pyx_capi__
    capsule = found[name] if name in found else _exporting(_LAPACK).__pyx_capi__[name]
    name_of = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.py_object)(("PyCapsule_GetName", ctypes.pythonapi))
    pointer_of = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", ctypes.pythonapi)
    )
    return pointer_of(capsule, name_of(capsule))


SWITCH = allocate_forever(BLAS_WORDS)
"""Address of the block by which runs keep BLAS on the threads that call it: see `enter_blas` in the driver."""


def _connect_switch(library: ctypes.CDLL) -> None:
    """Finds `int get(void)` and `void set(int)` for the threads of SciPy's BLAS. Without them, nothing is switched.

    OpenBLAS has one number for the whole process (`openblas_set_num_threads_local` sets that one too, in builds with
    pthreads), so whoever changes it must put it back. NumPy's OpenBLAS is another copy, with a number of its own.
    """
    for prefix in ("scipy_openblas_", "openblas_"):
        get = getattr(library, f"{prefix}get_num_threads", None)
        set_ = getattr(library, f"{prefix}set_num_threads", None)
        if get is not None and set_ is not None:
            block = words_at(SWITCH, BLAS_WORDS)
            block[SET_THREADS] = ctypes.cast(set_, ctypes.c_void_p).value
            block[GET_THREADS] = ctypes.cast(get, ctypes.c_void_p).value  # last: the driver looks at this one
            return


@cache
def _exporting(name: str) -> ModuleType:
    """A module of SciPy's. `import scipy.linalg` would take 0.1 s and bring three hundred others with it."""
    module = sys.modules[name] if name in sys.modules else _load_alone(name)
    if name == _BLAS:
        # A name is looked up in a library and in all that it was linked against: here, the BLAS that SciPy calls.
        _connect_switch(ctypes.CDLL(module.__file__))
    return module


def _load_alone(name: str) -> ModuleType:
    import scipy

    spec = importlib.machinery.PathFinder.find_spec(name, [str(Path(path) / "linalg") for path in scipy.__path__])
    if spec is None or spec.loader is None:
        raise ImportError(f"SciPy {scipy.__version__} has no {name}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    # Python must not know of it: a later `import scipy.linalg` finds its own way, and gets this same module.
    sys.modules.pop(name, None)
    return module


def _after_fork_in_child() -> None:
    block = words_at(SWITCH, BLAS_WORDS)
    usual, block[[LOCK, USERS, USUAL_THREADS]] = int(block[USUAL_THREADS]), 0
    if usual > 1:  # a run of the parent was under way; here there is none
        ctypes.CFUNCTYPE(None, ctypes.c_int)(int(block[SET_THREADS]))(usual)


os.register_at_fork(after_in_child=_after_fork_in_child)
