"""What the feed-forward motion network needs: its weights."""

from __future__ import annotations

from v2m4.config import Config
from v2m4.weights import Unavailable


def require(config: Config) -> None:
    """Refuse, before any work, the network without its weights, and weights without the network.

    Raises:
        Unavailable: in one line, the option, what is missing and what to do.
    """
    if config.motion != "feedforward":
        if config.refine:
            raise Unavailable("--refine fits the motion network's poses to the video; it needs --motion feedforward")
        if config.checkpoint is not None:
            raise Unavailable("--checkpoint is the motion network's; it needs --motion feedforward")
        return
    if config.checkpoint is None:
        raise Unavailable(
            "--motion feedforward: give --checkpoint, the released one of Motion 3-to-4 (ckpt_*.pt) or one of"
            " python -m motion324.train"
        )
    if not config.checkpoint.is_file():
        raise Unavailable(f"--checkpoint {config.checkpoint}: no such file")
