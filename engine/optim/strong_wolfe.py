"""The line search of L-BFGS: a step length that fulfils the strong Wolfe conditions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import optree

from .. import array_api as xp
from ..tracing.while_loop import while_loop

_DECREASE, _CURVATURE = 1e-4, 0.9

Evaluate = Callable[[Any], "tuple[Any, Any]"]
"""The loss, in float64, and its gradient at a vector."""


def strong_wolfe(
    evaluate: Evaluate, x: Any, t: Any, d: Any, f: Any, g: Any, slope: Any, tolerance_change: float, max_ls: Any
) -> tuple[Any, Any, Any, Any]:
    """Loss, gradient, step length and the number of evaluations of a search from the vector `x` along `d`.

    f(x + t d) <= f + c₁ t slope, and |slope at t| <= -c₂ slope, with c₁ = 1e-4 and c₂ = 0.9. The search begins at `t`;
    `f`, `g` and `slope` = g·d are those of `x`. Steps are made longer until two of them enclose such a one, and then it
    is closed in upon, each time where a cubic through both has its least value; after `max_ls` of these, or where
    `tolerance_change` is all that it may still move, the best is taken. Nocedal and Wright 2006, "Numerical
    optimization", algorithms 3.5 and 3.6; the choices are those of torch.
    """
    longest = xp.max(xp.abs(d))
    origin = {"t": t * 0.0, "f": f, "g": g, "slope": slope}

    def body(s: dict[str, Any]) -> dict[str, Any]:
        # One evaluation serves both phases, so that the loss stands once in the program.
        t = s["t"]
        f_new, g_new = evaluate(x + xp.astype(t, d.dtype) * d)
        new = {"t": t, "f": f_new, "g": g_new, "slope": _dot(g_new, d)}
        high_up = new["f"] > f + _DECREASE * t * slope
        flat = xp.abs(new["slope"]) <= -_CURVATURE * slope
        grown = _grown(s, new, origin, high_up, flat, max_ls)
        closed = _closed_in(s, new, high_up, flat)
        pair = _pick(s["zooms"], closed, {name: grown[name] for name in closed})
        zooms = s["zooms"] | grown["encloses"]
        steps = s["steps"] + xp.astype(s["zooms"] | grown["goes_on"], "int64")
        trial, insufficient = _trial(pair["one"], pair["other"], s["insufficient"])
        moves = xp.abs(pair["other"]["t"] - pair["one"]["t"]) * longest >= tolerance_change
        return {
            "t": xp.where(zooms, trial, _longer(s["before"], new)),
            "steps": steps,
            "evaluations": s["evaluations"] + 1,
            "zooms": zooms,
            "goes_on": xp.where(zooms, ~pair["done"] & (steps < max_ls) & moves, grown["goes_on"]),
            "insufficient": xp.where(zooms, insufficient, s["insufficient"]),
            "before": _pick(grown["goes_on"], new, s["before"]),
            **{name: pair[name] for name in ("one", "other", "one_is_low")},
        }

    false, count = np.bool_(False), np.int64(0)
    end = while_loop(
        lambda s: s["goes_on"],
        body,
        {
            "t": t,
            "steps": count,
            "evaluations": count,
            "zooms": false,
            "goes_on": np.bool_(True),
            "insufficient": false,
            "before": origin,
            "one": origin,
            "other": origin,
            "one_is_low": np.bool_(True),
        },
    )
    best = _pick(end["one_is_low"], end["one"], end["other"])
    return best["f"], best["g"], best["t"], end["evaluations"]


def _grown(s: Any, new: Any, origin: Any, high_up: Any, flat: Any, max_ls: Any) -> dict[str, Any]:
    """What is known when a longer step was tried: whether it and the one `before` enclose what is sought."""
    spent = s["steps"] >= max_ls
    crossed = high_up | ((s["steps"] > 1) & (new["f"] >= s["before"]["f"]))
    fits = ~crossed & flat
    encloses = ~spent & (crossed | (~fits & (new["slope"] >= 0)))
    one = _pick(spent, origin, _pick(fits, new, s["before"]))
    return {
        "one": one,
        "other": new,
        "one_is_low": one["f"] <= new["f"],
        "done": spent | fits,
        "encloses": encloses,
        "goes_on": ~spent & ~fits & ~encloses,
    }


def _closed_in(s: Any, new: Any, high_up: Any, flat: Any) -> dict[str, Any]:
    """What is known when a step between two was tried, which takes the place of one of them."""
    low, high = (_pick(s["one_is_low"], s[a], s[b]) for a, b in (("one", "other"), ("other", "one")))
    worse = high_up | (new["f"] >= low["f"])
    turned = ~flat & (new["slope"] * (high["t"] - low["t"]) >= 0)
    high = _pick(worse, new, _pick(turned, low, high))
    low = _pick(worse, low, new)
    one, other = (_pick(s["one_is_low"], a, b) for a, b in ((low, high), (high, low)))
    one_is_low = xp.where(worse, one["f"] <= other["f"], s["one_is_low"])
    return {"one": one, "other": other, "one_is_low": one_is_low, "done": ~worse & flat}


def _longer(before: Any, new: Any) -> Any:
    """The next step that is tried beyond `new`."""
    t = new["t"]
    return _cubic_minimum(before, new, t + 0.01 * (t - before["t"]), t * 10)


def _trial(one: Any, other: Any, insufficient: Any) -> tuple[Any, Any]:
    """The step that is tried between two, and whether it makes insufficient progress. One that is near the border a
    second time, or beyond it, is moved off it by a tenth of the distance.
    """
    least, most = xp.minimum(one["t"], other["t"]), xp.maximum(one["t"], other["t"])
    t = _cubic_minimum(one, other, least, most)
    margin = 0.1 * (most - least)
    near = xp.minimum(most - t, t - least) < margin
    moved = near & (insufficient | (t >= most) | (t <= least))
    inside = xp.where(xp.abs(t - most) < xp.abs(t - least), most - margin, least + margin)
    return xp.where(moved, inside, t), near & ~moved


def _cubic_minimum(one: Any, other: Any, least: Any, most: Any) -> Any:
    """Where the cubic with the values and slopes of two points has its minimum, within bounds; the middle of these
    where it has none.
    """
    is_left = one["t"] <= other["t"]
    left, right = (
        {name: xp.where(is_left, a[name], b[name]) for name in ("t", "f", "slope")}
        for a, b in ((one, other), (other, one))
    )
    d1 = left["slope"] + right["slope"] - 3 * (left["f"] - right["f"]) / (left["t"] - right["t"])
    square = d1**2 - left["slope"] * right["slope"]
    d2 = xp.sqrt(xp.maximum(square, 0.0))
    share = (right["slope"] + d2 - d1) / (right["slope"] - left["slope"] + 2 * d2)
    t = right["t"] - (right["t"] - left["t"]) * share
    return xp.where(square >= 0, xp.minimum(xp.maximum(t, least), most), (least + most) / 2)


def _dot(x: Any, y: Any) -> Any:
    return xp.astype(x @ y, "float64")


def _pick(flag: Any, a: Any, b: Any) -> Any:
    """One of two pytrees."""
    return optree.tree_map(lambda x, y: xp.where(flag, x, y), a, b)
