"""Multi-head attention."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from ..tracing.errors import located
from ..tracing.missing_names import attributes_of
from . import init
from .functional.multi_head import attended_by_heads
from .layers import Linear
from .module import Module
from .parameter import Parameter


class MultiheadAttention(Module):
    """Attention in `num_heads` subspaces at once: in_proj, then softmax(q kᵀ / √(E / heads)) v by head, then out_proj.

    Parameters are in_proj_weight (3 E, E), the rows for q, k and v one after another, or q_proj_weight (E, E),
    k_proj_weight (E, kdim) and v_proj_weight (E, vdim) where `kdim` or `vdim` is not E; in_proj_bias (3 E,); and
    out_proj. `dropout` drops attention weights in training. `add_bias_kv` puts a learned key and value behind the
    sequence, bias_k and bias_v (1, 1, E), `add_zero_attn` a key and a value of zeros; all queries see them. Vaswani et
    al. 2017, "Attention is all you need".
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        dtype: npt.DTypeLike = "float32",
    ) -> None:
        if embed_dim < 1 or num_heads < 1 or embed_dim % num_heads:
            raise ValueError(located(f"embed_dim {embed_dim} does not divide into num_heads {num_heads} equal heads"))
        if not 0 <= dropout <= 1:
            raise ValueError(located(f"the probability of dropout is from 0 to 1, got {dropout}"))
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.dropout = dropout
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self.batch_first = batch_first
        self.add_zero_attn = add_zero_attn
        if self.kdim == self.vdim == embed_dim:
            self.in_proj_weight = Parameter((3 * embed_dim, embed_dim), dtype, init.xavier_uniform())
        else:
            self.in_proj_weight = None
            self.q_proj_weight = Parameter((embed_dim, embed_dim), dtype, init.xavier_uniform())
            self.k_proj_weight = Parameter((embed_dim, self.kdim), dtype, init.xavier_uniform())
            self.v_proj_weight = Parameter((embed_dim, self.vdim), dtype, init.xavier_uniform())
        self.in_proj_bias = Parameter(3 * embed_dim, dtype) if bias else None
        self.out_proj = Linear(embed_dim, embed_dim, bias, dtype)
        if self.out_proj.bias is not None:
            init.zeros_(self.out_proj.bias)
        self.bias_k = Parameter((1, 1, embed_dim), dtype, init.xavier_normal()) if add_bias_kv else None
        self.bias_v = Parameter((1, 1, embed_dim), dtype, init.xavier_normal()) if add_bias_kv else None

    def forward(
        self,
        query: Any,
        key: Any,
        value: Any,
        key_padding_mask: Any = None,
        need_weights: bool = True,
        attn_mask: Any = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Any, Any]:
        """(output, weights), or (output, None) without `need_weights`.

        query is (L, N, E), key (S, N, kdim), value (S, N, vdim), or with `batch_first` (N, L, E) and so on; without a
        batch (L, E) and so on. The output has the shape of the query. The weights are (N, L, S), the mean over the
        heads, or (N, heads, L, S) without `average_attn_weights`.

        `key_padding_mask` is (N, S), `attn_mask` (L, S) or (N * heads, L, S): booleans, true where a key may not be
        seen, or floats that are added to the scores. With `is_causal` no query sees a later key, whether or not
        `attn_mask` says so. A query that sees no key gets the output of zeros.
        """
        separate = self.in_proj_weight is None
        attended, weights = attended_by_heads(
            query,
            key,
            value,
            self.embed_dim,
            self.num_heads,
            (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight) if separate else self.in_proj_weight,
            self.in_proj_bias,
            bias_k=self.bias_k,
            bias_v=self.bias_v,
            add_zero_attn=self.add_zero_attn,
            dropout_p=self.dropout if self.training else 0.0,
            key_padding_mask=key_padding_mask,
            need_weights=need_weights,
            attn_mask=attn_mask,
            average_attn_weights=average_attn_weights,
            is_causal=is_causal,
            batch_first=self.batch_first,
        )
        return self.out_proj(attended), weights

    def extra_repr(self) -> str:
        return f"embed_dim={self.embed_dim}, num_heads={self.num_heads}, dropout={self.dropout}"


if not TYPE_CHECKING:
    __getattr__ = attributes_of(__name__, ["MultiheadAttention"], "nn.attention")
