"""Special functions of torch's, element by element: those of `torch.special`, and what tensors have of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ... import array_api as xp
from ...array_api import special
from ..promotion import as_floats, promoted
from ..table import aten


def _unary(function: Callable[[Any], Any], *names: str) -> None:
    aten(*(f"{name}.default" for name in names), whole=True)(lambda x: function(as_floats(x)[0]))


def _binary(function: Callable[[Any, Any], Any], *names: str) -> None:
    aten(*names, whole=True)(lambda x, y: function(*as_floats(*promoted(x, y))))


_unary(special.gammaln, "lgamma")
_unary(special.digamma, "digamma")
_unary(special.erfc, "erfc")
_unary(special.erfinv, "erfinv")
_unary(special.i0, "i0")
_unary(xp.sinc, "sinc")
for _name in ("entr", "erfcx", "i0e", "i1", "i1e", "log_ndtr", "ndtri", "ndtr"):
    _unary(getattr(special, _name), f"special_{_name}")

_binary(special.gammainc, "igamma.default")
_binary(special.gammaincc, "igammac.default")
_binary(special.xlogy, "xlogy.Tensor", "xlogy.Scalar_Self", "xlogy.Scalar_Other")
for _name in ("xlog1py", "zeta"):
    _names = [f"special_{_name}.{overload}" for overload in ("default", "self_scalar", "other_scalar")]
    _binary(getattr(special, _name), *_names)


@aten("polygamma.default", whole=True)
def polygamma(n: int, x: Any) -> Any:
    """The derivative of order n of digamma."""
    return special.polygamma(n, as_floats(x)[0])


@aten("mvlgamma.default", whole=True)
def mvlgamma(x: Any, p: int) -> Any:
    """The logarithm of the multivariate gamma function of dimension p."""
    return special.multigammaln(as_floats(x)[0], p)


@aten("logit.default", whole=True)
def logit(x: Any, eps: float | None = None) -> Any:
    """log(x / (1 - x)), of x between eps and 1 - eps where that is given."""
    (x,) = as_floats(x)
    return special.logit(x if eps is None else xp.clip(x, eps, 1 - eps))
