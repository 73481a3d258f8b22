"""How often frames that a method marks as lost are so in truth: detection rates over all frames of a suite."""

from __future__ import annotations

from dataclasses import dataclass

from evaluation.tables import Results

BAD_ERROR = 8.0  # trajectory error, %, above which a frame should be marked
GOOD_ERROR = 3.0  # and below which it should not


@dataclass(frozen=True)
class MarkRates:
    """Numbers of frames by their true trajectory error.

    Attributes:
        bad: frames with an error above ``BAD_ERROR``.
        bad_marked: those of them that are marked as lost.
        good: frames with an error below ``GOOD_ERROR``.
        good_marked: those of them that are marked as lost.
    """

    bad: int
    bad_marked: int
    good: int
    good_marked: int

    def describe(self) -> str:
        """The rates in words."""
        return (
            f"marked as lost: {_share(self.bad_marked, self.bad)} of the frames with a trajectory error above"
            f" {BAD_ERROR:g} %, {_share(self.good_marked, self.good)} of those below {GOOD_ERROR:g} %"
        )


def mark_rates(results: Results, method: str) -> MarkRates | None:
    """Rates of a method's marks over all frames; None where no case has both marks and trajectory errors."""
    pairs: list[tuple[float, float]] = []
    for case in results.cases:
        outcome = results.outcome(case, method)
        curves = {} if outcome is None else outcome.measured.get("curves", {})
        if "lost" in curves and "trajectory" in curves:
            pairs += zip(curves["trajectory"], curves["lost"], strict=True)
    if not pairs:
        return None
    bad = [marked > 0 for error, marked in pairs if error > BAD_ERROR]
    good = [marked > 0 for error, marked in pairs if error < GOOD_ERROR]
    return MarkRates(len(bad), sum(bad), len(good), sum(good))


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole} ({100 * part / whole:.1f} %)" if whole else "0 of 0"
