"""`np.fft`: NumPy's numbers for every function, norm, length and axis; derivatives, loops, budgets; what is refused."""

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn
from gradloom.engine.tracing.tracer import TracingError

rng = np.random.default_rng(0)
X = rng.normal(size=(3, 6, 5))
Z = X + 1j * rng.normal(size=X.shape)
F = np.fft


def every_function(x, z):
    found = []
    for norm in (None, "backward", "ortho", "forward"):
        for a in (x, z):
            found += [F.fft(a, norm=norm), F.ifft(a, 4, 1, norm), F.fft(a, 9, axis=0, norm=norm), F.irfft(a, norm=norm)]
            found += [F.irfft(a, 7, 1, norm), F.hfft(a, norm=norm), F.hfft(a, 5, 0, norm), F.fftn(a, norm=norm)]
            found += [F.ifftn(a, (4, -1), (0, 1), norm), F.fft2(a, norm=norm), F.ifft2(a, (2, 7), norm=norm)]
            found += [F.irfftn(a, norm=norm), F.irfft2(a, (4, 6), (0, 2), norm)]
        found += [F.rfft(x, norm=norm), F.rfft(x, 4, 0, norm), F.ihfft(x, norm=norm), F.rfftn(x, norm=norm)]
        found += [F.rfft2(x, (3, 8), norm=norm), F.rfftn(x, axes=(2, 0), norm=norm)]
    found += [F.fftshift(z), F.ifftshift(x, 1), F.fftshift(x, (0, 2)), F.fft(x > 0), F.rfft((9 * x).astype("int64"))]
    return [*found, F.fftfreq(7, 0.5) + x[0, 0, 0], F.rfftfreq(8) * x[0, 0, 0], F.fft(a=z, n=3)]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_every_function_gives_numpys_numbers(dtype):
    x, z = X.astype(dtype), Z.astype("complex64" if dtype == "float32" else "complex128")
    for i, (found, expected) in enumerate(zip(gl.compile(every_function)(x, z), every_function(x, z), strict=True)):
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape), i
        scale = max(1, np.abs(expected).max())
        np.testing.assert_allclose(found, expected, rtol=0, atol=(1e-14 if dtype == "float64" else 1e-6) * scale)


LENGTHS = (1, 2, 61, 67, 360, 1009)


def test_lengths_of_every_kind_are_as_precise_as_numpys():
    def transforms(lines):
        return [(F.fft(z, axis=0), F.rfft(z.real, axis=0), F.irfft(z, len(z), 0)) for z in lines]

    for dtype, bound in (("complex128", 1e-15), ("complex64", 4e-7)):
        lines = [(rng.normal(size=(n, 3)) + 1j * rng.normal(size=(n, 3))).astype(dtype) for n in LENGTHS]
        exact = transforms([z.astype("complex128") for z in lines])
        for n, found, expected in zip(LENGTHS, gl.compile(transforms)(lines), exact, strict=True):
            for one, other in zip(found, expected, strict=True):
                assert np.abs(one - other).max() <= bound * np.log2(2 * n) * np.abs(other).max(), (n, dtype)


def test_bits_depend_neither_on_threads_nor_on_other_lines():
    x = rng.normal(size=(37, 120)).astype("float32")
    x[3] = np.nan
    one, two = (gl.compile(lambda x: (F.rfft(x), F.fft(x, 67, axis=1)), threads=threads)(x) for threads in (1, 2))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.isnan(a[3]).all()
        assert np.isfinite(np.delete(a, 3, 0)).all()


SMOOTH = {
    "fft": (lambda x, z: F.fft(z * x), 2),
    "convolution": (lambda x, z: F.irfft(F.rfft(x) * z[..., :3], 5), 2),
    "real, padded": (lambda x, z: F.rfft(x, 7), 1),
    "to real": (lambda x, z: (F.irfft(z, 6, 1), F.irfft(z, 7, 1), F.hfft(z)), 1),
    "sizes": (lambda x, z: abs(F.fft2(x * z, norm="ortho")), 1),
    "many axes": (lambda x, z: F.irfftn(F.rfftn(x) * z[..., :3]), 1),
    "half": (lambda x, z: F.ihfft(x, 16, norm="ortho"), 1),
    "shifted": (lambda x, z: F.ifftshift(F.fftshift(z) * x), 1),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_derivatives_are_those_of_differences(name):
    function, order = SMOOTH[name]
    gl.check_grads(function, (X[:2, :3], Z[:2, :3]), order)


@pytest.mark.peers
def test_gradients_are_torchs():
    torch = pytest.importorskip("torch")

    def loss(x, z, fft, size):
        low = fft.rfft(x, norm="ortho")[..., :3] * z[..., :3]
        return size(fft.irfft(low, 5)).sum() + size(fft.fft2(z, norm="forward") * fft.ifft(z)).sum()

    found = gl.compile(gl.grad(lambda x, z: loss(x, z, F, abs), (0, 1)))(X, Z)
    x, z = (torch.tensor(a, requires_grad=True) for a in (X, Z))
    loss(x, z, torch.fft, torch.abs).backward()
    for gradient, tensor in zip(found, (x, z), strict=True):
        np.testing.assert_allclose(gradient, tensor.grad.numpy(), rtol=1e-9, atol=1e-12)


def test_a_convolution_by_transforms_is_the_direct_one():
    a, k = rng.normal(size=50), rng.normal(size=9)
    found = gl.compile(lambda a, k: F.irfft(F.rfft(a, 58) * F.rfft(k, 58), 58))(a, k)
    np.testing.assert_allclose(found, np.convolve(a, k), atol=1e-12)


def test_transforms_inside_of_loops_branches_and_vmap():
    def step(carry, z):
        carry = F.ifft(F.fft(carry) * z)
        return carry, abs(carry)

    def f(z):
        last, sizes = gl.scan(step, z[0], z)
        other = gl.cond(abs(last).sum() > 0, lambda: F.fft(last), lambda: last)
        return last, sizes, other, gl.vmap(lambda w: (F.fft(w), F.irfft(w, 8, axis=0), F.rfft(w.real)))(z)

    carry, sizes = Z[0], []
    for z in Z:
        carry = F.ifft(F.fft(carry) * z)
        sizes.append(abs(carry))
    last, stacked, other, mapped = gl.compile(f)(Z)
    np.testing.assert_allclose(last, carry)
    np.testing.assert_allclose(stacked, sizes)
    np.testing.assert_allclose(other, F.fft(carry))
    for found, expected in zip(mapped, (F.fft(Z), F.irfft(Z, 8, axis=1), F.rfft(X)), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-12)
    gl.check_grads(lambda z: f(z)[:2], (Z[:2, :2, :3],), 1)


class Spectral(nn.Module):
    """A layer of a Fourier neural operator, whose weights are real and imaginary parts."""

    def __init__(self):
        self.weight = nn.Parameter((4, 4, 3, 2), "float32", nn.init.normal(std=0.3))
        self.skip = nn.Conv1d(4, 4, 1)

    def forward(self, x):
        w = self.weight[..., 0] + 1j * self.weight[..., 1]
        low = np.einsum("bim,iom->bom", F.rfft(x)[..., :3], w)
        return nn.gelu(F.irfft(low, x.shape[-1]) + self.skip(x))


def operator():
    return nn.Sequential(nn.Conv1d(2, 4, 1), Spectral(), Spectral(), nn.Conv1d(4, 1, 1))


def loss_fn(model, batch):
    return np.mean((model(batch["x"]) - batch["y"]) ** 2)


def test_steps_of_an_operator_have_the_same_bits_under_a_budget():
    data = {"x": rng.normal(size=(8, 2, 16)).astype("float32"), "y": rng.normal(size=(8, 1, 16)).astype("float32")}
    steps = [gl.compile_step(operator(), loss_fn, gl.optim.Adam(1e-2), data, memory=memory) for memory in (None, "88%")]
    losses = [[float(step(data)) for _ in range(5)] for step in steps]
    assert losses[0][-1] < losses[0][0]
    assert losses[0] == losses[1]
    steps[0].report.check()


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda x: F.fft(x, norm="both"), ValueError, 'Invalid norm value both; should be "backward"'),
        (lambda x: F.hfft(x, norm=2), ValueError, "Invalid norm value 2"),
        (lambda x: F.fft(x, 0), ValueError, r"Invalid number of FFT data points \(0\)"),
        (lambda x: F.irfft(x[..., :1]), ValueError, r"Invalid number of FFT data points \(0\)"),
        (lambda x: F.fft(x, axis=3), np.exceptions.AxisError, "axis 3 is out of bounds"),
        (lambda x: F.fft(x[0, 0, 0]), np.exceptions.AxisError, "axis -1 is out of bounds"),
        (lambda x: F.fftn(x, (2, 2), (0,)), ValueError, "Shape and axes have different lengths"),
        (lambda x: F.fft(x, 2.5), TypeError, "n must be an integer"),
        (lambda x: F.rfft(x * 1j), TypeError, r"np\.fft\.rfft takes real numbers.*x\.real"),
        (lambda x: F.rfftn(x, axes=()), IndexError, "one axis at least"),
        (lambda x: gl.numpy.fft.fftfreq(0) + x, ValueError, "1 or more"),
        (lambda x: F.fft(x, out=X), TracingError, "out"),
    ],
)  # fmt: skip
def test_errors_say_what_is_wrong(function, error, message):
    with pytest.raises(error, match=message):
        gl.trace(function, X)
