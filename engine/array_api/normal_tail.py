"""The error function's relatives, the normal distribution and Bessel functions of `gl.special`."""

from __future__ import annotations

from ...ir.ops import elementwise as ew
from ...ir.ops import special as sp
from .special_ops import unary

erf = unary("erf", ew.erf)
erfc = unary("erfc", sp.erfc)
erfcx = unary("erfcx", sp.erfcx)
erfinv = unary("erfinv", sp.erfinv)
erfcinv = unary("erfcinv", sp.erfcinv)
ndtr = unary("ndtr", ew.ndtr)
ndtri = unary("ndtri", sp.ndtri)
log_ndtr = unary("log_ndtr", sp.log_ndtr)

i0 = unary("i0", sp.i0)
i1 = unary("i1", sp.i1)
i0e = unary("i0e", sp.i0e)
i1e = unary("i1e", sp.i1e)
