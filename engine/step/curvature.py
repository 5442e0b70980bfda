"""`curvature`: the largest eigenvalues of the Hessian of a step's loss, by Lanczos on Hessian-vector products."""

from __future__ import annotations

from typing import Any

import numpy as np
import optree

from ...ir import Array, ArrayType, Graph
from ...passes.pipeline import plan_graph
from ...runtime.codegen.fork_lock import interrupted
from ..tracing.arrays import dense_arrays
from ..tracing.jacobians import hessian_vector_product
from ..tracing.keywords import tells_keywords
from ..tracing.numbers import as_whole
from ..tracing.precisions import of_storage
from ..tracing.tracer import Trace, located
from .leaves import flattened, leaf_input, leaf_type
from .step import Step
from .step_tracer import StepTracer

_DENSE = 48
"""Parameters up to which the whole Hessian is made, column by column."""


@tells_keywords
def curvature(step: Step, batch: Any, k: int = 5, vectors: bool = False) -> Any:
    """The `k` largest eigenvalues of the Hessian of the step's loss on `batch`, at its live parameters: an array of
    float64, the largest first. With `vectors` also the eigenvectors, a list of dicts of arrays by name, of norm 1.

    The loss is that of the next step, in training, with what that would draw; statistics that it assigns, such as those
    of batch norm, are constants. The Hessian is that of all trained parameters together. Lanczos' iteration asks for
    some products of it with vectors, each a gradient of a gradient, as one program; it begins with a fixed vector, so
    that equal parameters give equal values. The largest one is the sharpness: gradient descent at a rate above
    2 / sharpness is not stable. Nothing of the step changes.

    Raises `ValueError` for a `k` that is below 1 or above the number of parameters, and `RuntimeError` where Lanczos'
    iteration does not converge, or meets what is not finite.
    """
    if not isinstance(step, Step):
        kind = type(step).__name__
        raise TypeError(located(f"curvature takes a step first, as gl.compile_step gives it, got {kind}"))
    if step._options.get("ranks") is not None:
        how = "compile a step without ranks, and take up step.parameters() by set_parameters"
        raise NotImplementedError(located(f"curvature of a step with ranks: {how}"))
    products = _Products(step, batch)
    count = as_whole(k)
    if count is None or not 1 <= count <= products.size:
        raise ValueError(located(f"curvature: k is a whole number from 1 to {products.size}, got {k!r}"))
    live = step._current()
    with live.lock:
        if live.busy:
            raise interrupted("a step")
        live.busy = True
        try:
            values, found = products.dense() if products.size <= max(_DENSE, count + 1) else products.lanczos(count)
        finally:
            live.busy = False
    order = np.argsort(values)[::-1][:count]
    if not vectors:
        return values[order]
    return values[order], [products.by_name(found[:, i]) for i in order]


class _Products:
    """Products of the Hessian with flat vectors."""

    def __init__(self, step: Step, batch: Any) -> None:
        arrays = dense_arrays(step._batch_type.leaves(batch), lambda: step._batch_type.names, step._backend.of_device)
        graph, self.types, first = _trace(step, step._batch_type.like(arrays))
        self._program = step._backend.build(plan_graph(graph, step._threads, True, step._target))
        for i, array in enumerate([*step._carried(), *arrays]):
            self._program.bind_input(i, array)
        self._arrays = arrays  # which the program reads as long as it lives
        self._vector = {name: np.zeros(t.shape, t.dtype) for name, t in self.types.items()}
        for i, array in enumerate(self._vector.values(), first):
            self._program.bind_input(i, array)
        self.size = sum(t.size for t in self.types.values())

    def __call__(self, vector: Array) -> Array:
        """The Hessian times `vector`, both flat and float64."""
        begin = 0
        for array in self._vector.values():
            array[...] = vector[begin : begin + array.size].reshape(array.shape)
            begin += array.size
        self._program.run()
        outputs = [self._program.output_in_arena(i) for i in range(len(self.types))]
        result = np.concatenate([output.astype(np.float64).ravel() for output in outputs])
        if not np.isfinite(result).all():
            raise RuntimeError(located("curvature: a product of the Hessian is not finite, so it has no eigenvalues"))
        return result

    def dense(self) -> tuple[Array, Array]:
        """All eigenvalues, with eigenvectors as columns."""
        whole = np.stack([self(row) for row in np.eye(self.size)])
        return np.linalg.eigh((whole + whole.T) / 2)

    def lanczos(self, k: int) -> tuple[Array, Array]:
        """The `k` largest eigenvalues, with eigenvectors as columns."""
        from scipy.sparse import linalg

        arpack: Any = linalg  # of which type checkers know little
        shape = (self.size, self.size)
        operator = arpack.LinearOperator(shape, matvec=lambda v: self(np.ravel(v)), dtype=np.float64)
        precise = all(t.dtype == np.float64 for t in self.types.values())
        start = np.random.default_rng(0).standard_normal(self.size)
        try:
            return arpack.eigsh(operator, k, which="LA", v0=start, tol=1e-10 if precise else 1e-5)
        except linalg.ArpackNoConvergence as error:
            found = len(error.eigenvalues)
            raise RuntimeError(located(f"curvature: of {k} eigenvalues {found} converged; ask for fewer")) from None

    def by_name(self, vector: Array) -> dict[str, Array]:
        """A flat vector as arrays of the parameters' shapes and dtypes."""
        result: dict[str, Array] = {}
        begin = 0
        for name, t in self.types.items():
            result[name] = vector[begin : begin + t.size].reshape(t.shape).astype(t.dtype)
            begin += t.size
        return result


def _trace(step: Step, batch: Any) -> tuple[Graph, dict[str, ArrayType], int]:
    """The Hessian-vector product of a step as a graph, with the trained parameters, and the place of the first part of
    the vector among its inputs; before it stand those of the step.
    """
    options = step._options
    tracer = StepTracer(
        step._model,
        step._loss_fn,
        step._optimizer,
        options.get("train"),
        of_storage(step._precision),
        options.get("loss_scaling"),
    )
    names, leaves, tree = flattened(batch, "batch")
    with Trace() as trace:
        inputs = tracer.inputs(trace)
        arrays = [leaf_input(trace, leaf, leaf_type(name, leaf), name) for name, leaf in zip(names, leaves)]
        loss_at = tracer.loss_at(inputs, optree.tree_unflatten(tree, arrays), 1)
        types = {name: p.type for name, p in tracer.trained}
        first = len(trace.builder.inputs)
        vector = {name: trace.input(t, f"vector.{name}") for name, t in types.items()}
        current = {name: value for (name, _), value in zip(tracer.parameters, inputs.parameters) if name in types}
        product = hessian_vector_product(loss_at, current, vector)
        return trace.graph([product[name] for name in types]), types, first
