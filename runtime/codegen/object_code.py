"""A Python function, compiled to object code that stands by itself: no other library, no Python, no Numba."""

import contextlib
import ctypes
import gc
import os
import pickle
import signal
import time
import warnings
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import llvmlite.binding as llvm

from .array_kernel import ArrayKernel
from .deferred_signals import deferred_signals
from .front_end import NUMBA, front_end
from .halves import cpu_machine
from .host import code_cpu
from .instruction_set import instruction_set
from .multiply_adds import define_multiply_adds
from .python_to_llvm import Unsupported, lower

Built = tuple[bytes, list[str], float]
"""Object code, the names of the symbols that it needs, and the seconds that it took."""


@cache
def _set_options() -> None:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    # A loop over many arrays is vectorized behind tests that they do not overlap; by default LLVM gives up at eight
    # tests.
    llvm.set_option("gradloom", "-runtime-memory-check-threshold=256")
    # Scalar remainders of vectorized loops would be unrolled eight times: more than a quarter of the machine code, and
    # a third of the time that LLVM takes to emit it, for a few elements at the end of a row.
    llvm.set_option("gradloom", "-unroll-runtime=false")


@cache
def target_machine(cpu: str) -> Any:
    """LLVM's code generator for a CPU target, see `instruction_set`."""
    _set_options()
    instructions = instruction_set(cpu)
    if instructions.triple != llvm.get_process_triple():
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
    return llvm.Target.from_triple(instructions.triple).create_target_machine(
        cpu=instructions.cpu,
        features=instructions.features,
        opt=3,
        reloc="static" if instructions.is_x86 else "default",
        codemodel="jitdefault",
        jit=True,
    )


def emit(module: Any, entry: str, cpu: str = "", by_element: bool = True) -> tuple[bytes, list[str]]:
    """The object code of an LLVM module for a CPU target, by default `code_cpu()`, and the names of the symbols that it
    needs. `by_element` is as in `KernelModule`.
    """
    machine = target_machine(code_cpu(cpu))
    return machine.emit_object(_optimized(module, entry, code_cpu(cpu), by_element)), _needed(module)


def assembly(function: Callable[..., Any], cpu: str) -> tuple[str, list[str]]:
    """The assembly of a kernel, by our own front end, for any CPU target, and the names of the symbols that it needs.

    Raises `Unsupported` for what that does not know.
    """
    lowered = lower(function, "kernel", cpu_machine(cpu))
    module = _optimized(llvm.parse_assembly(str(lowered)), "kernel", cpu, lowered.by_element)
    return target_machine(cpu).emit_assembly(module), _needed(module)


def _optimized(module: Any, entry: str, cpu: str, by_element: bool) -> Any:
    """The module as LLVM optimizes it for a target.

    Everything but the entry becomes internal to the object. So LLVM may inline it whole, and objects that different
    processes made, in which different functions may have the same name, can be loaded side by side.
    """
    machine = target_machine(cpu)
    for value in [*module.functions, *module.global_variables]:
        if not value.is_declaration and value.name != entry:
            value.linkage = llvm.Linkage.internal
    module.triple, module.data_layout = machine.triple, str(machine.target_data)
    if not instruction_set(cpu).fused:
        define_multiply_adds(module)
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization, options.slp_vectorization = True, False
    builder = llvm.create_pass_builder(machine, options)
    passes = builder.getModulePassManager() if by_element else _tidying()
    passes.run(module, builder)
    return module


def _tidying() -> Any:
    """The passes for code whose inner loops native functions emit as they are to be: vectors, with sums in registers.

    All that is left to do is to make registers of the variables of the loops around those. The whole pipeline takes
    five to seven times as long over it, for loops that it then leaves alone.
    """
    passes = llvm.create_new_module_pass_manager()
    passes.add_always_inliner_pass()  # functions of `define_multiply_adds`
    passes.add_sroa_pass()
    passes.add_simplify_cfg_pass()
    passes.add_instruction_combine_pass()
    passes.add_loop_rotate_pass()
    passes.add_instruction_combine_pass()
    passes.add_simplify_cfg_pass()
    return passes


def _needed(module: Any) -> list[str]:
    """The names of the functions and variables that a module declares and does not define."""
    values = [*module.functions, *module.global_variables]
    return sorted(value.name for value in values if value.is_declaration and not value.name.startswith("llvm."))


def build(function: Callable[..., Any], signature: str, symbol: str, cpu: str) -> Built:
    """The object code of a function under the name `symbol` for a CPU target, by the front end that the environment
    names.

    Raises Numba's errors where the function cannot be typed.
    """
    start = time.perf_counter()
    # Compilation makes a great many objects that live until its end: the collector would walk them over and over.
    collecting = gc.isenabled()
    gc.disable()
    try:
        if isinstance(function, ArrayKernel):
            from .numba_array_kernel import build as build_array_kernel

            code, externals = build_array_kernel(function, symbol, cpu)
            return code, externals, time.perf_counter() - start
        if front_end() == NUMBA or signature != "int64(int64)":
            raise Unsupported(signature)
        lowered = lower(function, symbol, cpu_machine(code_cpu(cpu)))
        code, externals = emit(llvm.parse_assembly(str(lowered)), symbol, cpu, lowered.by_element)
    except Unsupported:
        from .numba_front_end import build

        code, externals = build(function, signature, symbol, cpu)
    finally:
        if collecting:
            gc.enable()
    return code, externals, time.perf_counter() - start


_PATIENCE_SECONDS = 120
"""A process that takes longer is ended: a thread of its parent held a lock that nobody there will open."""


def build_together(
    functions: Mapping[str, tuple[Callable[[], Callable[..., Any]], str, str, str]],
    processes: int,
    begun: Callable[[int], None] = lambda number: None,
) -> dict[str, Built]:
    """What `build` makes of many (maker of the function, signature, symbol, CPU target), by their keys, in so many
    processes. `begun` is told the number of each function that this process begins; those before it are done or begun.

    Each process takes the next function that nobody has taken, in the order given. What a child took and could not
    compile is missing from the result: `build` it again, to see why. What this process cannot compile raises at once.
    """
    keys = list(functions)
    parent = os.getpid()

    def share(queue: int) -> dict[str, Built]:
        done: dict[str, Built] = {}
        while number := os.read(queue, _NUMBER_BYTES):
            key = keys[int.from_bytes(number)]
            if os.getpid() == parent:
                begun(int.from_bytes(number))
            make, signature, symbol, cpu = functions[key]
            start = time.perf_counter()
            try:
                code, externals, _ = build(make(), signature, symbol, cpu)
            except Exception:
                if os.getpid() == parent:  # it may be a signal handler's
                    raise
                continue
            done[key] = code, externals, time.perf_counter() - start
        return done

    queue = _queue(len(keys))
    children: dict[int, int] = {}
    """The end of a pipe on which each child, by its process, writes what it built."""
    try:
        with deferred_signals():  # between a fork and the note of it nothing may be raised
            for _ in range(1, processes):
                if not _add_child(children, lambda: share(queue)):
                    break
        built = share(queue)
        for child, reader in list(children.items()):
            with os.fdopen(reader, "rb", closefd=False) as file, contextlib.suppress(EOFError, pickle.UnpicklingError):
                built |= pickle.load(file)
            with deferred_signals():
                _end(child, children.pop(child), kill=False)
        return built
    finally:
        with deferred_signals():
            os.close(queue)
            for child, reader in children.items():  # there was an error, or an interruption
                _end(child, reader, kill=True)


def _add_child(children: dict[int, int], work: Callable[[], dict[str, Built]]) -> bool:
    """Start a child that does some work; whether the system let us have one more process."""
    try:
        reader, writer = os.pipe()
    except OSError:  # no more files
        return False
    parent = os.getpid()
    try:
        child = _fork()
    except OSError:  # no more processes
        os.close(reader)
        os.close(writer)
        return False
    if child == 0:
        _live_as_child(work, writer, parent)
    os.close(writer)
    children[child] = reader
    return True


def _end(child: int, reader: int, kill: bool) -> None:
    """Close the pipe of a child and wait for its end, so that no zombie is left."""
    os.close(reader)
    with contextlib.suppress(ChildProcessError):  # where SIGCHLD is ignored, the system has done that
        if kill and os.waitpid(child, os.WNOHANG)[0] == 0:
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


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


def _live_as_child(work: Callable[[], dict[str, Built]], writer: int, parent: int) -> None:
    """Writes the result of some work to a pipe and ends the process, whatever happens."""
    try:
        gc.disable()  # finalizers belong to the parent
        _live_no_longer_than(parent)
        with os.fdopen(writer, "wb") as file:
            pickle.dump(work(), file)
    finally:
        os._exit(0)


_PR_SET_PDEATHSIG = 1


def _live_no_longer_than(parent: int) -> None:
    """Let this child end when its parent is killed, or after too long a time. Ctrl-C, which goes to all processes of a
    terminal, is the parent's to handle; whatever handlers it has are not for a child.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before
        os._exit(0)
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(_PATIENCE_SECONDS)
