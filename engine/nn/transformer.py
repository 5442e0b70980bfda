"""The transformer: layers of attention and linear maps, stacked as encoder and decoder."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ...ir import Array
from ..tracing.errors import located
from . import functional as F
from . import init
from .attention import MultiheadAttention
from .containers import ModuleList, checked_module
from .layers import Dropout, LayerNorm, Linear
from .module import Module
from .spelling import torch_arguments

_ACTIVATIONS: dict[str, Callable[[Any], Any]] = {"relu": F.relu, "gelu": F.gelu}


def _activation(given: str | Callable[[Any], Any]) -> Callable[[Any], Any]:
    if not callable(given) and given not in _ACTIVATIONS:
        raise ValueError(located(f"activation is 'relu', 'gelu' or a function, got {given!r}"))
    return given if callable(given) else _ACTIVATIONS[given]


class TransformerEncoderLayer(Module):
    """Self-attention, then two linear layers; each with dropout, a residual connection and layer norm.

    The norm comes after each sum, or with `norm_first` before each part. `activation` is "relu", "gelu" or a function.
    x is (L, N, d_model), with `batch_first` (N, L, d_model). Vaswani et al. 2017, "Attention is all you need"; Xiong et
    al. 2020, "On layer normalization in the transformer architecture", for `norm_first`.
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Callable[[Any], Any] = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        dtype: npt.DTypeLike = "float32",
    ) -> None:
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first, dtype=dtype)
        self.linear1 = Linear(d_model, dim_feedforward, bias, dtype)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, dtype)
        self.norm_first = norm_first
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)
        self.dropout1 = Dropout(dropout)
        self.dropout2 = Dropout(dropout)
        self.activation = _activation(activation)

    def forward(self, src: Any, src_mask: Any = None, src_key_padding_mask: Any = None, is_causal: bool = False) -> Any:
        """The shape of `src`; masks as in `MultiheadAttention.forward`."""
        x = src
        if self.norm_first:
            x = x + self._attended(self.norm1(x), src_mask, src_key_padding_mask, is_causal)
            return x + self._fed_forward(self.norm2(x))
        x = self.norm1(x + self._attended(x, src_mask, src_key_padding_mask, is_causal))
        return self.norm2(x + self._fed_forward(x))

    def _attended(self, x: Any, mask: Any, key_padding_mask: Any, is_causal: bool) -> Any:
        output, _ = self.self_attn(x, x, x, key_padding_mask, False, mask, is_causal=is_causal)
        return self.dropout1(output)

    def _fed_forward(self, x: Any) -> Any:
        return self.dropout2(self.linear2(self.dropout(self.activation(self.linear1(x)))))


class TransformerEncoder(Module):
    """`num_layers` copies of `encoder_layer`, one after another, and at the end `norm`, if given.

    Each copy has parameters of its own, which begin with values of their own.
    """

    def __init__(self, encoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        self.layers = _copies(encoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm

    def forward(
        self, src: Any, mask: Any = None, src_key_padding_mask: Any = None, is_causal: bool | None = None
    ) -> Any:
        """The shape of `src`; masks as in `MultiheadAttention.forward`, the same for all layers."""
        for layer in self.layers:
            src = layer(src, mask, src_key_padding_mask, bool(is_causal))
        return src if self.norm is None else self.norm(src)


class TransformerDecoderLayer(Module):
    """Self-attention, attention to the memory of an encoder, then two linear layers; each with dropout, a residual
    connection and layer norm.

    Arguments are those of `TransformerEncoderLayer`. Vaswani et al. 2017, "Attention is all you need".
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Callable[[Any], Any] = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        dtype: npt.DTypeLike = "float32",
    ) -> None:
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first, dtype=dtype)
        self.multihead_attn = MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first, dtype=dtype)
        self.linear1 = Linear(d_model, dim_feedforward, bias, dtype)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, dtype)
        self.norm_first = norm_first
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)
        self.norm3 = LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)
        self.dropout1 = Dropout(dropout)
        self.dropout2 = Dropout(dropout)
        self.dropout3 = Dropout(dropout)
        self.activation = _activation(activation)

    def forward(
        self,
        tgt: Any,
        memory: Any,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Any:
        """The shape of `tgt`, (T, N, d_model), with `batch_first` (N, T, d_model); `memory` is of another length.

        Masks as in `MultiheadAttention.forward`: those of `tgt` for the self-attention, those of `memory` for the
        attention to it.
        """

        def attended(x: Any) -> Any:
            output, _ = self.self_attn(x, x, x, tgt_key_padding_mask, False, tgt_mask, is_causal=tgt_is_causal)
            return self.dropout1(output)

        def remembered(x: Any) -> Any:
            output, _ = self.multihead_attn(
                x, memory, memory, memory_key_padding_mask, False, memory_mask, is_causal=memory_is_causal
            )
            return self.dropout2(output)

        def fed_forward(x: Any) -> Any:
            return self.dropout3(self.linear2(self.dropout(self.activation(self.linear1(x)))))

        x = tgt
        for part, norm in ((attended, self.norm1), (remembered, self.norm2), (fed_forward, self.norm3)):
            x = x + part(norm(x)) if self.norm_first else norm(x + part(x))
        return x


class TransformerDecoder(Module):
    """`num_layers` copies of `decoder_layer`, one after another, and at the end `norm`, if given.

    Each copy has parameters of its own, which begin with values of their own.
    """

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        self.layers = _copies(decoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm

    def forward(
        self,
        tgt: Any,
        memory: Any,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Any:
        """The shape of `tgt`; arguments as in `TransformerDecoderLayer.forward`, the same for all layers."""
        masks = (tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask)
        for layer in self.layers:
            tgt = layer(tgt, memory, *masks, bool(tgt_is_causal), memory_is_causal)
        return tgt if self.norm is None else self.norm(tgt)


def _copies(layer: Module, count: int) -> ModuleList:
    if count < 0:
        raise ValueError(located(f"num_layers is 0 or more, got {count}"))
    layer = checked_module(layer)
    return ModuleList([copy.deepcopy(layer) for _ in range(count)])


class Transformer(Module):
    """An encoder of `src`, and a decoder of `tgt` that attends to what the encoder gives; both end in a layer norm.

    `custom_encoder` and `custom_decoder` are modules to use instead, called as `TransformerEncoder` and
    `TransformerDecoder` are. Matrices begin as `init.xavier_uniform`. Vaswani et al. 2017, "Attention is all you need".
    """

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Callable[[Any], Any] = "relu",
        custom_encoder: Module | None = None,
        custom_decoder: Module | None = None,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        dtype: npt.DTypeLike = "float32",
    ) -> None:
        arguments: Any = (
            d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias, dtype
        )  # fmt: skip

        def norm() -> LayerNorm:
            return LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)

        self.encoder = custom_encoder or TransformerEncoder(
            TransformerEncoderLayer(*arguments), num_encoder_layers, norm()
        )
        self.decoder = custom_decoder or TransformerDecoder(
            TransformerDecoderLayer(*arguments), num_decoder_layers, norm()
        )
        self.d_model = d_model
        self.nhead = nhead
        self.batch_first = batch_first
        for _, parameter in self.stored_parameters():
            if parameter.ndim > 1:
                init.xavier_uniform_(parameter)

    def forward(
        self,
        src: Any,
        tgt: Any,
        src_mask: Any = None,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        src_key_padding_mask: Any = None,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Any:
        """The shape of `tgt`. src is (S, N, d_model), tgt (T, N, d_model), with `batch_first` (N, S, d_model) and
        (N, T, d_model). Masks as in `MultiheadAttention.forward`.
        """
        memory = self.encoder(src, src_mask, src_key_padding_mask, src_is_causal)
        padding = (tgt_key_padding_mask, memory_key_padding_mask)
        return self.decoder(tgt, memory, tgt_mask, memory_mask, *padding, tgt_is_causal, memory_is_causal)

    @staticmethod
    @torch_arguments
    def generate_square_subsequent_mask(sz: int, dtype: npt.DTypeLike = "float32") -> Array:
        """(sz, sz) floats, to be added to scores: 0 where a key is not later than the query, and -inf."""
        return np.triu(np.full((sz, sz), -np.inf, dtype), 1)
