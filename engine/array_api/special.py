"""The namespace `gradloom.special`: special functions under SciPy's names, for traced arrays.

They take traced arrays, NumPy arrays and Python numbers, element by element, and broadcast. Floats keep their dtype,
and integers give float64. Values are those of `scipy.special` in float64, to about 13 digits; float32 is computed in
float64 and rounded once. Complex numbers are refused. `scipy.special.f(x)` of a traced array is `gl.special.f(x)`,
where SciPy's function is a ufunc. Derivatives are made of such functions too, so that those of every order exist; where
none is known, asking for it raises `NotImplementedError`.
"""

from typing import TYPE_CHECKING

from ..tracing.missing_names import attributes_of
from .entropies import (
    entr,
    expit,
    kl_div,
    log_expit,
    log_softmax,
    logit,
    logsumexp,
    rel_entr,
    softmax,
    xlog1py,
    xlogy,
)
from .exponential_integrals import exp1, expn, spence
from .gamma_functions import (
    beta,
    betainc,
    betaincc,
    betaln,
    comb,
    digamma,
    factorial,
    gamma,
    gammainc,
    gammaincc,
    gammaln,
    gammasgn,
    loggamma,
    multigammaln,
    polygamma,
    zeta,
)
from .normal_tail import erf, erfc, erfcinv, erfcx, erfinv, i0, i0e, i1, i1e, log_ndtr, ndtr, ndtri
from .signals import sinc

psi = digamma

__all__ = [
    "beta",
    "betainc",
    "betaincc",
    "betaln",
    "comb",
    "digamma",
    "entr",
    "erf",
    "erfc",
    "erfcinv",
    "erfcx",
    "erfinv",
    "exp1",
    "expit",
    "expn",
    "factorial",
    "gamma",
    "gammainc",
    "gammaincc",
    "gammaln",
    "gammasgn",
    "i0",
    "i0e",
    "i1",
    "i1e",
    "kl_div",
    "log_expit",
    "log_ndtr",
    "log_softmax",
    "loggamma",
    "logit",
    "logsumexp",
    "multigammaln",
    "ndtr",
    "ndtri",
    "polygamma",
    "psi",
    "rel_entr",
    "sinc",
    "softmax",
    "spence",
    "xlog1py",
    "xlogy",
    "zeta",
]

if not TYPE_CHECKING:
    __getattr__ = attributes_of(__name__, __all__, "gl.special")
__dir__ = __all__.copy
