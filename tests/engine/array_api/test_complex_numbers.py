"""Complex numbers: NumPy's functions of them, their derivatives, and what is refused."""

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn
from gradloom.engine.tracing.tracer import TracingError

rng = np.random.default_rng(0)


def numbers(*shape, dtype="complex128"):
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(dtype)


Z, W, X = numbers(3, 4), numbers(3, 4), rng.normal(size=(3, 4))

ARITHMETIC = {
    "product": lambda z, w, x: z * w + 2j * x,
    "quotient": lambda z, w, x: (z / w, 1 / z, x / z, np.reciprocal(z)),
    "sizes": lambda z, w, x: (np.abs(z), abs(w), np.angle(z), np.angle(z, deg=True), np.angle(x), np.sign(z)),
    "parts": lambda z, w, x: (z.real, w.imag, np.real(z), np.imag(w), np.conj(z), z.conj(), z.conjugate(), x.imag),
    "exponentials": lambda z, w, x: (np.exp(z), np.log(z), np.log2(z), np.log10(z), np.sqrt(z), np.sqrt(-x * x + 0j)),
    "trigonometry": lambda z, w, x: (np.sin(z), np.cos(z), np.tan(z), np.sinh(z), np.cosh(z), np.tanh(z)),
    "large": lambda z, w, x: (np.tanh(40 * z), abs(z * 1e30)),
    "powers": lambda z, w, x: (z**2, z**3, z**-2, z**2.5, z**w, 2.0**z, z**0, x**1j, z ** (1 + 1j), z**13),
    "sums": lambda z, w, x: (z.sum(), z.mean(0), z.prod(1), np.var(z, 0), np.std(z), np.cumsum(z, 1), np.all(z)),
    "matrices": lambda z, w, x: (z @ w.T, x @ z.T, np.einsum("ij,ij->i", z, w), np.vdot(z, w), np.vecdot(z, w)),
    "norms": lambda z, w, x: (np.linalg.norm(z), np.linalg.norm(z, axis=1), np.linalg.norm(z, 1, 0), np.outer(z, w)),
    "comparisons": lambda z, w, x: (z == w, z != z, np.isfinite(z), np.isnan(z), np.isclose(z, w), np.allclose(z, z)),
    "choices": lambda z, w, x: (np.where(x > 0, z, 1), np.where(z == w, z, w), np.take(z, [0, 2], axis=1), z[1:, ::2]),
    "movement": lambda z, w, x: (np.stack([z, w]), np.concatenate([z, x]), np.pad(z, 1), z.T, np.flip(z)),
    "dtypes": lambda z, w, x: (z.astype("complex64"), x.astype("complex64"), z.astype(bool), np.zeros_like(z), z + 1),
    "rounding": lambda z, w, x: (np.round(z, 1), np.nan_to_num(z), np.iscomplex(z), np.isreal(z), np.square(z), -z, +z),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["complex128", "complex64"])
def test_functions_of_complex_numbers_are_numpys(dtype):
    z, w = Z.astype(dtype), W.astype(dtype)
    x = X.astype(z.real.dtype)
    tolerance = {"rtol": 1e-12, "atol": 1e-13} if dtype == "complex128" else {"rtol": 2e-5, "atol": 2e-6}

    def all_of_them(z, w, x):
        return {name: f(z, w, x) for name, f in ARITHMETIC.items()}

    found, expected = gl.compile(all_of_them)(z, w, x), all_of_them(z, w, x)
    for name in ARITHMETIC:
        for i, (one, other) in enumerate(zip(gl.tree.leaves(found[name]), gl.tree.leaves(expected[name]), strict=True)):
            np.testing.assert_allclose(one, other, **tolerance, err_msg=f"{name} {i}")
            assert one.dtype == np.asarray(other).dtype, (name, i)


SMOOTH = {
    "product": lambda z, w: z * w,
    "quotient": lambda z, w: z / w,
    "size": lambda z, w: abs(z * w),
    "exp": lambda z, w: np.exp(z) * w,
    "log": lambda z, w: np.log(z) + w,
    "sqrt": lambda z, w: np.sqrt(z) * w,
    "tanh": lambda z, w: np.tanh(z) + np.sin(w),
    "matrices": lambda z, w: z @ w.T,
    "powers": lambda z, w: z**3 / w**2 + z**w,
    "products": lambda z, w: z.prod(0) * w.sum(1)[:1],
    "parts": lambda z, w: np.conj(z) * w * z.real + w.imag * np.angle(z),
    "choice": lambda z, w: np.where(z.real > 0, z, w * w),
    "look-up": lambda z, w: np.take(np.cumsum(z, 1), [0, 2, 2], axis=1) * np.vdot(z, w),
    "loop": lambda z, w: gl.scan(lambda c, x: (c * x + 1, c * c), w[0], z),
    "branch": lambda z, w: gl.cond(z.real.sum() > 0, lambda: z * w, lambda: z + w),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_derivatives_of_complex_numbers_are_those_of_differences(name):
    gl.check_grads(SMOOTH[name], (Z[:, :3], W[:, :3]), 2 if name in ("product", "size", "parts", "loop") else 1)


def loss(z, w, x):
    return abs(z * w / (z + 2)).sum() + (z * x * w).real.sum() + np.var(z)


def test_a_gradient_descends():
    z = Z
    for _ in range(60):
        z = z - 0.05 * gl.grad(lambda z: abs(z * W - X).sum() + np.linalg.norm(z - 1j))(z)
    assert loss_of(z) < 0.6 * loss_of(Z)


def loss_of(z):
    return abs(z * W - X).sum() + np.linalg.norm(z - 1j)


@pytest.mark.peers
def test_gradients_are_torchs():
    torch = pytest.importorskip("torch")
    found = gl.compile(gl.grad(loss, (0, 1, 2)))(Z, W, X)
    z, w, x = (torch.tensor(a, requires_grad=True) for a in (Z, W, X))
    (abs(z * w / (z + 2)).sum() + (z * x * w).real.sum() + torch.var(z, correction=0)).backward()
    for gradient, tensor in zip(found, (z, w, x), strict=True):
        np.testing.assert_allclose(gradient, tensor.grad.numpy(), rtol=1e-10)
    # A pullback is torch's too, and so is what a user's own backward is given.
    _, pull = gl.vjp(lambda z: z * W, Z)
    np.testing.assert_allclose(pull(X + 1j)[0], torch.autograd.functional.vjp(
        lambda t: t * torch.tensor(W), torch.tensor(Z), torch.tensor(X + 1j))[1].numpy())  # fmt: skip


def test_a_users_own_backward_has_the_convention_of_grad():
    @gl.custom_vjp
    def product(z, w):
        return z * w

    product.defvjp(lambda z, w: (z * w, (z, w)), lambda kept, g: (g * np.conj(kept[1]), g * np.conj(kept[0])))
    both = [gl.grad(lambda z, w, f=f: abs(f(z, w) + 1j).sum(), (0, 1))(Z, W) for f in (product, np.multiply)]
    np.testing.assert_allclose(both[0], both[1])


def test_vmap_of_complex_numbers():
    def f(a, b):
        return a @ b, np.exp(a) * b, np.angle(a), abs(a).sum(), np.stack([a, b]).T

    found = gl.compile(gl.vmap(f))(Z, W)
    for one, *others in zip(found, *(f(z, w) for z, w in zip(Z, W))):
        np.testing.assert_allclose(one, np.stack(others))


def test_complex_arguments_numbers_and_constants():
    f = gl.compile(lambda z, c: (z * c + W, z - 1j, z * np.complex64(2j)))
    for found, expected in zip(f(Z, np.complex128(1 + 2j)), (Z * (1 + 2j) + W, Z - 1j, Z * 2j), strict=True):
        np.testing.assert_allclose(found, expected)
    graph = gl.trace(lambda z: z * 2j, gl.spec((3,), "complex64"))
    assert graph.outputs[0].type.dtype == "complex64"
    assert str(gl.parse(str(graph))) == str(graph)


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (
            lambda z: gl.grad(lambda z: (z * z).sum())(z),
            TracingError,
            "needs a float scalar.*complex128; write loss.real",
        ),
        (lambda z: gl.jacobian(lambda z: z * z)(z), TracingError, "jacobian takes derivatives by real numbers"),
        (lambda z: z.astype("float64"), TypeError, r"would lose the imaginary parts; write x\.real"),
        (lambda z: np.real_if_close(z), TracingError, r"depends on values; write z\.real"),
        (lambda z: z.max(), TypeError, "does not take complex numbers"),
        (lambda z: nn.Parameter(Z), TypeError, r"got complex128; make two parameters, .* compute with re \+ 1j \* im"),
        (lambda z: gl.optim.Adam().init({"z": Z}), TypeError, "z is complex128.*imaginary parts as two arrays"),
        (lambda z: np.linalg.cholesky(z[:, :3]), TypeError, "does not take complex numbers"),
    ],
)
def test_what_is_no_function_of_complex_numbers_is_refused(function, error, message):
    with pytest.raises(error, match=message):
        gl.trace(function, Z)


def test_a_part_of_a_traced_array_is_not_written_to():
    def f(z):
        part = z.real
        part += 1
        return z

    with pytest.raises(TracingError, match="it is the real part of a complex array"):
        gl.trace(f, Z)
