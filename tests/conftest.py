"""What holds for all tests."""

from __future__ import annotations

import os

from hypothesis import settings

# A run that decides whether a change lands tries the same examples each time, however slow the machine is.
# `HYPOTHESIS_PROFILE=explore` looks for new ones.
settings.register_profile("steady", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))
