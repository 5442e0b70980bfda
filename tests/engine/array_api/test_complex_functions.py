"""Functions of complex numbers against NumPy's, on the axes, on both sides of branch cuts, and near what cancels.

Infinities and NaNs are tested by the Array API's suite: see `test_array_api_suite.py`.
"""

import gradloom as gl
import gradloom.numpy as gnp
import mpmath
import numpy as np
import pytest

DERIVATIVES = {
    "exp": np.exp,
    "exp2": lambda z: np.log(2) * np.exp2(z),
    "expm1": np.exp,
    "log": lambda z: 1 / z,
    "log2": lambda z: 1 / z / np.log(2),
    "log10": lambda z: 1 / z / np.log(10),
    "log1p": lambda z: 1 / (1 + z),
    "sqrt": lambda z: 0.5 / np.sqrt(z),
    "sin": np.cos,
    "cos": lambda z: -np.sin(z),
    "tan": lambda z: 1 / np.cos(z) ** 2,
    "sinh": np.cosh,
    "cosh": np.sinh,
    "tanh": lambda z: 1 / np.cosh(z) ** 2,
    "arcsin": lambda z: 1 / (np.sqrt(1 - z) * np.sqrt(1 + z)),
    "arccos": lambda z: -1 / (np.sqrt(1 - z) * np.sqrt(1 + z)),
    "arctan": lambda z: 1 / (1 + z * z),
    "arcsinh": lambda z: 1 / (np.sqrt(1 + 1j * z) * np.sqrt(1 - 1j * z)),
    "arccosh": lambda z: 1 / (np.sqrt(z - 1) * np.sqrt(z + 1)),
    "arctanh": lambda z: 1 / (1 - z * z),
}


def grid(values, dtype):
    re, im = np.meshgrid(np.array(values), np.array(values))
    z = np.empty(re.size, dtype)
    z.real, z.imag = re.ravel(), im.ravel()  # a sum would lose the sign of zeros
    return z


def all_of_them(z):
    return {name: getattr(np, name)(z) for name in DERIVATIVES}


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_values_are_numpys_to_a_few_units(dtype):
    limits = np.finfo(dtype)
    z = grid([0, -0.0, 1e-8, 1e-3, -1e-3, 0.3, -0.7, 0.999, 1, -1, 1.001, 2, -3, 20, 4 * limits.tiny], dtype)
    with np.errstate(all="ignore"):
        expected = {name: y.astype(dtype) for name, y in all_of_them(z.astype("complex128")).items()}
    with mpmath.workdps(400):  # NumPy's own loses digits
        expected["log1p"].real = [float(mpmath.log(abs(1 + mpmath.mpc(complex(x))))) if x != -1 else -np.inf for x in z]
    interpreted = dict(zip(sorted(expected), gl.interpret(gl.trace(all_of_them, z), z)))
    at_once = {name: getattr(gnp, name)(z) for name in expected}
    for way, found in (("interpreted", interpreted), ("compiled", gl.compile(all_of_them)(z)), ("at once", at_once)):
        for name, y in found.items():
            wanted = expected[name]
            assert y.dtype == dtype, (way, name)
            with np.errstate(all="ignore"):
                wrong = np.abs(y - wanted) > 8 * limits.eps * np.maximum(np.abs(wanted), limits.tiny)
                wrong &= np.isfinite(wanted)
            assert not wrong.any(), (way, name, z[wrong][:3], y[wrong][:3], wanted[wrong][:3])
            assert (np.isfinite(y) | ~np.isfinite(wanted)).all(), (way, name)


def test_values_take_the_side_of_a_branch_cut_from_the_sign_of_zero():
    z = grid([0, -0.0, 0.5, -0.5, 2, -2], "complex128")
    found = gl.interpret(gl.trace(all_of_them, z), z)
    with np.errstate(all="ignore"):
        expected = all_of_them(z)
    for name, y in zip(sorted(expected), found):
        for part in ("real", "imag"):
            one, other = getattr(y, part), getattr(expected[name], part)
            wrong = (np.sign(one) != np.sign(other)) & (np.abs(one) > 1e-9)
            assert not wrong.any(), (name, part, z[wrong][:3], one[wrong][:3], other[wrong][:3])


def test_derivatives_hold_on_the_axes_and_on_branch_cuts():
    z = grid([0, -0.0, 0.3, -0.6, 1.7, -2.5, 0.5], "complex128")
    z = z[z != 0]
    near = z.copy()  # on the side of a cut that the sign of a zero says
    near.real = np.where(z.real == 0, np.copysign(1e-13, z.real), z.real)
    near.imag = np.where(z.imag == 0, np.copysign(1e-13, z.imag), z.imag)

    def gradients(z, of):
        return {name: gl.grad(lambda z, name=name: of(getattr(np, name)(z)).sum())(z) for name in DERIVATIVES}

    real = gl.compile(lambda z: gradients(z, np.real))(z)
    imag = gl.interpret(gl.trace(lambda z: gradients(z, np.imag), z), z)
    for name, of_imag in zip(sorted(DERIVATIVES), imag):
        wanted = DERIVATIVES[name](near)
        np.testing.assert_allclose(np.conj(real[name]), wanted, rtol=1e-7, atol=1e-9, err_msg=name)
        np.testing.assert_allclose(1j * np.conj(of_imag), wanted, rtol=1e-7, atol=1e-9, err_msg=name)


def test_a_sign_is_zero_at_zero():
    z = np.array([0, complex(-0.0, -0.0), 3j, -2])
    np.testing.assert_array_equal(gl.compile(np.sign)(z), [0, 0, 1j, -1])


def test_functions_of_real_numbers_alone_refuse_complex_ones():
    for function in (gnp.erf, gnp.expit, gnp.cbrt):
        with pytest.raises(TypeError, match="complex"):
            gl.trace(function, np.ones(2, "complex128"))
