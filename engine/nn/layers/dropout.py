"""Dropout as layers."""

from __future__ import annotations

from typing import Any, Literal

from ...tracing import random
from ...tracing.tracer import located
from .. import functional as F
from ..functional.dropout import check_probability
from ..module import Module

Mode = Literal["train", "mc", "mean_field"]


class Dropout(Module):
    """Each element is 0 with probability `p` and scaled by 1 / (1 - p) otherwise, in training. Srivastava et al. 2014.

    For the random mask ξ, the network is F(x; ξ). All modes train F(x; ξ), and `mode` says what evaluation computes:

    - "train": what is given, as in torch. That is the mean-field approximation, since 1 / (1 - p) makes E[ξ] = 1.
    - "mean_field": the same by its name: F(x; E[ξ]) for E[F(x; ξ)], without randomness.
    - "mc": one draw of F(x; ξ), of which the user takes the mean of m: the Monte Carlo approximation of E[F(x; ξ)].
      Gal and Ghahramani 2016, "Dropout as a Bayesian approximation". Functions of `step.bind` have a key to draw from,
      which `key=seed` sets; elsewhere it is `gl.random.key(seed)` around. Raises `RuntimeError` without.

    With p = 1 a mask leaves zeros and derivatives of 0. Raises `ValueError` for a `p` outside [0, 1], or another mode.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False, *, mode: Mode = "train") -> None:
        check_probability(type(self).__name__, p)
        self.p = p
        self.mode = mode

    @property
    def mode(self) -> Mode:
        """What evaluation computes. It can be set: functions that are bound to a step from then on follow it."""
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        if mode not in ("train", "mc", "mean_field"):
            raise ValueError(located(f"{type(self).__name__}: mode is 'train', 'mc' or 'mean_field', got {mode!r}"))
        self._mode: Mode = mode

    def draws(self) -> bool:
        """Whether elements are dropped: in training, and in evaluation by mode "mc". Raises where it has no key."""
        if self.training:
            return True
        if self.mode == "mc" and 0 < self.p < 1 and not random.has_key():
            raise RuntimeError(
                located(
                    f"{type(self).__name__}(mode='mc') draws in evaluation too and needs a key: functions of "
                    "step.bind have one; elsewhere write `with gl.random.key(seed): ...`"
                )
            )
        return self.mode == "mc"

    def forward(self, input: Any) -> Any:
        return F.dropout(input, self.p, self.draws())

    def extra_repr(self) -> str:
        return f"p={self.p}" + ("" if self.mode == "train" else f", mode={self.mode!r}")


class Dropout1d(Dropout):
    """As `Dropout`, of whole channels of (N, C, L) or (C, L)."""

    def forward(self, input: Any) -> Any:
        return F.dropout1d(input, self.p, self.draws())


class Dropout2d(Dropout):
    """As `Dropout`, of whole channels of (N, C, H, W); three axes are taken as (N, C, L), as in torch."""

    def forward(self, input: Any) -> Any:
        return F.dropout2d(input, self.p, self.draws())


class Dropout3d(Dropout):
    """As `Dropout`, of whole channels of (N, C, D, H, W) or (C, D, H, W)."""

    def forward(self, input: Any) -> Any:
        return F.dropout3d(input, self.p, self.draws())


class AlphaDropout(Module):
    """`functional.alpha_dropout` in training, for networks of `SELU`; in evaluation nothing."""

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        check_probability(type(self).__name__, p)
        self.p = p

    def forward(self, input: Any) -> Any:
        return F.alpha_dropout(input, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class FeatureAlphaDropout(AlphaDropout):
    """As `AlphaDropout`, of whole channels of (N, C, ...)."""

    def forward(self, input: Any) -> Any:
        return F.feature_alpha_dropout(input, self.p, self.training)
