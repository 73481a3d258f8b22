"""Rates of frames that are marked as lost, by their true errors."""

from evaluation.loss_marks import MarkRates, mark_rates
from evaluation.records import BenchmarkOutcome
from evaluation.suite import BenchmarkCase, BenchmarkMethod, Suite
from evaluation.tables import Results


def results_of(curves: dict[str, dict[str, list[float]]]) -> Results:
    cases = tuple(BenchmarkCase(name, input="x", truth="y") for name in curves)
    outcomes = [BenchmarkOutcome(name, "one", "done", measured={"curves": value}) for name, value in curves.items()]
    return Results(Suite("s", ("trajectory", "loss"), (BenchmarkMethod("one", mesh="x"),), cases), outcomes)


def test_rates_are_over_the_frames_of_all_cases():
    curves = {
        "a": {"trajectory": [0.0, 9.0, 20.0, 5.0], "lost": [0.0, 1.0, 0.0, 1.0]},
        "b": {"trajectory": [1.0, 2.0], "lost": [0.0, 1.0]},
        "unmarked": {"trajectory": [50.0]},
    }
    rates = mark_rates(results_of(curves), "one")
    assert rates == MarkRates(bad=2, bad_marked=1, good=3, good_marked=1)
    assert "1 of 2 (50.0 %) of the frames with a trajectory error above 8 %" in rates.describe()
    assert "1 of 3 (33.3 %) of those below 3 %" in rates.describe()


def test_no_marks_no_rates():
    assert mark_rates(results_of({"a": {"trajectory": [9.0]}}), "one") is None
    assert "0 of 0" in mark_rates(results_of({"a": {"trajectory": [5.0], "lost": [0.0]}}), "one").describe()
