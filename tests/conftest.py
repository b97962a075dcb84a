from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# A shared machine is slow at times: that is no fault of the code under test.
settings.register_profile(
    "here",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    max_examples=40,
)
settings.register_profile("more", settings.get_profile("here"), max_examples=150)
settings.register_profile("thorough", settings.get_profile("here"), max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "here"))
