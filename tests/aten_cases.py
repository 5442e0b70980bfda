"""Functions of tensors, each of which is exported to the ops that it is named after: values and gradients agree."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

Case = Callable[[Any], Any]
"""A function of an object with tensors: x, y (2, 3, 4), p (2, 3, 4) above 0, m (4, 5), s (), i (2, 3, 4) int64 below 3,
j (3,) int64, b (2, 3, 4) booleans, n (2, 3, 4) int64 of either sign, im (2, 4, 6, 6), seq (2, 4, 7).
"""

ELEMENTWISE: dict[str, Case] = {
    "add": lambda t: torch.add(t.x, t.y, alpha=2),
    "add number": lambda t: t.x + 3,
    "add integers and a float": lambda t: t.n + 1.5,
    "add an array without axes": lambda t: t.x + t.s,
    "add booleans": lambda t: t.b + t.b,
    "sub": lambda t: torch.sub(t.x, t.y, alpha=3),
    "rsub": lambda t: 2 - t.x,
    "mul": lambda t: t.x * t.y,
    "mul of a boolean": lambda t: t.x * t.b,
    "div": lambda t: t.x / t.p,
    "div of integers": lambda t: t.n / 3,
    "div floor": lambda t: torch.div(t.n, 2, rounding_mode="floor"),
    "div trunc": lambda t: torch.div(t.n, 2, rounding_mode="trunc"),
    "div floor of floats": lambda t: torch.div(t.x, t.p, rounding_mode="floor"),
    "floor_divide": lambda t: t.n // 2,
    "remainder": lambda t: t.n % 3,
    "remainder of floats": lambda t: torch.remainder(t.x, 0.7),
    "fmod": lambda t: torch.fmod(t.x, 0.7),
    "pow scalar": lambda t: t.x**3,
    "pow half": lambda t: t.p**0.5,
    "pow tensors": lambda t: t.p**t.y,
    "pow of a number": lambda t: 2.0**t.x,
    "pow of integers": lambda t: t.i**2,
    "maximum": lambda t: torch.maximum(t.x, t.y),
    "minimum": lambda t: torch.minimum(t.x, t.y),
    "clamp": lambda t: torch.clamp(t.x, -0.5, 0.5),
    "clamp by arrays": lambda t: torch.clamp(t.x, min=t.y, max=t.p),
    "clamp_min": lambda t: torch.clamp_min(t.x, 0.1),
    "clamp_max": lambda t: torch.clamp_max(t.x, 0.1),
    "clamp of integers": lambda t: torch.clamp(t.n, 0, 2),
    "lerp": lambda t: torch.lerp(t.x, t.y, 0.3),
    "addcmul": lambda t: torch.addcmul(t.x, t.y, t.p, value=0.5),
    "addcdiv": lambda t: torch.addcdiv(t.x, t.y, t.p, value=0.5),
    "atan2": lambda t: torch.atan2(t.x, t.p),
    "hypot": lambda t: torch.hypot(t.x, t.p),
    "logaddexp": lambda t: torch.logaddexp(t.x, t.y),
    "comparisons": lambda t: torch.stack([t.x > t.y, t.x >= t.y, t.x < 0, t.x <= 0, t.n == 1, t.n != 1]),
    "logic": lambda t: torch.stack([t.b & (t.x > 0), t.b | (t.x > 0), t.b ^ (t.x > 0), ~t.b, torch.logical_not(t.n)]),
    "logic of numbers": lambda t: torch.stack([torch.logical_and(t.n, t.x), torch.logical_or(t.n, t.i)]),
    "bits": lambda t: torch.stack([t.i & 1, t.i | 4, t.i ^ 3, t.i << 2, t.n >> 1, ~t.n]),
    "where": lambda t: torch.where(t.b, t.x, t.y),
    "where number": lambda t: torch.where(t.b, t.x, 0.0),
    "masked_fill": lambda t: t.x.masked_fill(t.b, -1.5),
    "exp and log": lambda t: torch.stack([t.x.exp(), t.p.log(), t.p.log2(), t.p.log10(), t.p.log1p(), t.x.expm1()]),
    "roots": lambda t: torch.stack([t.p.sqrt(), t.p.rsqrt(), t.p.reciprocal(), t.x.square()]),
    "trigonometry": lambda t: torch.stack([t.x.sin(), t.x.cos(), (t.x * 0.3).tan(), t.x.atan(), t.x.tanh()]),
    "hyperbolic": lambda t: torch.stack([t.x.sinh(), t.x.cosh(), t.x.asinh(), (1 + t.p).acosh()]),
    "inverse": lambda t: torch.stack(
        [(0.9 * t.x.tanh()).asin(), (0.9 * t.x.tanh()).acos(), (0.5 * t.x.tanh()).atanh()]
    ),
    "erf": lambda t: torch.stack([t.x.erf(), t.x.erfc(), t.x.sigmoid()]),
    "gamma": lambda t: torch.stack(
        [t.p.lgamma(), t.p.digamma(), torch.polygamma(1, t.p), torch.erfinv(0.9 * t.x.tanh())]
    ),
    "special": lambda t: torch.stack(
        [
            torch.special.i0(t.x) + torch.special.i1(t.x) + torch.special.i0e(t.x) * torch.special.i1e(t.y),
            torch.special.ndtri(t.x.sigmoid()) + torch.special.log_ndtr(t.y) + torch.special.erfcx(t.x),
            torch.special.entr(t.p) + torch.xlogy(t.p, t.p + 1) + torch.special.ndtr(t.x),
            torch.special.gammainc(t.p.detach(), t.p + 1) + torch.special.gammaincc(t.p.detach(), t.p),
        ]
    ),
    "exp of integers": lambda t: torch.exp(t.n * 0.1) + torch.sqrt(t.i),
    "abs and sign": lambda t: t.x.abs() * t.y.sign() - t.x.neg(),
    "rounding": lambda t: torch.stack([t.x.floor(), t.x.ceil(), t.x.trunc(), t.x.round()]),
    "isnan": lambda t: torch.stack([t.x.isnan(), t.x.isinf(), t.x.isfinite()]),
    "relu": lambda t: F.relu(t.x) + F.relu6(t.x * 9),
    "gelu": lambda t: F.gelu(t.x) + F.gelu(t.y, approximate="tanh"),
    "silu": lambda t: F.silu(t.x) + F.mish(t.y) + F.softplus(t.x, 2.0, 3.0) + F.logsigmoid(t.x),
    "leaky": lambda t: F.leaky_relu(t.x, 0.2) + F.elu(t.y, 0.7) + F.celu(t.x, 2.0) + F.selu(t.y),
    "hard": lambda t: F.hardtanh(t.x, -0.3, 0.4) + F.hardswish(t.y * 3) + F.hardsigmoid(t.x * 3),
    "shrink": lambda t: (
        F.softshrink(t.x, 0.3) + F.hardshrink(t.y, 0.3) + F.threshold(t.x, 0.1, 0.2) + F.tanhshrink(t.y)
    ),
    "prelu": lambda t: F.prelu(t.x, t.p[0, :, 0]),
    "glu": lambda t: F.glu(t.x, -1),
    "casts": lambda t: t.x.to(torch.float32).double() + t.n.to(torch.float64) + t.b.double(),
    "cast to integers": lambda t: (t.x * 3).long(),
    "detach": lambda t: t.x * t.x.detach(),
    "no_grad": lambda t: t.x * no_grad_square(t.x),
    "nan_to_num": lambda t: torch.nan_to_num(torch.log(t.x), 0.5, 1.0, -2.0).detach() + t.x,
    "in place": lambda t: in_place(t.x, t.y),
    "item": lambda t: t.x * t.y.max().item() + t.x.shape[0] ** 0.5,
    "copysign": lambda t: torch.copysign(t.x, t.y) + torch.ldexp(t.x, t.i) + torch.logaddexp2(t.x, t.y),
    "signs": lambda t: [torch.signbit(t.x), torch.heaviside(t.x.detach(), t.y.detach()), t.x.round(decimals=1)],
    "rrelu": lambda t: F.rrelu(t.x, training=False),
    "autocast of another device": lambda t: cuda_autocast(t.x, t.m),
    "lift": lambda t: t.x + torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64),
}


def no_grad_square(x: Any) -> Any:
    with torch.no_grad():
        return x * x


def in_place(x: Any, y: Any) -> Any:
    z = x.clone()
    z += y
    z[0, 1] = 2.0
    z[:, 2].mul_(y[:, 1])
    z[1, :, 1:3].zero_()
    return z.sigmoid_()


def cuda_autocast(x: Any, y: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # there is no GPU
        autocast = torch.autocast("cuda", dtype=torch.float16)
    with autocast:
        return x @ y


MOVEMENT: dict[str, Case] = {
    "view": lambda t: t.x.view(-1, 4) + t.y.reshape(6, 4),
    "permute": lambda t: t.x.permute(2, 0, 1) * t.y.transpose(0, 2).transpose(1, 2),
    "t": lambda t: t.m.t() * 2,
    "expand": lambda t: t.x[:, :, :1].expand(-1, -1, 5) * t.p[0, 0, 0].expand(2, 3, 5),
    "squeeze": lambda t: t.x[:1].squeeze() + t.x[:, :1].squeeze(1)[0] + t.x.unsqueeze(1).squeeze((1, 2))[0],
    "flatten": lambda t: t.x.flatten(1) * t.y.flatten(1, 2),
    "slice": lambda t: t.x[:, 1:, ::2] * t.y[:, -2:, 1::2],
    "select": lambda t: t.x[:, -1] * t.y.select(1, 0),
    "narrow": lambda t: t.x.narrow(2, 1, 2),
    "split": lambda t: [*t.x.split([1, 3], 2), *t.y.split(2, 1), *t.x.chunk(2, 0)],
    "unbind": lambda t: list(t.x.unbind(1)),
    "cat": lambda t: torch.cat([t.x, t.y, t.n], 1),
    "cat of nothing": lambda t: torch.cat([t.x, t.x[:0]], 0),
    "stack": lambda t: torch.stack([t.x, t.y], -1),
    "repeat": lambda t: t.x.repeat(2, 1, 1, 3),
    "repeat_interleave": lambda t: t.x.repeat_interleave(3, dim=1),
    "flip": lambda t: t.x.flip(0, 2),
    "roll": lambda t: t.x.roll((1, -2), (0, 2)) + t.y.roll(3),
    "pad": lambda t: F.pad(t.x, (1, 2, 0, 1), value=0.5),
    "pad negative": lambda t: F.pad(t.x, (-1, 2)),
    "pad integers": lambda t: F.pad(t.n, (0, 1), value=-100),
    "pad reflect": lambda t: F.pad(t.im, (1, 2, 2, 1), mode="reflect"),
    "pad replicate": lambda t: F.pad(t.im, (1, 2, 2, 1), mode="replicate"),
    "pad circular": lambda t: F.pad(t.im, (1, 2, 2, 1), mode="circular"),
    "as_strided": lambda t: (t.x * 2).as_strided((2, 2, 3), (12, 4, 1), 1),
    "unfold": lambda t: t.x.unfold(2, 3, 1),
    "im2col": lambda t: F.unfold(t.im, 3, dilation=1, padding=1, stride=2),
    "col2im": lambda t: F.fold(t.seq[:, :, :4], (3, 3), 2),
    "tril": lambda t: torch.tril(t.x) + torch.triu(t.y, 1),
    "diagonal": lambda t: torch.diagonal(t.x, 1, 1, 2),
    "diag_embed": lambda t: torch.diag_embed(t.m),
    "pixel_shuffle": lambda t: F.pixel_unshuffle(F.pixel_shuffle(t.im, 2), 3),
    "channel_shuffle": lambda t: F.channel_shuffle(t.im, 2),
    "nearest": lambda t: F.interpolate(t.im, scale_factor=2),
    "bilinear": lambda t: F.interpolate(t.im, size=(9, 5), mode="bilinear", align_corners=False),
    "bilinear corners": lambda t: F.interpolate(t.im, size=(9, 5), mode="bilinear", align_corners=True),
    "bicubic": lambda t: F.interpolate(t.im, scale_factor=1.5, mode="bicubic", align_corners=False),
    "linear resize": lambda t: F.interpolate(t.seq, size=11, mode="linear", align_corners=False),
    "meshgrid": lambda t: [a * 2 for a in torch.meshgrid(t.m[0], t.m[:, 0], indexing="ij")],
    "movedim": lambda t: torch.movedim(t.x, 0, 2) * 3,
}
REDUCTIONS: dict[str, Case] = {
    "sum": lambda t: [t.x.sum(), t.x.sum(1), t.x.sum((0, 2), keepdim=True), t.n.sum(), t.b.sum(1)],
    "mean": lambda t: [t.x.mean(), t.x.mean(-1, keepdim=True), t.x.mean((0, 1)), t.n.double().mean()],
    "prod": lambda t: [t.p.prod(), t.x.prod(1), t.i.prod(2)],
    "var": lambda t: [t.x.var(), t.x.var(1, keepdim=True), t.x.var((0, 2), correction=0), t.x.std(2)],
    "var_mean": lambda t: list(torch.var_mean(t.x, (0, 1))),
    "amax": lambda t: [t.x.amax(1), t.x.amin((0, 2)), t.x.max(), t.x.min()],
    "max with places": lambda t: [*t.x.max(1), *t.y.min(2, keepdim=True)],
    "argmax": lambda t: [t.x.argmax(), t.x.argmax(1), t.x.argmin(2, keepdim=True)],
    "any": lambda t: [t.b.any(), t.b.any(1), t.b.all(2), t.n.all()],
    "softmax": lambda t: [t.x.softmax(1), t.x.log_softmax(-1), t.x.softmax(0, dtype=torch.float64)],
    "logsumexp": lambda t: [t.x.logsumexp(1), t.x.logsumexp((0, 2), keepdim=True)],
    "norm": lambda t: [
        t.x.norm(),
        t.x.norm(dim=1),
        torch.linalg.vector_norm(t.x, 3, dim=(0, 1)),
        F.normalize(t.x, dim=2),
    ],
    "count_nonzero": lambda t: torch.count_nonzero(t.n, 1),
    "logcumsumexp": lambda t: [t.x.logcumsumexp(1), t.y.logcumsumexp(-1)],
    "distances": lambda t: [F.pdist(t.m), torch.dist(t.x, t.y, 3)],
    "cumsum": lambda t: [t.x.cumsum(1), t.n.cumsum(-1), t.x.cumprod(0), t.b.cumsum(2)],
}
INDEXING: dict[str, Case] = {
    "embedding": lambda t: F.embedding(t.i, t.m),
    "embedding with padding": lambda t: F.embedding(t.i, t.m, padding_idx=1),
    "index": lambda t: t.x[t.i[:, 0, 0] % 2],
    "index on two axes": lambda t: t.x[:, t.j, t.j],
    "index apart": lambda t: t.x[t.j % 2, :, t.j],
    "index negative": lambda t: t.m[-1 - t.j],
    "index_select": lambda t: t.x.index_select(1, t.j),
    "gather": lambda t: t.x.gather(1, t.i),
    "gather a part": lambda t: t.x.gather(1, t.i[:1, :2, :3]),
    "take_along_dim": lambda t: torch.take_along_dim(t.x, t.i, 1),
    "one_hot": lambda t: F.one_hot(t.i, 3),
    "bucketize": lambda t: torch.bucketize(t.x, torch.tensor([-0.5, 0.0, 0.5], dtype=torch.float64)),
    "index_put": lambda t: t.x.index_put((t.j % 2, t.j), t.y[0, :, :]),
    "index_put twice": lambda t: t.x.index_put((t.i[:, 0, 0] % 2,), t.y, accumulate=True),
    "index_put by a mask": lambda t: t.x.index_put((t.b,), torch.tensor(0.5, dtype=torch.float64)),
    "scatter": lambda t: t.x.scatter(1, t.i.argsort(1), t.y),
    "scatter a number": lambda t: t.x.scatter(1, t.i, 0.5),
    "scatter_add": lambda t: t.x.scatter_add(1, t.i, t.y),
    "scatter_reduce": lambda t: [
        t.x.scatter_reduce(1, t.i, t.y, kind, include_self=own)
        for kind in ("sum", "prod", "mean", "amax", "amin")
        for own in (True, False)
    ],
    "index_put of rows": lambda t: t.x.index_put((t.b[:, :, 0],), t.y[0, 0]),
    "masked_scatter": lambda t: t.x.masked_scatter(t.b, t.y),
    "put": lambda t: [t.x.put(t.j, t.m[0, :3]), t.x.put(t.j, t.m[0, :3], accumulate=True)],
    "fill_diagonal_": lambda t: t.m.clone().fill_diagonal_(2.0),
    "embedding_bag": lambda t: [
        F.embedding_bag(t.i[0], t.m, mode="sum", per_sample_weights=t.p[0]),
        F.embedding_bag(t.i[0], t.m, padding_idx=1),
        F.embedding_bag(t.i[0], t.m, mode="max"),
        F.embedding_bag(t.i.reshape(-1), t.m, torch.tensor([0, 5, 5, 20])),
    ],
    "index_add": lambda t: t.x.index_add(1, t.j, t.y),
    "index_copy": lambda t: t.x.index_copy(1, t.j.argsort(), t.y),
    "index_fill": lambda t: t.x.index_fill(1, t.j, 0.5),
    "slice_scatter": lambda t: t.x.slice_scatter(t.y[:, :, 1:3], 2, 1, 3),
    "slice_scatter of steps": lambda t: t.x.slice_scatter(t.y[:, :, ::2], 2, 0, 4, 2),
    "select_scatter": lambda t: t.x.select_scatter(t.y[:, 0], 1, -1),
    "diagonal_scatter": lambda t: t.m.diagonal_scatter(t.x[0, 0], 1),
    "sort": lambda t: [*t.x.sort(1), *t.y.sort(2, descending=True)],
    "argsort": lambda t: [t.x.argsort(1), t.x.argsort(2, descending=True)],
    "topk": lambda t: [*t.x.topk(2, 1), *t.y.topk(3, -1, largest=False)],
    "medians": lambda t: [
        *t.x.median(1),
        *torch.where(torch.arange(4) == 1, torch.nan, t.x).nanmedian(2, keepdim=True),
        t.x.median(),
        t.y[t.j % 2].nanmedian(),
        *t.x.kthvalue(2, 1),
        *t.i.mode(2),
    ],
    "cummax": lambda t: [*t.x.cummax(1), *t.y.cummin(-1), *t.n.cummax(0)],
    "searchsorted": lambda t: [
        torch.searchsorted(t.p.cumsum(2).detach(), t.x.detach()),
        torch.searchsorted(torch.arange(-2.0, 3).double(), t.x.detach(), right=True),
    ],
    "histc": lambda t: torch.histc(t.x.detach(), 4, -1, 1),
    "creation": lambda t: [
        torch.arange(1, 9, 2) * t.s,
        torch.full((2, 3), 1.5) * t.s,
        torch.linspace(0, 1, 5, dtype=torch.float64) * t.s,
        torch.eye(3, 4, dtype=torch.float64) * t.s,
        torch.zeros_like(t.x) + torch.ones(4) * t.s,
        t.x.new_full((2,), 3.0) * t.s,
        torch.tril(torch.ones(3, 3)) * t.s,
    ],
}
LAYERS: dict[str, Case] = {
    "matmul": lambda t: [
        t.x @ t.m,
        t.x[0] @ t.m,
        t.m[:, 0] @ t.m,
        t.x @ t.m[:, 0],
        torch.bmm(t.x, t.y.transpose(1, 2)),
    ],
    "addmm": lambda t: [torch.addmm(t.m[0], t.x[0], t.m, beta=0.5, alpha=2), torch.baddbmm(t.x[:, :, :3], t.x, t.y.mT)],
    "linear": lambda t: [F.linear(t.x, t.m.t(), t.m[0]), F.linear(t.x, t.m.t())],
    "einsum": lambda t: torch.einsum("bij,bkj->ik", t.x, t.y),
    "outer": lambda t: [torch.outer(t.m[0], t.m[:, 1]), torch.dot(t.m[0], t.m[1])],
    "bilinear layer": lambda t: F.bilinear(t.x[:, 0], t.y[:, 1], t.p.reshape(6, 4)[:4].expand(3, 4, 4)),
    "layer_norm": lambda t: [F.layer_norm(t.x, (4,), t.m[:, 0], t.m[:, 1]), F.layer_norm(t.x, (3, 4))],
    "rms_norm": lambda t: F.rms_norm(t.x, (4,), t.m[:, 0], 1e-6),
    "group_norm": lambda t: F.group_norm(t.im, 2, t.m[:, 0], t.m[:, 1]),
    "instance_norm": lambda t: F.instance_norm(t.im, weight=t.m[:, 0], bias=t.m[:, 1]),
    "batch_norm": lambda t: F.batch_norm(t.im, None, None, t.m[:, 0], t.m[:, 1], training=True),
    "conv1d": lambda t: F.conv1d(t.seq, t.x.permute(2, 0, 1), t.m[:, 0], padding=1, groups=2),
    "conv2d": lambda t: F.conv2d(t.im, t.im[:, :, :3, :3], t.m[0, :2], stride=2, padding=1, dilation=1),
    "conv2d same": lambda t: F.conv2d(t.im, t.im[:, :, :3, :3], padding="same"),
    "conv_transpose2d": lambda t: F.conv_transpose2d(
        t.im, t.im[:1, :, :3, :3].transpose(0, 1), stride=2, padding=1, output_padding=1
    ),
    "max_pool": lambda t: [F.max_pool2d(t.im, 2), F.max_pool2d(t.im, 3, 2, 1, ceil_mode=True), F.max_pool1d(t.seq, 2)],
    "avg_pool": lambda t: [F.avg_pool2d(t.im, 3, 2, 1, count_include_pad=False), F.avg_pool1d(t.seq, 3)],
    "adaptive pools": lambda t: [
        F.adaptive_avg_pool2d(t.im, (4, 1)),
        F.adaptive_max_pool2d(t.im, 3),
        F.adaptive_avg_pool1d(t.seq, 3),
    ],
    "attention": lambda t: F.scaled_dot_product_attention(t.im, t.im * 2, t.im + 1),
    "attention causal": lambda t: F.scaled_dot_product_attention(t.im, t.im * 2, t.im, is_causal=True),
    "attention mask": lambda t: F.scaled_dot_product_attention(t.im, t.im, t.im, attn_mask=t.im[:1, :1] > -0.5),
    "attention bias": lambda t: F.scaled_dot_product_attention(t.im, t.im, t.im, attn_mask=t.im[:, :1], scale=0.3),
    "attention known mask": lambda t: F.scaled_dot_product_attention(
        t.im, t.im, t.im, torch.ones(6, 6).tril().bool()[None, None]
    ),
    "attention groups": lambda t: F.scaled_dot_product_attention(t.im, t.im[:, :2], t.im[:, 2:], enable_gqa=True),
    "cross_entropy": lambda t: [
        F.cross_entropy(t.m, t.i[0, 0] % 5),
        F.cross_entropy(t.m, t.i[0, 0], label_smoothing=0.1, reduction="sum"),
    ],
    "cross_entropy ignoring": lambda t: F.cross_entropy(t.m, torch.tensor([1, -100, 2, -100])),
    "cross_entropy of probabilities": lambda t: F.cross_entropy(t.m, t.m.softmax(1)),
    "nll_loss": lambda t: F.nll_loss(t.m.log_softmax(1), t.i[0, 0], t.p[0, 0].detach().repeat(2)[:5]),
    "losses": lambda t: [F.mse_loss(t.x, t.y), F.l1_loss(t.x, t.y), F.smooth_l1_loss(t.x, t.y), F.huber_loss(t.x, t.y)],
    "binary losses": lambda t: [
        F.binary_cross_entropy_with_logits(t.x, t.b.double(), pos_weight=t.p[0, 0].detach()),
        F.binary_cross_entropy(t.x.sigmoid(), t.b.double()),
    ],
    "kl_div": lambda t: [
        F.kl_div(t.x.log_softmax(1), t.y.softmax(1), reduction="batchmean"),
        F.cosine_similarity(t.x, t.y),
    ],
    "weight_norm": lambda t: torch._weight_norm(t.m, t.m[:, :1], 0),
    "cdist": lambda t: torch.cdist(t.x, t.y),
}


def spd(x: Any) -> Any:
    """Symmetric, with eigenvalues of at least 1."""
    return x @ x.mT + torch.eye(x.shape[-2], dtype=x.dtype)


LINEAR_ALGEBRA: dict[str, Case] = {
    "inverse": lambda t: [torch.linalg.inv(spd(t.x)), torch.linalg.pinv(t.m), torch.linalg.matrix_exp(spd(t.x))],
    "solve": lambda t: [
        torch.linalg.solve(spd(t.x), t.y),
        torch.linalg.solve(spd(t.x), t.y[:, :, 0]),
        torch.linalg.solve(spd(t.x), t.y.mT, left=False),
    ],
    "determinant": lambda t: [torch.linalg.det(spd(t.x)), *torch.linalg.slogdet(spd(t.x)), torch.logdet(spd(t.m))],
    "cholesky": lambda t: [
        torch.linalg.cholesky(spd(t.x)),
        torch.linalg.cholesky(spd(t.x), upper=True),
        torch.cholesky_solve(t.y, torch.linalg.cholesky(spd(t.x))),
    ],
    "triangles": lambda t: [
        torch.linalg.solve_triangular(spd(t.x).triu(), t.y, upper=True),
        torch.linalg.solve_triangular(spd(t.x).tril(), t.y.mT, upper=False, left=False),
        torch.linalg.solve_triangular(spd(t.x).tril(), t.y, upper=False, unitriangular=True),
    ],
    "qr": lambda t: list(torch.linalg.qr(t.x.mT)),
    "eigenvalues": lambda t: [torch.linalg.eigvalsh(spd(t.x)), torch.linalg.svdvals(t.x)],
    "singular vectors": lambda t: [part**2 for part in torch.linalg.svd(t.x, full_matrices=False)],
    "whole singular vectors": lambda t: [torch.linalg.svd(t.x)[1], torch.linalg.svd(t.x)[0] ** 2],
    "lu": lambda t: [*torch.linalg.lu(t.x), *torch.linalg.lu(t.m)],
    "householder": lambda t: [torch.linalg.householder_product(t.x.mT, t.y[:, :, 0])],
}
SAMPLING: dict[str, Case] = {
    "grid_sample": lambda t: [
        F.grid_sample(t.im, torch.tanh(t.im[:, :2]).permute(0, 2, 3, 1) * 1.2, align_corners=False),
        F.grid_sample(t.im, torch.tanh(t.im[:, :2]).permute(0, 2, 3, 1), padding_mode="border", align_corners=True),
    ],
    "affine_grid": lambda t: F.affine_grid(t.p.reshape(4, 2, 3), [4, 1, 3, 2], align_corners=False),
    "antialias": lambda t: F.interpolate(t.im, (3, 4), mode="bilinear", antialias=True),
    "trilinear": lambda t: F.interpolate(t.im[:, None], (3, 4, 9), mode="trilinear"),
    "margins": lambda t: [
        F.multi_margin_loss(t.m, t.i.reshape(-1)[:4]),
        F.multilabel_margin_loss(t.m, torch.tensor([[0, 2, -1, 1, 1]] * 4)),
        F.multi_margin_loss(t.m, t.i.reshape(-1)[:4], p=2, margin=0.5, reduction="sum"),
    ],
    "gaussian_nll_loss": lambda t: F.gaussian_nll_loss(t.x, t.y, t.p),
    "ctc_loss": lambda t: F.ctc_loss(
        t.im[:, :, 0].permute(1, 0, 2).log_softmax(-1),
        torch.tensor([[1, 2], [3, 3]]),
        torch.tensor([4, 3]),
        torch.tensor([2, 1]),
    ),
}
SPECIAL: dict[str, Case] = {
    "gamma functions": lambda t: torch.stack([t.p.lgamma(), t.x.digamma(), torch.special.gammaln(t.x - 0.3)]),
    "polygamma": lambda t: torch.polygamma(1, t.p) + torch.polygamma(3, t.p) + torch.special.psi(t.p),
    "mvlgamma": lambda t: torch.mvlgamma(t.p + 2, 3) + torch.special.multigammaln(t.p + 1, 2),
    "igamma": lambda t: torch.igamma(t.p.detach(), t.y.abs()) * torch.igammac(t.p.detach(), t.y.abs()),
    "gammainc": lambda t: torch.special.gammainc(t.p.detach(), t.y.abs() + 1),
    "erfs": lambda t: torch.stack([t.x.erfc(), (0.9 * t.x.tanh()).erfinv(), torch.special.erfcx(t.x)]),
    "normal": lambda t: torch.stack([torch.special.ndtr(t.x), torch.special.log_ndtr(t.x * 3)]),
    "ndtri": lambda t: torch.special.ndtri(t.x.sigmoid()),
    "bessel": lambda t: torch.stack([t.x.i0(), torch.special.i0e(t.x), torch.special.i1(t.x), torch.special.i1e(t.x)]),
    "xlogy": lambda t: torch.xlogy(t.x, t.p) + torch.xlogy(2, t.p) + torch.xlogy(t.x, 3.0) + torch.xlogy(t.i, t.p),
    "xlog1py": lambda t: torch.special.xlog1py(t.x, t.p) + torch.special.xlog1py(t.x, 2.0),
    "zeta": lambda t: torch.special.zeta(2.5, t.p) + torch.special.zeta(t.p.detach() + 1, t.p),
    "entr": lambda t: torch.special.entr(t.p),
    "logit": lambda t: torch.logit(t.x.sigmoid()) + torch.logit(t.x, 0.1) + torch.special.expit(t.x),
    "sinc": lambda t: torch.sinc(t.x),
    "lgamma of integers": lambda t: torch.lgamma(t.i + 1),
    "losses": lambda t: F.poisson_nll_loss(t.x, t.p.detach() * 4, full=True),
}

COMPLEX: dict[str, Case] = {
    "rfft": lambda t: torch.view_as_real(torch.fft.rfft(t.x)),
    "rfft of two axes": lambda t: torch.fft.rfft2(t.x, norm="ortho").abs(),
    "fft of real numbers": lambda t: torch.fft.fft(t.x, dim=1).real,
    "fft and back": lambda t: torch.fft.ifft(torch.fft.fft(t.x, 5) * 1j, dim=-1, norm="forward").imag,
    "fftn": lambda t: torch.fft.fftn(torch.complex(t.x, t.y), norm="forward").abs(),
    "irfft": lambda t: torch.fft.irfft(torch.complex(t.x, t.y), 7, dim=1),
    "irfft of two axes": lambda t: torch.fft.irfft2(torch.complex(t.x, t.y)),
    "hfft": lambda t: torch.fft.hfft(torch.complex(t.x, t.y), 6),
    "ihfft": lambda t: torch.fft.ihfft(t.x).imag * 2,
    "fftshift": lambda t: torch.fft.fftshift(t.x),
    "polar": lambda t: torch.polar(t.p, t.x).imag,
    "view_as_complex": lambda t: torch.view_as_complex(t.x.reshape(2, 3, 2, 2)).angle(),
    "conj": lambda t: torch.real(torch.complex(t.x, t.y).conj() * torch.complex(t.y, t.x) / torch.complex(t.p, t.x)),
    "of a number": lambda t: (t.x * (2 - 1j) + t.y).imag,
    "exp": lambda t: torch.exp(torch.complex(t.x, t.y)).real,
    "matmul": lambda t: (torch.complex(t.x, t.y) @ torch.complex(t.m, t.m)).abs(),
}

FAMILIES = {
    "elementwise": ELEMENTWISE,
    "movement": MOVEMENT,
    "reduction": REDUCTIONS,
    "indexing": INDEXING,
    "layers": LAYERS,
    "linear algebra": LINEAR_ALGEBRA,
    "sampling": SAMPLING,
    "special": SPECIAL,
    "complex numbers": COMPLEX,
}
