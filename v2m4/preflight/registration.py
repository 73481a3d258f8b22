"""What the learned part of the registration needs: points followed by CoTracker3."""

from __future__ import annotations

from v2m4.config import Config
from v2m4.weights import Needs, Package, Unavailable, Weights

CHECKPOINT = "scaled_offline.pth"
COTRACKER = Needs(
    packages=(Package("cotracker", "pip install git+https://github.com/facebookresearch/co-tracker@82e02e8"),),
    weights=(Weights("facebook/cotracker3", (CHECKPOINT,), (CHECKPOINT,)),),
)


def require(config: Config) -> None:
    """Refuse, before any work, a tracker that lacks something here.

    Raises:
        Unavailable: in one line, the option, what is missing and what to do.
    """
    if config.use_tracking and config.registration.tracker == "cotracker":
        try:
            COTRACKER.check(config)
        except Unavailable as error:
            raise Unavailable(f"--use_tracking: {error}; or choose --registration.tracker flow") from error


def version(config: Config) -> str:
    """What tells one copy of the tracker's weights from another; empty where it has none."""
    return COTRACKER.version(config) if config.registration.tracker == "cotracker" else ""
