"""How many examples property tests try: few in `make test`, many in `make fuzz`."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

USUAL = 100  # Hypothesis' own number, and what the numbers in tests are for


def register_profiles() -> None:
    """No time limits, as machines differ; random unless Hypothesis finds itself in CI; ``thorough`` is for ``make fuzz``."""
    settings.register_profile("usual", settings(), deadline=None)
    settings.register_profile(
        "thorough",
        max_examples=30 * USUAL,
        deadline=None,
        derandomize=False,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow],
    )
    settings.load_profile("usual")


def examples(usual: int) -> int:
    """``usual``, or as many times that as the profile says."""
    return usual * settings().max_examples // USUAL
