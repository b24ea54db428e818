"""Hypothesis for the pure core: the same examples on every run, and a blob for each failure.

`HYPOTHESIS_PROFILE=search` looks for new examples instead, many more of them.
"""

import os

from hypothesis import HealthCheck, settings

COMMON = {
    "deadline": None,
    "print_blob": True,
    "database": None,
    "suppress_health_check": [HealthCheck.too_slow],
}

settings.register_profile("repeatable", derandomize=True, max_examples=100, **COMMON)
settings.register_profile("search", derandomize=False, max_examples=2_000, **COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))
