"""What holds for all tests: Hypothesis repeats the same examples, and the clock fails none."""

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "gradloom", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("gradloom")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-cases", action="store_true", help="write what passes now give into the expected text of their cases"
    )
