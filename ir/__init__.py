"""What a program is: types, graphs of primitives, their text, their rules, and a NumPy interpreter."""

from . import ops
from .builder import Builder
from .graph import NOWHERE, ROLES, Graph, Node, Origin, Value, node_flops, node_workspace
from .interpret import interpret
from .op import OPS, NoDerivative, Op, Recompute, TypeRuleError
from .parser import ParseError, parse
from .printer import print_graph
from .ranks import interpret_ranks
from .types import (
    BFLOAT16,
    DTYPES,
    FLOAT16,
    SHORT_NAMES,
    Array,
    ArrayType,
    DType,
    as_dtype,
    complex_dtype,
    finfo,
    has_one_value,
    is_complex,
    is_float,
    is_half,
    is_inexact,
    kind_of,
    part_dtype,
    spec,
    type_of,
)
from .verify import VerificationError, verify

__all__ = [
    "BFLOAT16",
    "DTYPES",
    "FLOAT16",
    "NOWHERE",
    "OPS",
    "ROLES",
    "SHORT_NAMES",
    "Array",
    "ArrayType",
    "Builder",
    "DType",
    "Graph",
    "NoDerivative",
    "Node",
    "Op",
    "Origin",
    "ParseError",
    "Recompute",
    "TypeRuleError",
    "Value",
    "VerificationError",
    "as_dtype",
    "complex_dtype",
    "finfo",
    "has_one_value",
    "interpret",
    "interpret_ranks",
    "is_complex",
    "is_float",
    "is_half",
    "is_inexact",
    "kind_of",
    "node_flops",
    "node_workspace",
    "ops",
    "parse",
    "part_dtype",
    "print_graph",
    "spec",
    "type_of",
    "verify",
]
