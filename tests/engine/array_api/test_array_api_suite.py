"""The Array API's own test suite, of which what does not pass is listed with the reason."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SUITE = Path(__file__).parents[2] / "array_api_suite"
LEFT_OUT = SUITE / "left_out.txt"
MISSING_DTYPES = "int8,int16,uint16,uint32,uint64,complex64,complex128"
OF_THOSE = "not imag and not vecdot_conj and not fft"


def check_suite(examples: int, runs: str = "interpreted") -> None:
    """Fails where a test fails that is not listed, one passes that is, or one is listed that does not exist.

    The suite has a process of its own, because it alters Hypothesis for all that follows.
    """
    environment = os.environ | {
        "ARRAY_API_TESTS_MODULE": "eager_gradloom",
        "ARRAY_API_TESTS_VERSION": "2024.12",
        "ARRAY_API_TESTS_SKIP_DTYPES": MISSING_DTYPES,
        "GRADLOOM_SUITE_RUNS": runs,
        "PYTHONPATH": os.pathsep.join([str(SUITE), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    alone = ["-c", os.devnull, "--rootdir", ".", "--confcutdir", ".", "-p", "no:cacheprovider", "-p", "quick_failures"]
    which = [f"--xfails-file={LEFT_OUT}", "-o", "xfail_strict=true", "-k", OF_THOSE]
    options = ["-q", "--tb=native", f"--max-examples={examples}", "--derandomize", "--disable-deadline"]
    command = [sys.executable, "-m", "pytest", *alone, *which, *options, "array_api_tests"]
    ran = subprocess.run(command, cwd=SUITE, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "don't match any collected tests" not in ran.stdout, ran.stdout


def reasons() -> dict[str, list[str]]:
    """The tests that are left out, by reason."""
    found: dict[str, list[str]] = {}
    for paragraph in LEFT_OUT.read_text().split("\n\n")[1:]:
        lines = paragraph.strip().splitlines()
        words = [line.removeprefix("#").strip() for line in lines if line.startswith("#")]
        found[" ".join(words)] = [line for line in lines if not line.startswith("#")]
    return found


def test_the_suite_passes_but_for_what_is_left_out():
    check_suite(3)


@pytest.mark.slow
def test_the_suite_passes_with_as_many_examples_as_it_asks_for():
    check_suite(100)


@pytest.mark.slow
def test_the_suite_passes_in_native_code():
    check_suite(3, "compiled")


def test_every_test_that_is_left_out_has_a_reason():
    assert all(reason and tests for reason, tests in reasons().items())
