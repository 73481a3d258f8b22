"""Parts of a result: kept by key, at most as often as said, damaged ones computed again."""

from pathlib import Path

import numpy as np
import pytest

from v2m4 import partial_results
from v2m4.partial_results import PartialResults
from v2m4.workspace import Workspace


def test_parts_are_computed_once_for_a_key_and_are_exact(tmp_path: Path) -> None:
    made = []

    def make() -> dict[str, np.ndarray]:
        made.append(1)
        return {"a": np.float32([0.1, np.nan]), "b": np.array(3)}

    for key, count in (("k", 1), ("k", 1), ("other", 2)):
        stored = PartialResults(tmp_path / "x_partial", key).arrays("first", make)
        assert len(made) == count
        assert set(stored) == {"a", "b"}
        assert stored["a"].dtype == np.float32 and stored["a"].tobytes() == np.float32([0.1, np.nan]).tobytes()


def test_nothing_is_kept_without_a_folder() -> None:
    parts = PartialResults()
    assert parts.arrays("x", lambda: {"a": np.ones(2)})["a"].tolist() == [1, 1]
    parts.save("x", lambda: pytest.fail("nothing to save to"))
    assert parts.load("x") is None
    parts.remove()


def test_a_state_is_stored_again_after_the_interval_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(partial_results.time, "monotonic", lambda: clock[0])
    parts = PartialResults(tmp_path, "k")
    assert parts.load("state") is None
    stored = []
    for second in range(0, 35, 5):
        clock[0] = float(second)
        parts.save("state", lambda: (stored.append(clock[0]), {"second": np.array(clock[0])})[1])
    assert stored == [10, 20, 30]
    assert PartialResults(tmp_path, "k").load("state") == {"second": 30}
    clock[0] = 31.0
    parts.save("state", lambda: {"second": np.array(31.0)}, at_once=True)
    assert PartialResults(tmp_path, "k").load("state") == {"second": 31}
    parts.remove("state")
    assert parts.load("state") is None


@pytest.mark.parametrize("keep", [0, 10, -1])
def test_a_cut_part_is_computed_again_and_told(tmp_path: Path, keep: int, caplog: pytest.LogCaptureFixture) -> None:
    parts = PartialResults(tmp_path, "k")
    parts.arrays("x", lambda: {"a": np.arange(100)})
    file = tmp_path / "x.npz"
    file.write_bytes(file.read_bytes()[:keep])
    assert parts.arrays("x", lambda: {"a": np.arange(3)})["a"].tolist() == [0, 1, 2]
    assert "x.npz: damaged" in caplog.text
    assert np.load(file)["a"].tolist() == [0, 1, 2]


def test_parts_are_removed_when_the_artefact_is_whole(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)

    def make() -> dict[str, np.ndarray]:
        part = workspace.partial_results("s/x.npz", "k").arrays("part", lambda: {"a": np.ones(1)})
        assert (tmp_path / "s" / "x_partial" / "part.npz").exists()
        return part

    workspace.make_arrays("s/x.npz", "k", make)
    assert not (tmp_path / "s" / "x_partial").exists()
    (tmp_path / "s" / "x_partial").mkdir()  # killed before they were removed
    workspace.make_arrays("s/x.npz", "k", lambda: pytest.fail("it is there"))
    assert not (tmp_path / "s" / "x_partial").exists()
