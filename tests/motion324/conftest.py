"""Commands set levels of loggers; each test leaves them as they were."""

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _levels_of_loggers() -> Iterator[None]:
    """Restore the level of the readers' logger, which the commands raise."""
    logger = logging.getLogger("v2m4.io")
    level = logger.level
    yield
    logger.setLevel(level)
