"""A pytest plugin: an example that fails is told as it was found, because making it smaller can take minutes."""

import pytest
from hypothesis import HealthCheck, Phase, settings


@pytest.hookimpl(trylast=True)
def pytest_configure() -> None:
    settings.register_profile(
        "gradloom",
        settings.get_profile("array-api-tests"),
        phases=[Phase.explicit, Phase.generate],
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    settings.load_profile("gradloom")
