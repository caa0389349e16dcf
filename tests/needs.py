"""What tests need and not every host has: elsewhere they skip with the reason, in continuous integration they fail."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def unavailable(reason: str) -> NoReturn:
    """End the test that cannot run here."""
    if os.environ.get("CI", "").lower() in {"1", "true", "yes"}:
        pytest.fail(f"CI must have it: {reason}", pytrace=False)
    pytest.skip(reason)
