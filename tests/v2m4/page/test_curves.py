"""Curves that the stages left on disk."""

from pathlib import Path

import numpy as np
import pytest

from tests.v2m4.page.results import make_result
from v2m4.page.curves import MAX_POINTS, read_curves
from v2m4.page.run import Run


def test_curves_of_all_stages_are_found(tmp_path: Path) -> None:
    folder = tmp_path / "ball"
    make_result(folder, 3, motion={"lost": {}, "iou": [0.9, 0.8, 0.7], "mean_iou": 0.8})
    for stage in ("2_camera_search", "3_registration"):
        (folder / stage).mkdir()
    for frame in ("0", "2", "10"):
        np.savez(folder / f"2_camera_search/{frame}.npz", history=np.array([0.1, 0.5]), steps=np.array(["a", "b"]))
        np.savez(folder / f"3_registration/{frame}.npz", curve_arap=np.ones(5), vertices=np.zeros((2, 3)))
    np.savez(folder / "3_registration/joint.npz", curve_flow=np.arange(2000.0), curve_arap=np.ones(7))
    np.savez(folder / "3_registration/between.npz", vertices=np.zeros((2, 3)))
    camera, refinement, fits, tracking = sorted(read_curves(Run.read(folder)), key=lambda group: group.title)
    fits, refinement = (fits, refinement) if "fits" in fits.title else (refinement, fits)
    assert list(camera.plots["score"]) == ["frame 0", "frame 2", "frame 10"]
    assert "(a, b)" in camera.title
    assert list(fits.plots["arap"]) == ["frame 0", "frame 2", "frame 10"]
    assert set(refinement.plots) == {"arap", "flow"}
    assert len(refinement.plots["flow"]["flow"]) <= 1.25 * MAX_POINTS
    assert tracking.by_frame
    assert tracking.plots["mask IoU"]["mask IoU"].tolist() == [0.9, 0.8, 0.7]


def test_without_curves_there_are_none(tmp_path: Path) -> None:
    make_result(tmp_path / "ball", 2)
    assert read_curves(Run.read(tmp_path / "ball")) == []


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    make_result(tmp_path / "ball", 2)
    (tmp_path / "ball/3_registration").mkdir()
    (tmp_path / "ball/3_registration/joint.npz").write_bytes(b"PK nonsense")
    with pytest.raises(ValueError, match=r"joint\.npz: damaged"):
        read_curves(Run.read(tmp_path / "ball"))
