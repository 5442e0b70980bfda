"""`gradloom.random`: numbers that a program draws, under the names of `jax.random` and without its first argument.

The key is the one in force: a compiled step has one for each step, `with gl.random.key(seed):` is for elsewhere. Inside
it every draw has a stream of its own, numbered in the order in which the program is written; element i of a draw
depends on the key, the stream and i alone. A value that is computed again is therefore the same value. Inside the
function of a loop every iteration has a key of its own, and inside that of `vmap` every example.
"""

from typing import TYPE_CHECKING

from ..missing_names import attributes_of, of_random
from .choices import categorical, choice, permutation
from .continuous import exponential, gumbel, laplace, normal, truncated_normal, uniform
from .counts import binomial, geometric, poisson
from .discrete import bernoulli, rademacher, randint
from .gamma import beta, dirichlet, gamma, loggamma
from .keys import (
    has_key,
    key,
    key_of_seed,
    random_bits,
)
from .transformed import (
    cauchy,
    chisquare,
    double_sided_maxwell,
    f,
    generalized_normal,
    logistic,
    lognormal,
    maxwell,
    multivariate_normal,
    pareto,
    rayleigh,
    t,
    triangular,
    wald,
    weibull_min,
)

__all__ = [
    "bernoulli",
    "beta",
    "binomial",
    "categorical",
    "cauchy",
    "chisquare",
    "choice",
    "dirichlet",
    "double_sided_maxwell",
    "exponential",
    "f",
    "gamma",
    "generalized_normal",
    "geometric",
    "gumbel",
    "has_key",
    "key",
    "key_of_seed",
    "laplace",
    "loggamma",
    "logistic",
    "lognormal",
    "maxwell",
    "multivariate_normal",
    "normal",
    "pareto",
    "permutation",
    "poisson",
    "rademacher",
    "randint",
    "random_bits",
    "rayleigh",
    "t",
    "triangular",
    "truncated_normal",
    "uniform",
    "wald",
    "weibull_min",
]

if not TYPE_CHECKING:
    __getattr__ = attributes_of(__name__, __all__, "gl.random", instead=of_random)
__dir__ = __all__.copy
