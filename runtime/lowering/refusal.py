"""The error for a run that ended in a trap, on whatever device."""

from __future__ import annotations

import numpy as np

from ...ir.ops import elementwise as ew
from ...ir.ops import general_eigenvalues, linalg, orthogonal_factors
from .launch import Trap


def refusal(trap: Trap) -> Exception:
    """The error for a run that ended in a trap: what the numbers were, and where the user wrote it."""
    origin, op, size = trap.node.origin, trap.node.op, trap.size
    where = f" at {origin.source}" if origin.source else ""
    where += f" in {origin.scope}" if origin.scope else ""
    if op.kernel is not None:
        advice = f"call {op.name} on plain arrays, where its function runs in Python, to see which"
        return RuntimeError(f"the kernel {op.name} raised an exception{where}; {advice}")
    if op.on_ranks is not None:
        return ConnectionError("the other ranks did not come in time, or one is gone: a message did not arrive")
    if op is ew.check_finite:
        return FloatingPointError(f"a value is not finite{where}")
    if op is ew.check_exponent:
        advice = "write x.astype('float64') ** y"
        return ValueError(f"an integer is raised to a negative integer power{where}; {advice}")
    if op is linalg.cholesky:
        return np.linalg.LinAlgError(f"a matrix is not positive definite{where}")
    if op in (linalg.eigh, general_eigenvalues.eig):
        return np.linalg.LinAlgError(f"the eigenvalues of a matrix did not converge{where}")
    if op is orthogonal_factors.svd:
        return np.linalg.LinAlgError(f"the singular values of a matrix did not converge{where}")
    if op is linalg.solve:
        return np.linalg.LinAlgError(f"a matrix is singular{where}")
    reach = f"indices run from {0 if op.is_check else -size} to {size - 1}"
    return IndexError(f"an index is out of range for {size} entries{where}; {reach}")
