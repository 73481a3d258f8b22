"""Stage 4: one texture for the whole animation, from every frame and from the first frame's own asset."""

from texture.stage import run

__all__ = ["run"]
