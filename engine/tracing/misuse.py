"""What only numbers can do, done with a traced array: what the user's line says there, and what to write instead.

NumPy, SciPy, torch and Python itself ask an array for its numbers (`__array__`, `__float__`, `__index__`, ...) without
saying what for, and some of them replace the error that they get by one of their own. So the user's line is read: the
instruction that runs there says whether it stores, looks up or calls, its position gives the text, and the names in
that give what is called.
"""

from __future__ import annotations

import ast
import dis
import itertools
import linecache
import re
import traceback
from dataclasses import dataclass
from types import CodeType, FrameType, ModuleType, TracebackType
from typing import Any, Literal, NoReturn

import numpy as np

from ...ir.users_line import frames, is_ours, shown_file
from .array_methods import ArrayMethods, array_namespace
from .errors import TracingError, located
from .torch_methods import refusal

_UNKNOWN = "needs the values of a traced array, which are not known while tracing"


@dataclass(frozen=True)
class _Use:
    """What the user's line does where it stopped."""

    kind: Literal["store", "index", "call", "raise", "other"]
    text: str = ""
    """The expression that runs: `y[1]`, `math.sin(x)`; empty where the source is not there."""
    callee: str = ""
    """What is called, by its full name: `math.sin`, `numpy.ndarray.fill`; empty where that is not known."""
    library: str = ""
    """The package whose code runs inside: `numpy`, `scipy`."""
    inside: str = ""
    """Module and function of that package, where it is written in Python: `scipy.sparse._base:_spbase.dot`."""
    owner: Any = None
    """What is indexed or stored into, where a name says that."""
    owner_text: str = ""
    key_text: str = ""
    """What is between the brackets."""
    arguments: tuple[str, ...] = ()


def needs_value(what: str, instead: str, x: Any) -> NoReturn:
    """Raise `TracingError`: `what` was done with the traced array `x`, or something that the user's line tells."""
    if x.owner.closed:
        advice = "return it from that function: a loss function may return loss, {'name': array}"
        raise TracingError(located(f"{what} needs the value of an array of a trace that has ended; {advice}"))
    floats = _floats_behind(x)
    if floats:
        message = f"{what} needs the value of the float {' and '.join(floats)}, which is an argument of the program"
        advice = next(filter(None, x.owner.floats.values()), "")
        advice = advice or f"write gl.compile(fn, static={tuple(floats)!r}) to make a program for each value"
        raise TracingError(located(f"{message}; {advice}"))
    chain = list(frames())
    message = _message(_use(chain[-1], chain[-1].f_lasti, chain[:-1]), x, what, instead) if chain else None
    raise TracingError(located(message or f"{what} {_UNKNOWN}; {instead}"))


def _floats_behind(x: Any) -> list[str]:
    """Names of the arguments that the traced array `x` was computed from, where all are floats; else none."""
    names: set[str] = set()
    seen: set[Any] = set()
    waiting = [x.value]
    while waiting:
        value = waiting.pop()
        if value in seen:
            continue
        seen.add(value)
        if value in x.owner.floats:
            names.add(value.name.partition(".")[0])
        elif value.node is None or len(seen) > _LOOKED_AT:
            return []
        else:
            waiting += value.node.inputs
    return sorted(names)


_LOOKED_AT = 1000
"""Values that are looked at to say what a branch depends on."""


def misused(what: str, x: Any) -> str:
    """`what` was done with the traced array `x`, as a message; or what another library's function did it for."""
    chain = list(frames())
    use = _use(chain[-1], chain[-1].f_lasti, chain[:-1]) if chain else _Use("other")
    by_library = use.library in ("numpy", "scipy", "torch") or use.callee.startswith("torch")
    return (_message(use, x, what, "") if by_library else None) or what


def translated(error: BaseException, trace_back: TracebackType | None) -> TracingError | None:
    """The `TracingError` to raise instead of a foreign error about a traced array, as NumPy, SciPy and torch raise
    them; `None` for an error that says enough, or that has nothing to do with a traced array.
    """
    stack = _stack_of(trace_back)
    if not isinstance(error, Exception) or not stack or is_ours(stack[-1][0].f_code.co_filename):
        return None
    users = [i for i, (frame, _) in enumerate(stack) if shown_file(frame.f_code.co_filename)]
    if not users:
        return None
    (frame, at), inner = stack[users[-1]], [f for f, _ in stack[users[-1] + 1 :]]
    use = _use(frame, at, [f for f in reversed(inner) if not is_ours(f.f_code.co_filename)])
    if use.kind == "raise" and not inner:
        return None  # the user's own
    ours = _ours_in(error)
    if ours is not None:
        return TracingError(*ours.args).with_traceback(trace_back)
    where = f"{shown_file(frame.f_code.co_filename)}:{_line(frame.f_code, at)}"
    called = re.search(r"\.(size|shape|dtype|ndim|T|mT|device|itemsize|nbytes|real)\(", use.text)
    if called and use.kind == "call" and "object is not callable" in str(error):
        name = called[1]
        instead = "x.shape, or x.shape[i]" if name in ("size", "shape") else f"x.{name}"
        what = f"{use.text}: {name!r} of an array is no method, as in NumPy; write {instead}"
        return TracingError(f"{what}, at {where}").with_traceback(trace_back)
    name = _assigned(str(error)) if isinstance(error, AttributeError) else None
    if name is not None:
        instead = _INSTEAD_OF_ASSIGNING.get(name) or refusal(name) or "keep it in a variable of its own"
        message = f"{name!r} of a traced array cannot be assigned; {instead}"
        return TracingError(f"{message}, at {where}").with_traceback(trace_back)
    unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error)) if isinstance(error, TypeError) else None
    if unknown and use.callee.startswith("numpy."):
        theirs = {"dim": "axis", "dims": "axis", "keepdim": "keepdims", "input": "a first argument without a name"}
        if unknown[1] not in theirs:
            return None
        what = f"{use.text}: NumPy's functions do not take torch's {unknown[1]}=; write {theirs[unknown[1]]}"
        what += "" if unknown[1] == "input" else "=, or a method of the array, which takes both"
        return TracingError(f"{what}, at {where}").with_traceback(trace_back)
    if not _about_traced(error, use, frame, inner):
        return None
    if re.match(r"(tuple|list|string|deque|range object) (assignment )?index out of range", str(error)) and not inner:
        return None  # of a shape, or of a list of arrays
    said = traceback.format_exception_only(error)[-1].strip()
    message = _message(use, None, use.text or "this", "") or f"{use.text or 'this line'} {_UNKNOWN}; {_general(use)}"
    return TracingError(f"{message} ({said}), at {where}").with_traceback(trace_back)


def _assigned(said: str) -> str | None:
    """The attribute of a traced array that Python says cannot be assigned."""
    found = re.match(r"'(?:Tracer|FloatArgument)' object has no attribute '(\w+)'", said)
    found = found or re.match(r"property '(\w+)' of '(?:Tracer|FloatArgument)' object has no setter", said)
    return found[1] if found else None


_INSTEAD_OF_ASSIGNING = {
    "shape": "write x = x.reshape(shape)",
    "dtype": "write x = x.astype(dtype)",
    "T": "write x = x.T",
}


def _stack_of(trace_back: TracebackType | None) -> list[tuple[FrameType, int]]:
    found: list[tuple[FrameType, int]] = []
    while trace_back is not None:
        found.append((trace_back.tb_frame, trace_back.tb_lasti))
        trace_back = trace_back.tb_next
    return found


def _ours_in(error: BaseException) -> TracingError | None:
    """The `TracingError` that another library replaced by `error`."""
    seen: set[int] = set()
    below: BaseException | None = error
    while below is not None and id(below) not in seen:
        seen.add(id(below))
        if isinstance(below, TracingError):
            return below if below is not error else None
        below = below.__cause__ or (None if below.__suppress_context__ else below.__context__)
    return None


def _about_traced(error: BaseException, use: _Use, frame: FrameType, inner: list[FrameType]) -> bool:
    text = str(error)
    if "Tracer" in text or "<traced " in text:
        return True
    if inner:
        return any(_holds_traced(value) for value in inner[0].f_locals.values())
    if use.kind == "call" and not use.callee.startswith(("numpy", "scipy", "torch", "builtins", "math")):
        return False
    if use.kind not in ("call", "store", "index"):
        return False
    tree = _statement(frame) if use.kind == "store" else _expression(use.text)
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} if tree else set()
    return any(_holds_traced(_looked_up(name, frame)) for name in names)


def _holds_traced(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(isinstance(part, ArrayMethods) for part in value)  # pyright: ignore[reportUnknownVariableType]
    return isinstance(value, ArrayMethods)


# What the user's line does.


def _use(frame: FrameType, at: int, inner: list[FrameType]) -> _Use:
    """What the instruction at `at` of a frame of the user does; `inner` are the frames inside, innermost first."""
    code = frame.f_code
    while at > 0 and dis.opname[code.co_code[at]] == "CACHE":
        at -= 2  # a call of a function in Python stops behind its inline caches
    name = dis.opname[code.co_code[at]] if 0 <= at < len(code.co_code) else ""
    library, inside = "", ""
    foreign = [f for f in inner if not is_ours(f.f_code.co_filename)]
    if foreign:
        library = str(foreign[-1].f_globals.get("__name__", "")).partition(".")[0]
        inside = f"{foreign[-1].f_globals.get('__name__', '')}:{foreign[-1].f_code.co_qualname}"
    text = _segment(code, at)
    tree = _expression(text)
    if name in ("RAISE_VARARGS", "RERAISE"):
        return _Use("raise")
    if name in ("STORE_SUBSCR", "STORE_SLICE", "BINARY_SUBSCR", "BINARY_SLICE", "DELETE_SUBSCR"):
        kind = "store" if name.startswith("STORE") else "index"
        if not isinstance(tree, ast.Subscript):
            return _Use(kind, text, "", library, inside)
        owner = _object(tree.value, frame)
        if isinstance(tree.value, ast.Call) and _resolved(tree.value, frame)[1].startswith("numpy."):
            owner = np.empty(0)  # what np.zeros(3) stands for
        library = library or _library_of(owner)
        key = ast.unparse(tree.slice).removeprefix("(").removesuffix(")")
        return _Use(kind, text, "", library, inside, owner, ast.unparse(tree.value), key)
    if name.startswith(("CALL", "PRECALL")):
        called = tree.func if isinstance(tree, ast.Call) else None
        owner, callee = _resolved(called, frame) if called else (None, "")
        library = library or callee.partition(".")[0]
        of = called.value if isinstance(called, ast.Attribute) else None
        arguments = (
            (*map(ast.unparse, tree.args), *(f"{k.arg}={ast.unparse(k.value)}" for k in tree.keywords))
            if isinstance(tree, ast.Call)
            else ()
        )
        return _Use("call", text, callee, library, inside, owner, ast.unparse(of) if of else "", "", arguments)
    return _Use("other", text, "", library, inside)


def _library_of(owner: Any) -> str:
    return "" if owner is None else type(owner).__module__.partition(".")[0]


def _line(code: CodeType, at: int) -> int | None:
    return next(itertools.islice(code.co_positions(), at // 2, None), (None,))[0]


def _segment(code: CodeType, at: int) -> str:
    """The text of the expression whose instruction stands at `at`; empty where there is no source."""
    position = next(itertools.islice(code.co_positions(), at // 2, None), None)
    if position is None or any(part is None for part in position):
        return ""
    first, last, begin, end = (int(part) for part in position if part is not None)
    lines = [linecache.getline(code.co_filename, n).rstrip("\n").encode() for n in range(first, last + 1)]
    if not lines or not lines[0]:
        return ""
    lines[-1] = lines[-1][:end]
    lines[0] = lines[0][begin:]
    return " ".join(line.decode(errors="replace").strip() for line in lines)


def _expression(text: str) -> ast.expr | None:
    try:
        return ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError):
        return None


def _statement(frame: FrameType) -> ast.AST | None:
    """The statement that runs, where it is one line."""
    try:
        return ast.parse(linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip())
    except SyntaxError:
        return None


def _looked_up(name: str, frame: FrameType) -> Any:
    for names in (frame.f_locals, frame.f_globals, frame.f_builtins):
        if name in names:
            return names[name]
    return None


def _object(node: ast.expr, frame: FrameType) -> Any:
    """What a dotted name stands for; `None` where that is not known. Properties are not run."""
    if isinstance(node, ast.Name):
        return _looked_up(node.id, frame)
    if not isinstance(node, ast.Attribute):
        return None
    holder = _object(node.value, frame)
    return getattr(holder, "__dict__", {}).get(node.attr)


def _resolved(node: ast.expr, frame: FrameType) -> tuple[Any, str]:
    """What is called: the object before the last dot, and the full name."""
    if isinstance(node, ast.Name):
        found = _looked_up(node.id, frame)
        module, name = getattr(found, "__module__", None), getattr(found, "__name__", node.id)
        if isinstance(found, np.ufunc):
            module = "numpy"
        return found, f"{module}.{name}" if isinstance(module, str) and callable(found) else ""
    if isinstance(node, ast.Call):
        return None, _resolved(node.func, frame)[1]
    if not isinstance(node, ast.Attribute):
        return None, ""
    if isinstance(node.value, ast.Call):
        # What a constructor gives, as in np.zeros(3).fill(x).
        made = _resolved(node.value, frame)[1]
        return None, f"numpy.ndarray.{node.attr}" if made.startswith("numpy.") else ""
    found = _object(node.value, frame)
    if isinstance(found, ModuleType):
        return found, f"{found.__name__}.{node.attr}"
    kind = type(found)
    return found, "" if found is None else f"{kind.__module__}.{kind.__name__}.{node.attr}"


# What to write instead.

_WRITE_PARTS = "write y = np.where(mask, new, y), or make y of its parts with np.stack or np.concatenate"
_NUMBERS_ONLY = "compute it outside and pass the result in as an array, or write it with functions of gl.numpy"

# By the full name of what is called; `{x}` is its text.
_INSTEAD_OF_CALLS: dict[str, str] = {
    "builtins.max": "write np.max(x), or np.maximum(a, b) of two",
    "builtins.min": "write np.min(x), or np.minimum(a, b) of two",
    "builtins.any": "write np.any(x)",
    "builtins.all": "write np.all(x)",
    "builtins.sorted": "write np.sort(x), or np.argsort(x) for the indices",
    "numpy.full": "write gl.numpy.full(shape, x)",
    "numpy.vectorize": "call the function on the whole array, of which it is written with NumPy's functions",
    "numpy.fromiter": "write np.stack([...])",
    "numpy.broadcast": "write np.broadcast_arrays(a, b), or np.broadcast_shapes(a.shape, b.shape)",
    "numpy.float64": "write x.astype('float64')",
    "numpy.float32": "write x.astype('float32')",
    "numpy.int64": "write x.astype('int64')",
    "numpy.int32": "write x.astype('int32')",
    "numpy.uint8": "write x.astype('uint8')",
    "numpy.bool": "write x.astype(bool)",
    "torch.tensor": "a traced array is used as it is, with functions of gl.numpy and gl.nn",
}
_WRITTEN_TO = ("fill", "put", "itemset", "__setitem__", "partition", "sort", "place", "putmask", "copyto")
_LENGTHS = ("zeros", "ones", "empty", "eye", "identity", "arange", "linspace", "tri", "indices", "logspace")


def _message(use: _Use, x: Any, what: str, instead: str) -> str | None:
    """The message for what the user's line does; `None` where it says no more than the protocol that was used."""
    if "AxisConcatenator" in use.inside:
        columns = "np.c_" in use.text
        other = "np.column_stack([...])" if columns else "np.concatenate([...])"
        return f"{use.text or 'np.r_[...]'}: a traced array is a part of a NumPy array here; write {other}"
    if use.kind == "store" and (use.owner is None or use.library == "numpy"):
        return (
            f"{use.text or 'y[...]'} = ...: a traced array cannot be assigned into a NumPy array, nor be the index "
            f"there: its values are not known while tracing; {_WRITE_PARTS}"
        )
    # Of what is indexed, only NumPy's arrays ask an index for an array.
    if use.kind == "index" and (isinstance(use.owner, np.ndarray) or (use.owner is None and what in _ASKED_FOR_ARRAY)):
        return _index_message(use, x, use.owner)
    if use.kind == "call":
        return _call_message(use, x, what, instead)
    if use.library in ("numpy", "scipy", "torch"):
        return f"{use.text or what} {_UNKNOWN}; {_general(use)}"
    return None


_ASKED_FOR_ARRAY = ("np.array(x), np.asarray(x) (or a list of traced arrays)",)


def _is_bound(key: str) -> bool:
    """Whether of an index only the bounds of slices are not constants."""
    tree = _expression(f"x[{key}]")
    if not isinstance(tree, ast.Subscript):
        return False
    parts = tree.slice.elts if isinstance(tree.slice, ast.Tuple) else [tree.slice]
    named = [part for part in parts if any(isinstance(node, ast.Name) for node in ast.walk(part))]
    return bool(named) and all(isinstance(part, ast.Slice) for part in named)


def _index_message(use: _Use, x: Any, owner: np.ndarray[Any, Any] | None) -> str:
    here = f"{use.text}: a traced array is an index into a NumPy array here"
    if _is_bound(use.key_text):
        return f"{here}, as the bound of a slice, which must be known while tracing; derive it from x.shape"
    if x is not None and x.dtype.kind == "b":
        return f"{here}, as a mask, whose result has a shape that depends on values; write np.where(mask, a, b)"
    # An empty one stands for what a call gives, whose axes are not known.
    axis = "" if owner is not None and owner.ndim == 1 and owner.size else ", axis=0"
    simple = "," not in use.key_text
    take = f"gl.numpy.take({use.owner_text}, {use.key_text}{axis}) or " if simple else ""
    return (
        f"{here}, and NumPy needs its values; write {take}gl.numpy.asarray({use.owner_text})[{use.key_text}] "
        "(gl is gradloom)"
    )


def _call_message(use: _Use, x: Any, what: str, instead: str) -> str | None:
    module, _, name = use.callee.rpartition(".")
    text = use.text or what
    if module == "math":
        return f"{text} {_UNKNOWN}; math computes with numbers: {_of_numpy(name)}"
    if use.callee in _INSTEAD_OF_CALLS:
        return f"{text} {_UNKNOWN}; {_INSTEAD_OF_CALLS[use.callee]}"
    if ":vectorize." in use.inside:
        return f"{text} {_UNKNOWN}; {_INSTEAD_OF_CALLS['numpy.vectorize']}"
    if module in ("numpy", "numpy.ndarray"):
        if name in _WRITTEN_TO:
            return f"{text}: a traced array cannot be assigned into a NumPy array; {_WRITE_PARTS}"
        if name == "take":
            given = (*((use.owner_text,) if module == "numpy.ndarray" else ()), *use.arguments)
            return (
                f"{text}: a traced array is an index into a NumPy array here, and NumPy needs its values; write "
                f"gl.numpy.take({', '.join(given) or 'table, i'}), or gl.numpy.asarray(table)[i] (gl is gradloom)"
            )
        if name in _LENGTHS:
            return (
                f"{text} {_UNKNOWN}; lengths and bounds of new arrays are derived from x.shape, and numbers scale "
                "them: low + (high - low) * np.linspace(0, 1, n)"
            )
        if name in ("array", "asarray", "asanyarray", "ascontiguousarray"):
            return None
        return f"{text} {_UNKNOWN}; {_general(use)}"
    if module.startswith("numpy.random") or use.callee.startswith("numpy.random"):
        return f"{text} {_UNKNOWN}; draw with gl.random, or scale what NumPy drew: mean + std * noise"
    if use.library in ("scipy", "torch", "numpy"):
        return f"{text} {_UNKNOWN}; {_general(use)}"
    return None


def _of_numpy(name: str) -> str:
    ours = {"fsum": "sum", "dist": "hypot", "lgamma": "gammaln"}.get(name, name)
    if ours in array_namespace().__all__:
        return f"write np.{ours}(...)"
    return f"write gl.special.{ours}(...)" if ours in _special() else "write it with NumPy's functions"


def _special() -> list[str]:
    return array_namespace().special.__all__


def _general(use: _Use) -> str:
    if use.library == "torch" or use.callee.startswith("torch"):
        return (
            "torch computes with tensors: gl.nn and gl.nn.functional have torch's layers and functions, gl.numpy the "
            "rest, and gl.numpy.asarray(tensor) is an array"
        )
    if use.library == "scipy":
        if "sparse" in use.inside or "sparse" in use.callee or hasattr(use.owner, "toarray"):
            return "a sparse matrix takes no part in a trace: write m.toarray() once, outside, and multiply by that"
        name = use.callee.rpartition(".")[2]
        if "special" in use.callee + use.inside and name in _special():
            return f"of SciPy's functions only ufuncs are traced: write gl.special.{name}(...)"
        return "SciPy's functions are not traced, but for those of gl.special and gl.numpy.linalg; " + _NUMBERS_ONLY
    if use.library == "numpy" and ".ma." in use.callee + use.inside:
        return "masked arrays are not traced: write np.where(mask, a, b)"
    return _NUMBERS_ONLY
