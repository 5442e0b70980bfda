"""The Array API's own test suite, of which what does not pass is listed with the reason."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from array_api_left_out import LEFT_OUT, OF_REAL_NUMBERS, SUITE, left_out

PAGE = Path(__file__).parents[3] / "docs" / "guide" / "array_api.md"
MISSING_DTYPES = "int8,int16,uint16,uint32,uint64"
ALONE = ["-c", os.devnull, "--rootdir", ".", "--confcutdir", ".", "-p", "no:cacheprovider", "-p", "quick_failures"]
OPTIONS = ["-q", "--tb=native", "-o", "xfail_strict=true", "--derandomize", "--disable-deadline"]


def passed(examples: int, runs: str, missing: str, *which: str) -> int:
    """The number of tests that pass, in a process of its own: the suite alters Hypothesis for all that follows."""
    environment = os.environ | {
        "ARRAY_API_TESTS_MODULE": "eager_gradloom",
        "ARRAY_API_TESTS_VERSION": "2024.12",
        "ARRAY_API_TESTS_SKIP_DTYPES": missing,
        "GRADLOOM_SUITE_RUNS": runs,
        "PYTHONPATH": os.pathsep.join([str(SUITE), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    command = [sys.executable, "-m", "pytest", *ALONE, *OPTIONS, f"--max-examples={examples}", *which]
    ran = subprocess.run(command, cwd=SUITE, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "don't match any collected tests" not in ran.stdout, ran.stdout
    return int(re.findall(r"^(\d+) passed", ran.stdout, re.MULTILINE)[-1])


def check_suite(examples: int, runs: str = "interpreted") -> int:
    """The number of tests that pass. Fails where one fails that is not listed, passes that is, or does not exist."""
    lists = [f"--xfails-file={LEFT_OUT}", f"--skips-file={OF_REAL_NUMBERS}"]
    of_all = passed(examples, runs, MISSING_DTYPES, *lists, "array_api_tests")
    of_real = [line for line in OF_REAL_NUMBERS.read_text().splitlines() if not line.startswith("#")]
    return of_all + passed(examples, runs, f"{MISSING_DTYPES},complex64,complex128", *of_real)


def test_the_suite_passes_but_for_what_is_left_out():
    assert f"{check_suite(2)} of its tests" in " ".join(PAGE.read_text().split())


@pytest.mark.slow
def test_the_suite_passes_with_as_many_examples_as_it_asks_for():
    check_suite(100)


@pytest.mark.slow
def test_the_suite_passes_in_native_code():
    check_suite(3, "compiled")


def test_every_test_that_is_left_out_has_a_reason():
    assert all(reason and tests for reason, tests in left_out().items())
