"""`gl.debug.print`: lines that a compiled program prints, in order."""

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn, optim


def lines(capsys):
    return capsys.readouterr().out.splitlines()


def printing(x):
    gl.debug.print("{} rows, sum {s:.1f}", x.shape[0], s=x.sum())
    y = x * 2
    gl.debug.print("{pair} {{}}", pair={"a": y[0], "b": [1]})
    return y.sum()


def test_lines_come_in_order_from_compiled_traced_and_plain_code(capsys):
    x = np.array([1.0, 2.0])
    expected = ["2 rows, sum 3.0", "{'a': np.float64(2.0), 'b': [1]} {}"]
    compiled = gl.compile(printing)
    for call in (printing, compiled, compiled, gl.grad(printing), gl.compile(gl.grad(printing))):
        call(x)
        assert lines(capsys) == expected
    value, pull = gl.vjp(printing, x)
    assert value == 6.0
    pull(np.array(1.0))
    assert lines(capsys) == expected


@pytest.mark.parametrize("unroll", [1, 2])
@pytest.mark.parametrize("reverse", [False, True])
def test_a_loop_prints_step_by_step_inner_loops_too(capsys, reverse, unroll):
    def whole(x):
        def outer(carry, row):
            gl.debug.print("row from {}", carry)

            def inner(total, element):
                gl.debug.print("  {total} + {element}", total=total, element=element)
                return total + element, None

            carry, _ = gl.scan(inner, carry, row)
            return carry, carry

        result, _ = gl.scan(outer, 0.0, x, reverse=reverse, unroll=unroll)
        gl.debug.print("{}", result)
        return result

    x = np.arange(8.0).reshape(4, 2)
    total, expected = 0.0, []
    for row in x[::-1] if reverse else x:
        expected.append(f"row from {total}")
        for element in row:
            expected.append(f"  {total} + {element}")
            total += element
    gl.compile(whole)(x)
    assert lines(capsys) == [*expected, f"{total}"]
    gl.compile(gl.grad(lambda x: whole(x)))(x)
    assert lines(capsys) == [*expected, f"{total}"]


def model_and_batch(rows):
    model = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))
    x = np.random.default_rng(0).standard_normal((rows, 64)).astype("float32")
    return model, {"x": x}


def loss_fn(model, batch):
    y = gl.checkpoint(lambda x: shown(model(x)))(batch["x"])
    loss = np.mean(y**2)
    gl.debug.print("loss {:.4f}", loss)
    return loss


def shown(y):
    gl.debug.print("outputs {} {y}", y.shape, y=y.sum())
    return y


def test_a_step_prints_whole_values_once_although_it_runs_in_tiles_and_recomputes(capsys):
    model, batch = model_and_batch(4096)
    step = gl.compile_step(model, loss_fn, optim.Adam(1e-3), batch, threads=1, check_finite=True, diagnose=True)
    assert step.report.loops, "else it proves nothing"
    plain = gl.compile_step(model, lambda m, b: np.mean(m(b["x"]) ** 2), optim.Adam(1e-3), batch, threads=1)
    for _ in range(2):
        expected = nn.functional_call(model, step.parameters(), batch["x"])
        loss = step(batch)
        first, second = lines(capsys)
        assert first.startswith("outputs (4096, 1) ")
        np.testing.assert_allclose(float(first.split()[-1]), expected.sum(), rtol=1e-3)
        assert second == f"loss {loss:.4f}"
        np.testing.assert_allclose(plain(batch), loss, rtol=1e-6)
    assert step.diagnosis.findings == ()


def test_a_bound_function_prints_and_returns_what_it_did(capsys):
    model, batch = model_and_batch(3)
    step = gl.compile_step(model, loss_fn, optim.SGD(0.1), batch)
    predict = step.bind(lambda model, x: {"y": shown(model(x))})
    y = predict(batch["x"])["y"]
    assert lines(capsys)[0].startswith("outputs (3, 1) ")
    step.gradients(batch)
    assert [line.split()[0] for line in lines(capsys)] == ["outputs", "loss"]
    np.testing.assert_array_equal(y, step.bind(lambda model, x: model(x))(batch["x"]))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: gl.debug.print("{y}", x=x), ValueError, "asks for 'y', which is not given"),
        (lambda x: gl.debug.print("{} {}", x), ValueError, "which is not given"),
        (lambda x: gl.debug.print("{}", x, y=x), ValueError, "nothing prints the argument y"),
        (lambda x: gl.debug.print("{:.2f}", x), ValueError, r"'.2f' is for scalars, and the array has shape \(2,\)"),
        (lambda x: gl.debug.print("{:d}", x[0]), ValueError, "Unknown format code 'd'"),
        (lambda x: gl.debug.print(x), TypeError, "takes a format first"),
    ],
)
def test_a_format_that_does_not_fit_is_an_error_while_tracing(call, error, message):
    with pytest.raises(error, match=message + r".*test_debug\.py"):
        gl.trace(call, gl.spec((2,)))


def test_a_loop_of_unknown_length_and_a_branch_say_that_they_cannot_print():
    def looping(x):
        def body(x):
            gl.debug.print("{}", x)
            return x / 2

        return gl.while_loop(lambda x: x > 1, body, x)

    def branching(x):
        def printing(x):
            gl.debug.print("{}", x)
            return x

        return gl.cond(x > 1, printing, lambda x: x, x)

    for fn in (looping, branching):
        with pytest.raises(NotImplementedError, match="print what it returns"):
            gl.trace(fn, gl.spec(()))


def test_vmap_prints_for_each_example_and_once_what_is_the_same_for_all(capsys):
    def of_one(x, shift):
        gl.debug.print("{} + {}", x, shift)
        gl.debug.print("shift {}", shift)
        return (x + shift) ** 2

    mapped = gl.vmap(of_one, in_axes=(0, None))
    for call in (mapped, gl.compile(mapped)):
        call(np.array([1.0, 2.0]), np.array(3.0))
        assert lines(capsys) == ["1.0 + 3.0", "2.0 + 3.0", "shift 3.0"]
