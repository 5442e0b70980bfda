"""L-BFGS: a quasi-Newton method that evaluates the loss several times in each step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from ...ir import ArrayType
from .. import array_api as xp
from ..tracing.cond import cond
from ..tracing.numbers import as_whole
from ..tracing.tracer import located
from ..tracing.while_loop import while_loop
from .optimizer import Optimizer, Within
from .schedules import Schedule
from .strong_wolfe import strong_wolfe
from .update_inputs import StateSpec, UpdateInputs

_LEAST_CURVATURE = 1e-10
"""A pair of a step and its change of the gradient is kept where their product is more."""

_CARRIED = ("d", "prev_flat_grad", "old_dirs", "old_stps", "ro", "H_diag", "t", "pairs", "n_iter")
"""State that one iteration leaves to the next one, also of the next step. Names are torch's, but for `pairs`: how many
pairs were ever kept.
"""


@dataclass(frozen=True)
class LBFGS(Optimizer):
    """`p += t d` with d = -H g, up to `max_iter` times a step, as `torch.optim.LBFGS`. H approximates the inverse of
    the Hessian, from the last `history_size` steps and the changes of the gradient that they made.

    t is `lr`, in the first iteration of all lr min(1, 1/Σ|g|); with `line_search_fn="strong_wolfe"` the search begins
    there. A step ends after `max_iter` iterations or `max_eval` evaluations (by default `max_iter` 5 // 4), where no
    element of the gradient is more than `tolerance_grad`, or where the parameters, or the loss, change by no more than
    `tolerance_change`. The next step goes on with its history.

    One `step(batch)` is one native call, with all evaluations in it; it returns the loss of the first. All of them have
    the same batch and draw the same random numbers, as those of dropout. Running statistics, as batch norm's, move once
    a step, with the first evaluation, where torch moves them with each. The history is allocated whole:
    2 `history_size` times the bytes of the parameters.

    As in torch, a pair is kept where the product of step and change of the gradient is above 1e-10. Where the loss is
    below about 1e-8 few are, and it falls slowly from there; a loss that is scaled up goes on.

    Liu and Nocedal 1989, "On the limited memory BFGS method for large scale optimization".
    """

    lr: float | Schedule = 1.0
    max_iter: int = 20
    max_eval: int | None = None
    tolerance_grad: float = 1e-7
    tolerance_change: float = 1e-9
    history_size: int = 100
    line_search_fn: Literal["strong_wolfe"] | None = None

    may_be_a_part: ClassVar[bool] = False

    @property
    def evaluates_again(self) -> bool:
        return True

    def __post_init__(self) -> None:
        self.check(tolerance_grad=Within(-math.inf), tolerance_change=Within(-math.inf))
        self.check_choice("line_search_fn", None, "strong_wolfe")
        for name, least in (("max_iter", 1), ("max_eval", 1), ("history_size", 1)):
            value = getattr(self, name)
            whole = None if isinstance(value, (bool, np.bool_)) else as_whole(value)
            if value is None and name == "max_eval":
                continue
            if whole is None or whole < least:
                raise ValueError(located(f"LBFGS: {name} is a whole number of {least} or more, got {value!r}"))
            object.__setattr__(self, name, whole)

    @property
    def _most_evaluations(self) -> int:
        return self.max_iter * 5 // 4 if self.max_eval is None else self.max_eval

    def init_all(self, types: Mapping[str, ArrayType]) -> dict[str, StateSpec]:
        size, dtype = sum(t.size for t in types.values()), np.result_type(*(t.dtype for t in types.values()))
        whole, number = np.dtype("int64"), ArrayType((), np.dtype("float64"))
        vector, history = ArrayType((size,), dtype), ArrayType((self.history_size, size), dtype)
        return {
            "d": StateSpec(vector),
            "prev_flat_grad": StateSpec(vector),
            "old_dirs": StateSpec(history),
            "old_stps": StateSpec(history),
            "ro": StateSpec(ArrayType((self.history_size,), number.dtype)),
            "H_diag": StateSpec(number, 1.0),
            "t": StateSpec(number),
            "pairs": StateSpec(ArrayType((), whole)),
            "n_iter": StateSpec(ArrayType((), whole)),
            "func_evals": StateSpec(ArrayType((), whole)),
        }

    def update_all(self, given: UpdateInputs) -> tuple[dict[str, Any], dict[str, Any]]:
        if given.evaluate is None:
            raise NotImplementedError(
                located(
                    "LBFGS evaluates the loss several times in each update; write update(parameters, gradients, state, "
                    "loss_fn=loss_fn), or step = gl.compile_step(model, loss_fn, gl.optim.LBFGS(), batch)"
                )
            )
        return _Update(self, given).run()


class _Update:
    """One step: all parameters are one vector `x`, `g` is its gradient."""

    def __init__(self, rule: LBFGS, given: UpdateInputs) -> None:
        self.rule = rule
        self.given = given
        self.dtype = given.state["d"].dtype

    def run(self) -> tuple[dict[str, Any], dict[str, Any]]:
        given, rule = self.given, self.rule
        gradient = self._flat({name: given.gradients.get(name) for name in given.parameters})
        loss = self._evaluate(self._flat(given.parameters))[0] if given.loss is None else given.loss
        start = {
            "x": self._flat(given.parameters),
            "loss": xp.astype(loss, "float64"),
            "g": gradient,
            "iteration": np.int64(0),
            "evaluations": np.int64(1),
            "goes_on": ~(xp.max(xp.abs(gradient)) <= rule.tolerance_grad),
            **{name: given.state[name] for name in _CARRIED},
        }
        end = while_loop(lambda s: s["goes_on"], self._iteration, start)
        state = {name: end[name] for name in _CARRIED}
        state["func_evals"] = given.state["func_evals"] + end["evaluations"]
        new = self._split(end["x"])
        return {name: new[name] for name in given.gradients}, state

    def _flat(self, arrays: Mapping[str, Any]) -> Any:
        """Arrays of all parameters as one vector; zeros for one that is None, which the loss does not read."""
        shapes = {name: parameter.shape for name, parameter in self.given.parameters.items()}
        parts = [
            xp.zeros(math.prod(shapes[name]), dtype=self.dtype)
            if array is None
            else xp.astype(xp.reshape(array, (-1,)), self.dtype)
            for name, array in arrays.items()
        ]
        return xp.concatenate(parts)

    def _split(self, x: Any) -> dict[str, Any]:
        """The parameters that a vector holds."""
        found: dict[str, Any] = {}
        begin = 0
        for name, parameter in self.given.parameters.items():
            end = begin + math.prod(parameter.shape)
            found[name] = xp.astype(xp.reshape(x[begin:end], parameter.shape), parameter.dtype)
            begin = end
        return found

    def _evaluate(self, x: Any) -> tuple[Any, Any]:
        assert self.given.evaluate is not None
        loss, gradients = self.given.evaluate(self._split(x))
        return xp.astype(loss, "float64"), self._flat(gradients)

    def _iteration(self, s: dict[str, Any]) -> dict[str, Any]:
        rule, g = self.rule, s["g"]
        iteration, evaluations = s["iteration"] + 1, s["evaluations"]
        history = self._remembered(s)
        d = _direction(g, history)
        usual = xp.astype(self.given.lr, "float64")
        begins = s["n_iter"] == 0
        t = xp.where(begins, xp.minimum(1.0, 1.0 / xp.astype(xp.sum(xp.abs(g)), "float64")) * usual, usual)
        slope = xp.astype(g @ d, "float64")
        moves = ~(slope > -rule.tolerance_change)
        if rule.line_search_fn is None:
            x = xp.where(moves, s["x"] + xp.astype(t, self.dtype) * d, s["x"])
            evaluates = moves & (iteration != rule.max_iter)
            loss, g = cond(evaluates, lambda: self._evaluate(x), lambda: (s["loss"], s["g"]))
            evaluations = evaluations + xp.astype(evaluates, "int64")
        else:

            def search() -> tuple[Any, Any, Any, Any]:
                left = rule._most_evaluations - evaluations
                return strong_wolfe(self._evaluate, s["x"], t, d, s["loss"], s["g"], slope, rule.tolerance_change, left)

            loss, g, t, made = cond(moves, search, lambda: (s["loss"], s["g"], t, np.int64(0)))
            x = xp.where(moves, s["x"] + xp.astype(t, self.dtype) * d, s["x"])
            evaluations = evaluations + made
        ends = (
            (iteration == rule.max_iter)
            | (evaluations >= rule._most_evaluations)
            | (xp.max(xp.abs(g)) <= rule.tolerance_grad)
            | (xp.max(xp.abs(d * xp.astype(t, self.dtype))) <= rule.tolerance_change)
            | (xp.abs(loss - s["loss"]) < rule.tolerance_change)
        )
        return {
            **history,
            "x": x,
            "loss": loss,
            "g": g,
            "iteration": iteration,
            "evaluations": evaluations,
            "goes_on": moves & ~ends,
            "d": d,
            "prev_flat_grad": s["g"],
            "t": t,
            "n_iter": s["n_iter"] + 1,
        }

    def _remembered(self, s: dict[str, Any]) -> dict[str, Any]:
        """The history with the last step in it, if the gradient grew along it; pair k is row k modulo its length."""
        y, step = s["g"] - s["prev_flat_grad"], s["d"] * xp.astype(s["t"], self.dtype)
        product = y @ step
        keeps = (product > _LEAST_CURVATURE) & (s["n_iter"] != 0)
        place = s["pairs"] % self.rule.history_size
        new = {"old_dirs": y, "old_stps": step, "ro": xp.astype(1.0 / product, "float64")}
        kept: dict[str, Any] = {}
        for name, row in new.items():
            old = xp.dynamic_index_in_dim(s[name], place, 0, keepdims=False)
            kept[name] = xp.dynamic_update_index_in_dim(s[name], xp.where(keeps, row, old), place, 0)
        scale = xp.where(keeps, xp.astype(product / (y @ y), "float64"), s["H_diag"])
        return {**kept, "H_diag": scale, "pairs": s["pairs"] + xp.astype(keeps, "int64")}


def _direction(g: Any, history: Mapping[str, Any]) -> Any:
    """-H g, by the two loops over the history: from the last pair to the first, and back."""
    changes, steps, ro, pairs = (history[name] for name in ("old_dirs", "old_stps", "ro", "pairs"))
    length = ro.shape[0]
    count = xp.minimum(pairs, length)

    def row(array: Any, number: Any) -> Any:
        return xp.dynamic_index_in_dim(array, number % length, 0, keepdims=False)

    def back(s: dict[str, Any]) -> dict[str, Any]:
        number = pairs - 1 - s["done"]
        share = xp.astype(row(steps, number) @ s["q"], "float64") * row(ro, number)
        q = s["q"] - xp.astype(share, g.dtype) * row(changes, number)
        shares = xp.dynamic_update_index_in_dim(s["shares"], share, number % length, 0)
        return {"done": s["done"] + 1, "q": q, "shares": shares}

    def forth(s: dict[str, Any]) -> dict[str, Any]:
        number = pairs - count + s["done"]
        share = xp.astype(row(changes, number) @ s["r"], "float64") * row(ro, number)
        r = s["r"] + xp.astype(row(shares, number) - share, g.dtype) * row(steps, number)
        return {"done": s["done"] + 1, "r": r}

    def left(s: dict[str, Any]) -> Any:
        return s["done"] < count

    first = while_loop(left, back, {"done": np.int64(0), "q": -g, "shares": xp.zeros_like(ro)})
    shares = first["shares"]
    begun = first["q"] * xp.astype(history["H_diag"], g.dtype)
    return while_loop(left, forth, {"done": np.int64(0), "r": begun})["r"]
