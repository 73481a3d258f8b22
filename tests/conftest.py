"""Shared by all tests."""

from pathlib import Path

import pytest

import v2m4  # noqa: F401  # before torch: sets how idle threads wait


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the animation ``arms``; not to be changed."""
    from tests.test_main import write_clip

    root = tmp_path_factory.mktemp("clips")
    write_clip(root / "arms")
    return root


@pytest.fixture(scope="session")
def whole(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a quick run on ``clips`` that was left alone; not to be changed."""
    from tests.quick_runs import run

    output = tmp_path_factory.mktemp("whole")
    assert run(clips, output) == 0
    return output
