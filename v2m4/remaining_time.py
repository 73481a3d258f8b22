"""Estimate of the seconds that an animation still takes, from typical durations and the measured ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from v2m4.config import Config

# Seconds of a stage, and seconds per frame of the video, by way of reconstruction: medians of runs of 6 to 40 frames on
# two cores, one frame in five a key frame; ``registration`` from runs of 32 and 128 frames. Another machine is slower
# or faster by one factor, which is measured.
TYPICAL: dict[str, dict[str, tuple[float, float]]] = {
    "registration": {
        "frames": (0.2, 0.02),
        "generation": (1.1, 0.07),
        "camera_search": (0.3, 0.035),
        "registration": (5.0, 0.92),
        "texture": (5.3, 0.075),
        "export": (2.2, 0.07),
    },
    "video": {
        "frames": (0.2, 0.03),
        "generation": (2.0, 0.0),
        "camera_search": (3.5, 0.0),
        "registration": (5.0, 2.0),
        "texture": (10.0, 0.15),
        "export": (0.5, 0.05),
    },
    "user_mesh": {
        "frames": (0.2, 0.03),
        "generation": (0.1, 0.0),
        "camera_search": (6.0, 0.0),
        "registration": (2.0, 2.0),
        "export": (0.5, 0.05),
    },
    "baseline": {"frames": (0.2, 0.03), "generation": (0.0, 1.0)},
}
CACHED = 0.05  # of the expected duration: a stage that took less was read from the results of an earlier run


@dataclass
class RemainingTime:
    """The machine's factor over the typical durations, and the estimate that follows from it.

    Attributes:
        way: key of ``TYPICAL``.
        measured: expected and measured seconds of all stages that are done, those read from a cache left out.
    """

    way: str
    measured: list[tuple[float, float]] = field(default_factory=list)

    def expected(self, stage: str, frames: int) -> float:
        """Typical seconds of a stage on the reference machine; 0 for one that this way does not have."""
        constant, per_frame = TYPICAL[self.way].get(stage, (0.0, 0.0))
        return constant + per_frame * frames

    @property
    def factor(self) -> float:
        """Measured over expected seconds of all stages that are done; 1 before the first."""
        expected, seconds = (sum(values) for values in zip(*self.measured, strict=True)) if self.measured else (1, 1)
        return seconds / expected

    def add(self, stage: str, frames: int, seconds: float) -> None:
        """Record the duration of a finished stage."""
        expected = self.expected(stage, frames)
        if expected > 0 and seconds > CACHED * expected * self.factor:
            self.measured.append((expected, seconds))

    def seconds(self, stages: Sequence[str], frames: int, elapsed: float) -> float:
        """Seconds until the end of ``stages``, the first of which has been running for ``elapsed`` seconds.

        A stage that takes longer than expected counts as about to end, and its time for the factor.
        """
        if not stages:
            return 0.0
        current, *following = (self.expected(stage, frames) for stage in stages)
        factor = self.factor
        if elapsed > factor * current > 0:
            factor = RemainingTime(self.way, [*self.measured, (current, elapsed)]).factor
        return max(factor * current - elapsed, 0.0) + factor * sum(following)


def way_of(config: Config) -> str:
    """Key of ``TYPICAL`` of the way that the options choose."""
    if config.baseline:
        return "baseline"
    if config.mesh is not None:
        return "user_mesh"
    return "registration" if config.motion == "registration" else "video"
