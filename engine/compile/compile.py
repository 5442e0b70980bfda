"""`compile`: a function of arrays becomes native code."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
import optree

from ...ir import Array, ArrayType, DType
from ...ir.html import block
from ...passes.pipeline import plan_graph
from ...passes.target import Target
from ...runtime.backend import backend_of
from ...runtime.codegen.fork_lock import fork_lock, interrupted
from ...runtime.pending_array import PendingArray
from ..tracing.activations import in_this_precision
from ..tracing.arrays import dense_arrays
from ..tracing.errors import located, warn
from ..tracing.frozen_draws import warn_of_draws
from ..tracing.keywords import tells_keywords
from ..tracing.precisions import of_functions
from ..tracing.static_arguments import StaticArguments, split, with_arguments
from ..tracing.trace import TracedFunction, input_name, trace_arguments
from ..tracing.tracer import Tracer, current_trace
from .compile_progress import compile_phase, compile_progress
from .compiled_method import BoundMethod, CompiledMethods
from .donation import donated_inputs, donated_positions, own_arrays, with_donated
from .program_key import exact_key, structure_key
from .programs import MANY, Programs, programs_html, tell_of_shapes
from .targets import target_of, with_cores, with_precision, worker_count


class _Key(NamedTuple):
    """What a program is made for: types of arrays, and values of all else.

    `structure` of the arguments, with the static ones left out; `fixed` has for each leaf the key of its value, where
    that is part of the program, else whether it is an array or a float; `static` the keys of the static arguments.
    """

    structure: Hashable
    fixed: tuple[Hashable, ...]
    static: tuple[tuple[int | str, Hashable], ...]
    arrays: tuple[tuple[tuple[int, ...], DType], ...]

    def differs_by_values_alone(self, other: _Key) -> bool:
        """Whether the arrays are of the same types at the same places, and only values are others."""
        return (
            self.structure == other.structure
            and self.arrays == other.arrays
            and len(self.fixed) == len(other.fixed)
            and [place for place, _ in self.static] == [place for place, _ in other.static]
            and all((a in _INPUTS) == (b in _INPUTS) for a, b in zip(self.fixed, other.fixed))
        )

    def differs_by_shapes_alone(self, other: _Key) -> bool:
        """Whether the arrays have other shapes, and all else is the same."""
        mine, theirs = ([dtype for _, dtype in key.arrays] for key in (self, other))
        rest = (self.structure, self.fixed, self.static) == (other.structure, other.fixed, other.static)
        return rest and mine == theirs


_INPUTS = (np.ndarray, float)
"""What stands in `_Key.fixed` for a leaf that is an input."""

_ARRAYS = {np.ndarray}
"""Types of leaves that are inputs as they are."""


class CompiledFunction:
    """A function, compiled for each signature (structure, shapes, dtypes, other arguments) it is called with."""

    def __init__(
        self,
        fn: Callable[..., Any],
        threads: int,
        target: Target,
        static: str | int | Sequence[str | int] = (),
        donated: frozenset[int] = frozenset(),
        precision: str = "fp32",
    ) -> None:
        functools.update_wrapper(self, fn, updated=())
        self._fn = fn
        self._threads = threads
        self._target = target
        self._precision = precision
        self._given = static
        self._donated = donated
        self._static = StaticArguments(fn, static) if static != () else None
        self._signatures: Programs[_Signature] = Programs()
        self._lock = fork_lock()
        self._warned_of_values = False
        self._warned_draws: set[str] = set()
        # Where an argument is static by position, `self` was counted.
        given = [static] if isinstance(static, (str, int)) else list(static)
        bound = tuple(which - 1 if isinstance(which, int) else which for which in given)
        bound_donated = frozenset(position - 1 for position in donated if position)
        self._methods = CompiledMethods(
            fn, lambda method: CompiledFunction(method, threads, target, bound, bound_donated, precision)
        )

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """As an attribute of a class: the compiled method of an instance."""
        if instance is None or not hasattr(self._fn, "__get__"):
            return self
        return BoundMethod(self._methods, instance, owner, self._fn)

    def __repr__(self) -> str:
        name = getattr(self._fn, "__name__", type(self._fn).__name__)
        return f"<compiled {name} for {self._target}, {self._signatures}>"

    def _repr_html_(self) -> str:
        programs = ((key.arrays, found.arena_bytes) for key, found in self._signatures.items())
        name = getattr(self._fn, "__name__", type(self._fn).__name__)
        return block(f"{name}, compiled for {self._target}", programs_html(programs))

    def __copy__(self) -> CompiledFunction:
        return self.__deepcopy__({})

    def __deepcopy__(self, memo: dict[int, Any]) -> CompiledFunction:
        """The same function, to be compiled again (from machine code on disk)."""
        return CompiledFunction(self._fn, self._threads, self._target, self._given, self._donated, self._precision)

    def __reduce__(self) -> str | tuple[Any, ...]:
        """By name where it stands in its module in place of its function; else as the function, to be compiled."""
        name = getattr(self._fn, "__qualname__", "")
        if "<" in name:
            raise TypeError(
                located(
                    f"the compiled function {name} cannot be pickled, because no module has it by its name; define it "
                    "at the top of a module, or pickle its graph, gl.trace(fn, *args)"
                )
            )
        found: Any = sys.modules.get(getattr(self._fn, "__module__", None) or "")
        for part in name.split("."):
            found = getattr(found, part, None)
        again = (self._fn, self._threads, self._target, self._given, self._donated, self._precision)
        return name if found is self else (CompiledFunction, again)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The result of the function, as NumPy arrays."""
        if current_trace() is not None:
            return self._fn(*args, **kwargs)  # part of a larger program
        taken: dict[int | str, Any] = {}
        static: list[tuple[int | str, Hashable]] = []
        if self._static is not None:
            args, kwargs, taken = split(args, kwargs, self._static.places(args, kwargs))
            static = [(place, self._static_key(place, value)) for place, value in taken.items()]
        leaves, tree = optree.tree_flatten((args, kwargs))  # pyright: ignore[reportArgumentType]
        given: list[Any] = leaves
        fixed: list[Any] = [np.ndarray] * len(leaves)
        if not set(map(type, leaves)) <= _ARRAYS:
            given, fixed = [], []
            for leaf in leaves:
                if isinstance(leaf, Tracer):
                    return with_arguments(self._fn, taken)(*args, **kwargs)  # says that its trace has ended
                array, kind = self._sorted_out(leaf)
                fixed.append(kind)
                if kind in _INPUTS:
                    given.append(array)
        of_device = self._of_device if self._target.is_gpu else None
        arrays = dense_arrays(given, lambda: self._names(args, kwargs, _INPUT_TYPES), of_device)
        types = tuple([(array.shape, array.dtype) for array in arrays])
        key = _Key(structure_key(tree), tuple(fixed), tuple(static), types)
        program = self._signatures.get(key)
        if program is None:
            like: Any = optree.tree_unflatten(tree, _as_traced(leaves, fixed, arrays))
            program = self._new_program(key, like[0], like[1], taken)
        return program.run(arrays)

    def _sorted_out(self, leaf: Any) -> tuple[Any, Hashable]:
        """An argument as an input, and what stands for it in `_Key.fixed`."""
        if isinstance(leaf, (np.ndarray, np.generic)):
            return leaf, np.ndarray
        if type(leaf) is float:
            return leaf, float
        if isinstance(leaf, PendingArray):
            return np.asarray(leaf), np.ndarray
        if self._target.is_gpu and (there := self._of_device(leaf)) is not None:
            return there, np.ndarray
        return leaf, _fixed(leaf, self._fn)

    def _of_device(self, leaf: Any) -> Any:
        """An argument as an array of the device, if it is one."""
        of_device = backend_of(self._target).of_device
        return None if of_device is None else of_device(leaf)

    def _static_key(self, place: int | str, value: Any) -> Hashable:
        for leaf in optree.tree_leaves(value):
            if isinstance(leaf, np.ndarray):
                what = f"argument {place}" if isinstance(place, int) else place
                raise TypeError(
                    located(f"static: {what} holds an array; arrays are arguments of the program, leave it out")
                )
        return exact_key(value)

    def _new_program(
        self, key: _Key, args: tuple[Any, ...], kwargs: dict[str, Any], taken: dict[int | str, Any]
    ) -> _Signature:
        with self._lock:
            found = self._signatures.get(key)  # another thread may have been here first
            if found is None:
                before = self._signatures.keys()
                start = time.perf_counter()
                with compile_progress(getattr(self._fn, "__name__", type(self._fn).__name__)):
                    compile_phase("tracing")
                    with warn_of_draws(self._warned_draws, self._fn):
                        fn = in_this_precision(with_arguments(self._fn, taken), self._precision)
                        traced = trace_arguments(fn, args, kwargs, lambda path: True)
                    donated = donated_inputs(traced.in_tree, traced.arrays, self._donated) if self._donated else []
                    found = _Signature(traced, self._threads, self._target, donated)
                self._signatures.add(key, found)
                self._tell(key, before, args, kwargs, time.perf_counter() - start)
            return found

    def _tell(
        self, key: _Key, before: Sequence[Any], args: tuple[Any, ...], kwargs: dict[str, Any], seconds: float
    ) -> None:
        """Say that there is a new program, where only shapes or values are new."""
        name = getattr(self._fn, "__name__", type(self._fn).__name__)
        like = [other for other in before if key.differs_by_shapes_alone(other)]
        if like:
            names = self._names(args, kwargs, _INPUT_TYPES)
            shapes = [[shape for shape, _ in which.arrays] for which in (like[-1], key)]
            tell_of_shapes(name, names, shapes[0], shapes[1], seconds, self._signatures)
        like = [other for other in before if key.differs_by_values_alone(other)]
        if not like or self._warned_of_values or self._signatures.made < MANY:
            return
        self._warned_of_values = True
        paths, leaves, _ = optree.tree_flatten_with_path((args, kwargs))  # pyright: ignore[reportArgumentType]
        which = {
            input_name(self._fn, path): type(leaf).__name__
            for path, leaf, mine, other in zip(paths, leaves, key.fixed, like[-1].fixed)
            if mine != other
        }
        which |= {
            input_name(self._fn, (0, place) if isinstance(place, int) else (1, place)): "static"
            for (place, mine), (_, other) in zip(key.static, like[-1].static)
            if mine != other
        }
        listed = ", ".join(f"{argument} ({kind})" for argument, kind in which.items())
        warn(
            f"{name} now has {self._signatures.made} programs, and this one differs from another only by the value of "
            f"{listed}: what is no array and no float is part of the program, which is compiled again for each value. "
            "Give a number that is computed with as a float, or as an array such as np.asarray(value)"
        )

    def _names(self, args: tuple[Any, ...], kwargs: dict[str, Any], kinds: tuple[type, ...]) -> list[str]:
        """Names of the arguments that are inputs."""
        paths, leaves, _ = optree.tree_flatten_with_path((args, kwargs))  # pyright: ignore[reportArgumentType]
        return [input_name(self._fn, path) for path, leaf in zip(paths, leaves) if isinstance(leaf, kinds)]


_INPUT_TYPES = (np.ndarray, np.generic, ArrayType, float)


def _as_traced(leaves: Sequence[Any], fixed: Sequence[Any], arrays: Sequence[Array]) -> list[Any]:
    """Leaves to trace a function with: of arrays that are none of NumPy's their types."""
    given = iter(arrays)
    found: list[Any] = []
    for leaf, kind in zip(leaves, fixed):
        array = next(given) if kind in _INPUTS else leaf
        known = array is leaf or isinstance(leaf, _INPUT_TYPES)
        found.append(leaf if known else ArrayType(array.shape, array.dtype))
    return found


def _fixed(leaf: Any, fn: Callable[..., Any]) -> Hashable:
    """An argument that is part of the program, as a key."""
    if isinstance(leaf, ArrayType):
        raise TypeError(
            located(
                "a compiled function computes with arrays, got a spec; to compile ahead call it with "
                "np.zeros(spec.shape, spec.dtype), to see the graph use gl.trace"
            )
        )
    name = getattr(fn, "__name__", type(fn).__name__)
    if hasattr(type(leaf), "__array__"):
        # Of torch, JAX or pandas: it may change, and the program would go on with what it was.
        kind = type(leaf)
        instead = "t.detach().numpy()" if kind.__module__.startswith("torch") else "np.asarray(x)"
        raise TypeError(
            located(f"{name} was given a {kind.__name__} of {kind.__module__.partition('.')[0]}; write {instead}")
        )
    try:
        hash(leaf)
    except TypeError:
        raise TypeError(
            located(
                f"{name} was given a {type(leaf).__name__}, which is no array and has no hash; what is no array is "
                "fixed in the compiled program: pass something immutable, such as a frozen dataclass, or close over it"
            )
        ) from None
    return exact_key(leaf)


class _Signature:
    """Machine code for one signature."""

    def __init__(self, traced: TracedFunction, threads: int, target: Target, donated: Sequence[int]) -> None:
        self._traced = traced
        graph = with_donated(traced.graph, donated) if donated else traced.graph
        self._overwritten = graph.aliases
        compile_phase("planning")
        plan = plan_graph(graph, threads, target=target)
        compile_phase("kernels")
        self._executable = backend_of(target).build(plan)
        self._out_types = [(v.type.shape, v.type.dtype) for v in traced.graph.outputs]
        self._lock = fork_lock()
        self._running = False

    @property
    def arena_bytes(self) -> int:
        """What a call needs beside arguments and results."""
        return self._executable.arena_bytes

    def run(self, arrays: list[Array]) -> Any:
        executable = self._executable
        over = self._overwritten
        if over:
            arrays = own_arrays(arrays, list(over.values()))
        results: list[Array] = [
            arrays[over[k]] if k in over else np.empty(shape, dtype) for k, (shape, dtype) in enumerate(self._out_types)
        ]
        with self._lock:
            if self._running:
                raise interrupted("a compiled function")
            self._running = True
            try:
                executable.run(arrays, results)
            finally:
                self._running = False
        return self._traced.result(results)


@tells_keywords
def compile(
    fn: Callable[..., Any],
    target: str | Target = "cpu",
    threads: int | None = None,
    static: str | int | Sequence[str | int] = (),
    donate_argnums: int | Sequence[int] = (),
    precision: str = "fp32",
    cores: int | None = None,
) -> CompiledFunction:
    """`fn` as native code: a callable that takes what `fn` takes and returns NumPy arrays.

    It is traced and compiled at the first call with each signature. Arrays and Python floats, inside tuples, lists and
    dicts too, are arguments of the program, floats with the weak type that NumPy gives them: their values are not known
    while `fn` is traced. All else (integers, booleans, strings, other objects that have a hash) is part of the program,
    which is made once for each value; so are the arguments that `static` names, by name or by position, whatever they
    hold, such as a float that decides a branch: `static=("mode", 2)`. What `fn` closes over is fixed at the first call.
    A method of a class may be compiled too: the attributes of `self` are then part of the program, which is made again
    after one was assigned.

    The arrays of the arguments at the positions `donate_argnums` become the memory of results of their type, and have
    another content after the call: `parameters, state = train(parameters, state)` then takes no other memory for them,
    and less time. A donated array that shares memory with another argument, or that may not be written, is copied.

    The least recently used of more than 32 programs is dropped. `threads` bounds the number of threads (default: one
    for each usable core); the result has the same bits for any number. Calls from several Python threads are safe;
    calls of one signature wait for each other. Only a call from a signal handler or a finalizer that interrupts another
    in the same thread cannot wait for it, and raises `RuntimeError`. Called while something else is traced, it becomes
    part of that.

    `target` is "cpu", this machine's own, or a `Target` that it can run, and `cores` for how many cores of a CPU the
    work is cut into parts (default: 2), as in `compile_step`.

    With `precision="bf16"` products and convolutions of float32 arrays read operands that are rounded to bfloat16, and
    their results and other activations are rounded too; sums, normalizations, softmax and losses are float32, and so is
    what comes in and goes out. See `compile_step`, which also says what "tf32" is.

    Raises `TargetError` for a target that this machine cannot run, `ValueError` for a static argument that `fn` does
    not have, and when called whatever tracing raises; `IndexError` where an index that is known only then is out of
    range, `ValueError` where an integer is raised to a negative power. Warns once, with a `TracingWarning`, when the
    tenth program or a later one differs from another by a value alone; a program for other shapes is logged to the
    logger "gradloom".
    """
    precision = of_functions(precision)
    machine = with_cores(with_precision(target_of(target), precision), cores)
    machine = backend_of(machine).narrowed(machine)
    if not callable(fn):
        raise TypeError(located(f"compile takes a function, got {type(fn).__name__}"))
    return CompiledFunction(
        fn, worker_count(threads, machine), machine, static, donated_positions(donate_argnums), precision
    )
