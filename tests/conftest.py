"""What holds for all tests: Hypothesis repeats the same examples, and the clock fails none."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "gradloom", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("gradloom")
