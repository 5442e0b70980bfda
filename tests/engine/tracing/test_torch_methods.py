"""Torch's spellings on traced arrays: what is taken gives what torch gives, all else names what to write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradloom as gl
import numpy as np
import pytest

torch: Any = pytest.importorskip("torch")

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 3, 4)).astype("float32")
Y = RNG.standard_normal((2, 3, 4)).astype("float32")
M = RNG.standard_normal((3, 4)).astype("float32")
INDEX = RNG.integers(0, 2, (2, 2, 3))
POSITIVE = np.abs(X) + 0.5
UNIT = np.tanh(X)

# Each runs on torch's tensors and on traced arrays: x, y of (2, 3, 4), m of (3, 4), i of integers, p > 0, u in (-1, 1).
TAKEN: list[Callable[..., Any]] = [
    lambda x, y, m, i, p, u: x.view(6, 4),
    lambda x, y, m, i, p, u: x.view((2, -1)),
    lambda x, y, m, i, p, u: x.view(-1),
    lambda x, y, m, i, p, u: x.view_as(y) + x.reshape_as(y),
    lambda x, y, m, i, p, u: x.reshape(3, -1),
    lambda x, y, m, i, p, u: x.unsqueeze(1),
    lambda x, y, m, i, p, u: x.unsqueeze(-1),
    lambda x, y, m, i, p, u: x.unsqueeze(dim=0).squeeze(0),
    lambda x, y, m, i, p, u: x.squeeze(dim=1),
    lambda x, y, m, i, p, u: x[:, :1].squeeze(dim=1),
    lambda x, y, m, i, p, u: x[:1, :1].squeeze(dim=(0, 1)),
    lambda x, y, m, i, p, u: x.permute(2, 0, 1),
    lambda x, y, m, i, p, u: x.permute((0, 2, 1)),
    lambda x, y, m, i, p, u: x.transpose(1, 2),
    lambda x, y, m, i, p, u: x.transpose(-2, -1),
    lambda x, y, m, i, p, u: x.transpose(dim0=0, dim1=2),
    lambda x, y, m, i, p, u: m.transpose(dim0=0, dim1=1),
    lambda x, y, m, i, p, u: m.transpose(1, 0),
    lambda x, y, m, i, p, u: x.swapaxes(0, 1) + x.swapdims(0, 1),
    lambda x, y, m, i, p, u: x.movedim(0, -1),
    lambda x, y, m, i, p, u: m.t() + m.T,
    lambda x, y, m, i, p, u: x.flatten(),
    lambda x, y, m, i, p, u: x.flatten(1),
    lambda x, y, m, i, p, u: x.flatten(0, 1),
    lambda x, y, m, i, p, u: x.flatten(start_dim=1),
    lambda x, y, m, i, p, u: x.flatten(start_dim=-2, end_dim=-1),
    lambda x, y, m, i, p, u: x.contiguous().detach().clone().cpu() if hasattr(x, "detach") else x,
    lambda x, y, m, i, p, u: x * x.dim() + x.numel() + x.ndimension() + x.nelement(),
    lambda x, y, m, i, p, u: m.expand(2, -1, 4),
    lambda x, y, m, i, p, u: m[:1].expand(5, 4),
    lambda x, y, m, i, p, u: m.expand_as(x),
    lambda x, y, m, i, p, u: list(x.chunk(2, dim=1)),
    lambda x, y, m, i, p, u: list(x.chunk(3, -1)),
    lambda x, y, m, i, p, u: list(x.split(2, dim=2)),
    lambda x, y, m, i, p, u: list(x.split(2, 1)),
    lambda x, y, m, i, p, u: list(x.split([1, 2], dim=1)),
    lambda x, y, m, i, p, u: list(x.unbind(1)),
    lambda x, y, m, i, p, u: x.masked_fill(y > 0, -1e9),
    lambda x, y, m, i, p, u: x.masked_fill(y > 0, float("-inf")),
    lambda x, y, m, i, p, u: x.where(y > 0, y),
    lambda x, y, m, i, p, u: x.gather(2, i),
    lambda x, y, m, i, p, u: x.gather(1, i),
    lambda x, y, m, i, p, u: x.index_select(1, i[0, 0]),
    lambda x, y, m, i, p, u: [x.double(), x.float(), i.float(), x.long(), x.int(), (x > 0).int(), x.bool(), p.byte()],
    lambda x, y, m, i, p, u: x.type_as(x.double()),
    lambda x, y, m, i, p, u: [x.clamp(0, 1), x.clamp(min=0), x.clamp(max=0.5), x.clamp_min(0), x.clamp_max(0.5)],
    lambda x, y, m, i, p, u: [x.pow(2), x.add(y), x.sub(y), x.mul(2), x.div(2), x.neg(), x.abs(), x.square()],
    lambda x, y, m, i, p, u: [x.exp(), p.log(), p.sqrt(), p.rsqrt(), x.sin(), x.cos(), x.tanh(), x.sigmoid(), x.relu()],
    lambda x, y, m, i, p, u: [x.floor(), x.ceil(), x.round(), x.trunc(), x.sign(), x.erf(), x.reciprocal(), x.expm1()],
    lambda x, y, m, i, p, u: [u.asin(), u.acos(), x.atan(), x.sinh(), x.cosh(), p.log1p(), p.log2(), p.log10()],
    lambda x, y, m, i, p, u: [x.eq(y), x.ne(y), x.lt(y), x.le(y), x.gt(y), x.ge(y), x.isnan(), x.isfinite()],
    lambda x, y, m, i, p, u: [x.maximum(y), x.minimum(y), (x > 0).logical_and(y > 0), (x > 0).logical_not()],
    lambda x, y, m, i, p, u: [m.mm(m.t()), x.bmm(y.transpose(1, 2)), x.matmul(m.t()), m.mv(x[0, 0])],
    lambda x, y, m, i, p, u: [x.softmax(-1), x.softmax(dim=1), x.log_softmax(dim=0), x.logsumexp(1)],
    lambda x, y, m, i, p, u: [x.logsumexp(dim=(0, 1), keepdim=True)],
    lambda x, y, m, i, p, u: [x.sum(dim=1), x.sum(dim=(0, 2), keepdim=True), x.sum(1, keepdim=True), x.sum()],
    lambda x, y, m, i, p, u: [x.mean(dim=1), x.mean(dim=[0, 2], keepdim=True), x.mean(-1)],
    lambda x, y, m, i, p, u: [x.cumprod(dim=2), x.argsort(dim=1), x.argsort(1, True)],
    lambda x, y, m, i, p, u: [x.argsort(dim=0, descending=True), x.argsort(stable=True)],
    lambda x, y, m, i, p, u: [x.prod(dim=1), x.cumsum(dim=2), (x > 0).any(dim=1), (x > 0).all(dim=-1, keepdim=True)],
    lambda x, y, m, i, p, u: [x.argmax(dim=1), x.argmax(dim=-1, keepdim=True), x.argmin(dim=0), x.argmax()],
    lambda x, y, m, i, p, u: [x.amax(dim=1), x.amin(dim=(0, 1), keepdim=True), x.max(), x.min()],
    lambda x, y, m, i, p, u: [x.var(dim=1, unbiased=False), x.std(dim=(0, 1), unbiased=True)],
    lambda x, y, m, i, p, u: [x.var(dim=1, correction=0)],
    lambda x, y, m, i, p, u: [x.norm(), x.norm(p=1, dim=1), x.norm(dim=(1, 2)), x.norm(2, -1, True), x.norm(dim=1)],
    lambda x, y, m, i, p, u: [x.flip(0), x.flip(0, 2), x.flip([1]), x.flip(dims=(0,)), x.roll(1, 2)],
    lambda x, y, m, i, p, u: [m.tril(), m.triu(1)],
    lambda x, y, m, i, p, u: [x.scatter(2, y.argsort(dim=2), y), x.scatter(1, i, 2.0)],
    lambda x, y, m, i, p, u: [x.scatter_add(2, i, y), x.scatter_add(0, i, y)],
    lambda x, y, m, i, p, u: [x.index_add(1, i[0, 0, :2], y[:, :2]), x.index_copy(2, i[0, 0, :1], y[:, :, :1])],
    lambda x, y, m, i, p, u: [x.index_fill(1, i[0, 0], -1.0), x.index_add(0, i[0, 0, :1], y[:1], alpha=2)],
    lambda x, y, m, i, p, u: [x.select(1, 2), x.select(-1, 0), x.narrow(2, 1, 2), x.narrow(1, -2, 2)],
    lambda x, y, m, i, p, u: [*x.topk(2), *x.topk(1, dim=1), *x.topk(2, largest=False), x.topk(3).values],
    lambda x, y, m, i, p, u: [x.unflatten(2, (2, 2)), x.unflatten(0, (1, -1)), *x.split_with_sizes([1, 2], 1)],
    lambda x, y, m, i, p, u: [x.new_zeros(2, 3), x.new_ones((2,)), x.new_full((2, 2), 7), i.new_zeros(3)],
    lambda x, y, m, i, p, u: [m.addmm(m, m.t() @ m, beta=0.5, alpha=2), x.baddbmm(x, m.t() @ m + 0 * x[:, :1, :1])],
    lambda x, y, m, i, p, u: [x.addcmul(y, p, value=0.5), x.addcdiv(y, p), x.lerp(y, 0.3), m[:, 0].addmv(m, x[0, 0])],
    lambda x, y, m, i, p, u: [(m @ m.t() + 9).det(), (m[:, :3] @ m[:, :3].t() + p[0, 0, 0]).inverse()],
    lambda x, y, m, i, p, u: [x.repeat_interleave(2, dim=1), x.repeat_interleave(2), x[:, :2].take_along_dim(i, 2)],
    lambda x, y, m, i, p, u: [x.exp2(), (p + 1).arccosh(), x.arcsinh(), u.arctanh(), x.arctan2(y), x.fix()],
    lambda x, y, m, i, p, u: [x.fmax(y), x.fmin(y), x.floor_divide(p), x.hardshrink(0.3), m.broadcast_to((2, 3, 4))],
    lambda x, y, m, i, p, u: [x * x.element_size(), i.bitwise_not(), x.sinc(), x.nansum(dim=1), x.nanmean(dim=0)],
    lambda x, y, m, i, p, u: [p.lgamma(), p.digamma(), x.erfc(), u.erfinv(), x.i0(), p.igamma(p + 1), p.igammac(p)],
    lambda x, y, m, i, p, u: [x.xlogy(p), p.polygamma(2), (p + 3).mvlgamma(2), x.sigmoid().logit(), x.logit(0.1)],
    lambda x, y, m, i, p, u: [x.diff(dim=1), x.isclose(x), x.nan_to_num(), x.count_nonzero(dim=1), m.diagonal()],
]  # fmt: skip


def test_what_is_taken_is_torchs() -> None:
    operands = (X, Y, M, INDEX, POSITIVE, UNIT)
    expected = [f(*(torch.tensor(a) for a in operands)) for f in TAKEN]
    results = gl.compile(lambda *given: [f(*given) for f in TAKEN], threads=1)(*operands)
    for place, (e, r) in enumerate(zip(expected, results)):
        theirs, ours = (e, r) if isinstance(e, (list, tuple)) else ([e], [r])
        assert len(theirs) == len(ours)
        for k, (one, other) in enumerate(zip(theirs, ours)):
            where = f"{place}.{k}"
            assert tuple(one.shape) == other.shape, where
            assert str(one.dtype).removeprefix("torch.") == str(other.dtype), where
            np.testing.assert_allclose(other, one.numpy(), rtol=2e-5, atol=2e-6, err_msg=where)


def test_dtypes_and_devices_of_to() -> None:
    def convert(x: Any) -> Any:
        assert x.to("cpu") is x
        assert x.to(torch.device("cpu")) is x
        assert x.type(torch.float64).dtype == np.float64
        return x.to("float64"), x.to(torch.int32), x.to(np.ones(1)), x.to("cpu", torch.float64), x.to(dtype=np.int64)

    graph = gl.trace(convert, X)
    assert [str(v.type.dtype) for v in graph.outputs] == ["float64", "int32", "float64", "float64", "int64"]
    with pytest.raises(gl.TracingError, match=r"x\.to\('cuda'\).*target="):
        gl.trace(lambda x: x.to("cuda"), X)
    with pytest.raises(gl.TracingError, match=r"x\.to\('cuda:0'\).*target="):
        gl.trace(lambda x: x.to(device="cuda:0"), X)
    with pytest.raises(TypeError, match="float16 is not supported"):
        gl.trace(lambda x: x.to(torch.float16), X)


def test_detach_stops_the_gradient() -> None:
    gradient = gl.grad(lambda x: (x.detach() * x).sum())(X)
    np.testing.assert_array_equal(gradient, X)


REFUSED: list[tuple[Callable[..., Any], str]] = [
    (lambda x: x.size(), r"x\.size\(\).*no method.*write x\.shape"),
    (lambda x: x.size(0), r"x\.size\(0\).*write x\.shape, or x\.shape\[i\]"),
    (lambda x: x.exp().size(-1), r"size\(-1\).*x\.shape"),
    (lambda x: x.view("int32"), r"reinterprets bytes; write x\.astype"),
    (lambda x: x.repeat(2, 1, 1), r"np\.tile\(x, \(2, 1, 1\)\)"),
    (lambda x: x.max(dim=1), r"pair of values and indices; write x\.max\(axis=1\), x\.argmax\(axis=1\)"),
    (lambda x: x.min(dim=1, keepdim=True), r"x\.argmin\(axis=1\)"),
    (lambda x: x.var(dim=1), r"divides by n here.*x\.var\(axis=1, ddof=1\)"),
    (lambda x: x.std(dim=(0, 1)), r"x\.std\(axis=\(0, 1\), ddof=1\)"),
    (lambda x: x.backward(), r"write gl\.grad\(f\)\(x\)"),
    (lambda x: x.grad, r"gl\.compile_step"),
    (lambda x: x.requires_grad_(), r"gl\.grad"),
    (lambda x: x.numpy(), "use it as it is"),
    (lambda x: x.cuda(), "target="),
    (lambda x: x.half(), r"astype\('float32'\)"),
    (lambda x: x.data, "gl.stop_gradient"),
    (lambda x: x.flat, r"x\.ravel\(\)"),
    (lambda x: x.strides, r"x\.shape"),
    (lambda x: x.H, r"x\.mT"),
    (lambda x: x.add_(1), r"never changes: write x = x\.add\(\.\.\.\)"),
    (lambda x: x.clamp_(0), r"x = x\.clamp"),
    (lambda x: x.zero_(), r"never changes"),
    (lambda x: x.masked_select(x > 0), r"np\.where\(mask, x, 0\)"),
    (lambda x: x.svd(), r"write np\.linalg\.svd\(x, full_matrices=False\)"),
    (lambda x: x.is_cuda, "target="),
    (lambda x: x.normal_(), r"never changes|gl\.random"),
    (lambda x: x.bernoulli(), r"gl\.random"),
    (lambda x: x.scatter_reduce(0, x, x, "sum"), r"x\.at\[index\]\.max"),
    (lambda x: x.new_zeros(3, requires_grad=True), r"gl\.grad"),
    (lambda x: x.sort(), r"np\.sort|numpy\.sort"),
    (lambda x: x.scatter(0, np.zeros((1,), int), x), "does not fit"),
    (lambda x: x.split([1, 1], dim=1), "do not add up to the length 3"),
    (lambda x: x.split(0), "1 or more"),
    (lambda x: x.chunk(0), "1 or more"),
    (lambda x: x.gather(0, np.zeros((1,), int)), "does not fit"),
    (lambda x: x.sum(axis=0, dim=0), "say the same"),
    (lambda x: x.flatten(2, 1), "comes after"),
    (lambda x: x.unsqueeze(7), "out of bounds"),
    (lambda x: x.exp(foo=1), "'foo' is not traced"),
    (lambda x: x.shape(0), r"x\.shape"),
    (lambda x: x.T(), r"x\.T"),
    (lambda x: x.no_such_thing, "has no attribute 'no_such_thing'"),
]


@pytest.mark.parametrize(("function", "message"), REFUSED, ids=[str(i) for i in range(len(REFUSED))])
def test_what_is_refused_names_what_to_write(function: Callable[..., Any], message: str) -> None:
    with pytest.raises((TypeError, AttributeError, ValueError), match=message) as caught:
        gl.trace(function, X)
    assert ", at " in str(caught.value)
    assert "test_torch_methods.py" in str(caught.value)


def test_numpys_meaning_stays_where_a_name_is_numpys_too() -> None:
    def both(x: Any, m: Any) -> Any:
        return [
            m.transpose(0, 1),
            m.transpose(),
            x.transpose(2, 0, 1),
            m.transpose([1, 0]),
            m.repeat(2),
            m.repeat(2, 1),
            x.var(1),
            x.std(),
            x.max(1),
            x.flatten("C"),
            x.squeeze(),
            x[:1].squeeze(0),
        ]

    for expected, result in zip(both(X, M), gl.interpret(gl.trace(both, X, M), X, M)):
        assert expected.shape == result.shape
        np.testing.assert_allclose(result, expected, rtol=1e-5)
