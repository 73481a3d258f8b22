"""The worst results: which they are, and their pictures in one file."""

import imageio.v3 as iio
import numpy as np

from evaluation.execution import CLIP_PICTURE
from evaluation.processes import Processes
from evaluation.records import BenchmarkFolders, BenchmarkOutcome
from evaluation.suite import BenchmarkCase, BenchmarkMethod, Suite
from evaluation.tables import Results
from evaluation.worst import LABEL_HEIGHT, worst_cases, write_worst

ERRORS = {"a": 1.0, "b": 30.0, "c": 2.0, "d": 7.0, "e": 5.0, "f": 4.0}


def results_of(errors: dict[str, float]) -> Results:
    cases = tuple(BenchmarkCase(name, input="x", truth="y") for name in (*errors, "burst"))
    outcomes = [
        BenchmarkOutcome(name, "one", "done", measured={"figures": {"cd": 1 / error, "trajectory": error}})
        for name, error in errors.items()
    ]
    outcomes.append(BenchmarkOutcome("burst", "one", "failed", "burst"))
    return Results(Suite("s", ("motion80", "trajectory"), (BenchmarkMethod("one", mesh="x"),), cases), outcomes)


def test_worst_cases_are_ranked_by_trajectory_error():
    assert worst_cases(results_of(ERRORS), "one") == ["b", "d", "e", "f", "c"]
    assert worst_cases(results_of({}), "one") == []


def test_pictures_of_the_worst_stand_below_their_labels(tmp_path):
    folders = BenchmarkFolders(tmp_path, tmp_path, Processes())
    write_worst(results_of(ERRORS), "one", folders)
    assert not (tmp_path / "worst_one.jpg").exists()
    for name, width, grey in (("a", 40, 0), ("b", 40, 0), ("d", 60, 120)):
        file = tmp_path / "results" / "one" / name / "pictures" / CLIP_PICTURE
        file.parent.mkdir(parents=True)
        iio.imwrite(file, np.full((20, width, 3), grey, np.uint8))
    write_worst(results_of(ERRORS), "one", folders)
    picture = iio.imread(tmp_path / "worst_one.jpg").astype(int)
    assert picture.shape == (2 * (LABEL_HEIGHT + 20), 60, 3)
    assert abs(picture[LABEL_HEIGHT + 4 : LABEL_HEIGHT + 16, 4:30]).max() < 20
    assert abs(picture[2 * LABEL_HEIGHT + 24 : 2 * LABEL_HEIGHT + 36, 4:50] - 120).max() < 20
