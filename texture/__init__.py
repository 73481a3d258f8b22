"""Stage 4: one texture for the whole animation, solved from all frames and from the first frame's own asset."""

from texture.stage import run

__all__ = ["run"]
