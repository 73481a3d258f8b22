"""Figures of every frame, and which frames are marked."""

import shutil
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from tests.v2m4.page.results import make_result
from v2m4.page.measure import LIMITS, measure, outliers
from v2m4.page.run import Run


def test_a_mesh_that_made_its_frames_fits_them(tmp_path: Path) -> None:
    make_result(tmp_path / "ball", 4)
    figures = measure(Run.read(tmp_path / "ball"))
    assert figures.iou.min() > 0.97
    assert figures.psnr.min() > 25
    np.testing.assert_allclose(figures.stretch, 1.0, atol=1e-2)  # of 16-bit positions
    assert figures.flagged == {}
    np.testing.assert_allclose(np.ptp(figures.bounds, axis=0)[1], 0.6, atol=0.02)
    summary = figures.summary()
    assert summary["mean_iou"] == pytest.approx(figures.iou.mean(), abs=1e-3)
    assert summary["flagged_frames"] == 0


def test_wrong_lost_and_absent_frames(tmp_path: Path) -> None:
    """Track of the manifest's second shown frame is lost: that is the third frame, for the second has no picture."""
    folder = tmp_path / "ball"
    names = make_result(folder, 8, interpolated=["001"], motion={"lost": {"1": "no fit"}, "iou": []})
    (folder / "001_rmbg.png").unlink()
    shutil.copy(folder / "000_rmbg.png", folder / "006_rmbg.png")
    figures = measure(Run.read(folder))
    assert np.isnan(figures.iou[1])
    assert np.isfinite(np.delete(figures.iou, 1)).all()
    assert list(figures.flagged) == [2, 6]
    assert figures.flagged[2] == ["track lost: no fit"]
    assert any("IoU" in reason for reason in figures.flagged[names.index("006")])


def test_a_picture_that_the_program_has_not_written_is_refused(tmp_path: Path) -> None:
    make_result(tmp_path / "ball", 1)
    file = tmp_path / "ball" / "000_rmbg.png"
    iio.imwrite(file, iio.imread(file)[..., :3])
    with pytest.raises(ValueError, match="not a picture that this program has written"):
        measure(Run.read(tmp_path / "ball"))


def test_outliers_are_far_from_the_median_in_the_bad_direction() -> None:
    even = np.full(10, 0.9)
    low, high = even.copy(), even.copy()
    low[3], high[3] = 0.9 - 2 * LIMITS.iou, 0.9 + 2 * LIMITS.iou
    psnr, stretch = np.full(10, 30.0), np.full(10, 1.1)
    assert list(outliers(low, psnr, stretch)) == [3]
    assert outliers(high, psnr, stretch) == {}
    stretch[7] = 1.1 + 2 * LIMITS.stretch
    psnr[7] = 20.0
    assert {index: len(reasons) for index, reasons in outliers(low, psnr, stretch).items()} == {3: 1, 7: 2}
    noisy = 0.8 + 0.1 * np.sin(np.arange(40.0))
    assert outliers(noisy, np.full(40, np.nan), np.ones(40)) == {}
