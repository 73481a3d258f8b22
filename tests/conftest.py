"""Shared by all tests."""

import v2m4  # noqa: F401  # before torch: sets how idle threads wait
