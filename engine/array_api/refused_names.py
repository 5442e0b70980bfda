"""What NumPy has and this namespace has not: what to write instead."""

from __future__ import annotations

_VALUES = "return it from the traced function, whose results are NumPy arrays"
_OUTSIDE = "it makes arrays of what is no array; call NumPy's outside, and pass the result in"
_FILES = "it reads a file; call NumPy's outside, and pass the result in"
_MEMORY = "a traced array has no memory of its own; what is an input or a result is an array of NumPy's"
_DATES = "dates are no arrays of a program; compute with numbers of days"
_STRINGS = "arrays of strings and records are no arrays of a program; pass numbers, one array for each field"
_ITSELF = "it is about NumPy itself; call NumPy's"
_DTYPES = "an abstract dtype; write gl.numpy.isdtype(x.dtype, kind)"
_MATRICES = "write x @ y with arrays of two axes, and np.block for matrices of matrices"
_LOOPS = "elements are not visited one by one; write it with whole arrays, or gl.vmap(f)"
_WARNINGS = "a program warns of no overflow or division by zero; gl.compile_step(check_finite=True) stops at one"

REFUSED: dict[str, str] = {
    "copyto": "traced arrays are not assigned into arrays; write y = np.where(mask, new, y)",
    "putmask": "traced arrays are not written to; write np.where(mask, new, x)",
    "trim_zeros": "its shape depends on values; compute with the zeros, or write x[first:last]",
    "vectorize": "write gl.vmap(f), or f itself: functions of arrays take arrays of any shape",
    "frompyfunc": "write gl.vmap(f), or f itself: functions of arrays take arrays of any shape",
    "histogramdd": "write np.histogram2d, or gl.numpy.at(np.zeros(shape))[places].add(1) with places of np.digitize",
    "row_stack": "write np.vstack",
    "require": "write np.asarray(x, dtype): the order in memory is the program's choice",
    "poly1d": "write polynomials as vectors of coefficients: np.polyval, np.polymul, np.polyder",
    "polynomial": "write polynomials as vectors of coefficients: np.polyval, np.polymul, np.polyder",
    "ndarray": "write np.ndarray",
    "ufunc": "write np.ufunc",
    "generic": "write np.generic",
    "broadcast": "write np.broadcast_arrays, or np.broadcast_shapes",
    "ndenumerate": _LOOPS,
    "random": "write gl.random, which has the names of jax.random",
    "emath": "write gl.numpy's functions",
    "ma": "write np.where(mask, x, 0): masked arrays are no arrays of a program",
    "lib": _ITSELF,
    "core": _ITSELF,
    "exceptions": _ITSELF,
    "ctypeslib": _ITSELF,
    "typing": "write numpy.typing",
    "testing": "results of compiled functions are NumPy's: write numpy.testing",
    "dtypes": "write np.dtype(name)",
    "LinAlgError": "write np.linalg.LinAlgError",
    "bool_": "write bool",
    "True_": "write True",
    "False_": "write False",
    "float16": "write bfloat16, whose numbers are computed in float32",
    "half": "write bfloat16, whose numbers are computed in float32",
    **dict.fromkeys(("array2string", "array_repr", "array_str", "base_repr", "binary_repr"), _VALUES),
    **dict.fromkeys(("format_float_positional", "format_float_scientific"), _VALUES),
    **dict.fromkeys(("save", "savez", "savez_compressed", "savetxt"), _VALUES),
    **dict.fromkeys(("fromfile", "fromregex", "genfromtxt", "load", "loadtxt", "memmap"), _FILES),
    **dict.fromkeys(("frombuffer", "fromiter", "fromstring"), _OUTSIDE),
    **dict.fromkeys(("isfortran", "may_share_memory", "shares_memory"), _MEMORY),
    **dict.fromkeys(("asmatrix", "bmat", "matrix"), _MATRICES),
    **dict.fromkeys(("flatiter", "nditer", "nested_iters"), _LOOPS),
    **dict.fromkeys(("errstate", "geterr", "geterrcall", "seterr", "seterrcall"), _WARNINGS),
    **dict.fromkeys(("busday_count", "busday_offset", "busdaycalendar", "is_busday", "isnat"), _DATES),
    **dict.fromkeys(("datetime64", "datetime_as_string", "datetime_data", "timedelta64"), _DATES),
    **dict.fromkeys(("bytes_", "char", "character", "flexible", "object_", "rec", "recarray", "record"), _STRINGS),
    **dict.fromkeys(("str_", "strings", "void"), _STRINGS),
    **dict.fromkeys(("complexfloating", "floating", "inexact", "integer", "number"), _DTYPES),
    **dict.fromkeys(("signedinteger", "unsignedinteger"), _DTYPES),
    **dict.fromkeys(("f2py", "get_include", "get_printoptions", "getbufsize", "info", "little_endian"), _ITSELF),
    **dict.fromkeys(("printoptions", "set_printoptions", "setbufsize", "show_config", "show_runtime"), _ITSELF),
    **dict.fromkeys(("ScalarType", "sctypeDict", "test", "typecodes"), _ITSELF),
    **dict.fromkeys(("byte", "int8", "int16", "short"), "write int32"),
    **dict.fromkeys(("int_", "intp", "long", "longlong"), "write int64"),
    **dict.fromkeys(("uint", "uint64", "uintp", "ulong", "ulonglong"), "write int64"),
    **dict.fromkeys(("intc", "uint32", "uintc"), "write int32, or int64"),
    **dict.fromkeys(("ubyte", "uint16", "ushort"), "write uint8, or int32"),
    **dict.fromkeys(("double", "float128", "longdouble"), "write float64"),
    "single": "write float32",
    "csingle": "write complex64",
    "real_if_close": "its dtype depends on values; write z.real",
    "sort_complex": "write np.sort(x) of the real parts, or of absolute values",
    **dict.fromkeys(("cdouble", "clongdouble", "complex256"), "write complex128"),
}
"""By NumPy's name: what to write instead, for every public name that is not here."""
