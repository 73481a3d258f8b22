"""Interface of the segmentation networks, and their lazy import.

``v2m4.preflight.foreground`` checks that a network can run here; ``open_segmenter`` fetches its weights; the network is
loaded when a clip is segmented, and released with the segmenter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from v2m4.config import Config
from v2m4.io._frame_store import FrameStore
from v2m4.preflight.foreground import salient_is_ready


class Segmenter(Protocol):
    """A network that segments one object in every frame of a clip; its ``str`` names it."""

    @property
    def identity(self) -> str:
        """Key of everything but the pictures that its results depend on."""
        ...

    def alphas(self, pictures: Sequence[np.ndarray], store: FrameStore | None = None) -> Iterator[np.ndarray]:
        """Yield the object's alpha in each picture, (H, W) uint8.

        Args:
            pictures: (H, W, 3) uint8 sRGB each, all of one size, in order of time; read when they are looked at.
            store: of what is found for each frame, from where an interrupted call goes on; None keeps it in memory.
        """
        ...


def open_segmenter(config: Config) -> Segmenter | None:
    """Return the network of ``--frames.foreground``; None for a method without one.

    For ``auto`` that is the network for any background where it is installed, else None; it is loaded only if a clip
    has neither alpha nor a plain background.

    Raises:
        Unavailable: something is missing here, or its weights could not be fetched.
    """
    if config.frames.foreground == "salient" or (config.frames.foreground == "auto" and salient_is_ready()):
        from v2m4.io.salient import open_salient

        return open_salient(config)
    if config.frames.foreground == "rembg":
        from v2m4.io._rembg import open_rembg

        return open_rembg(config)
    if config.frames.foreground == "sam2":
        from v2m4.io._sam2 import open_sam2

        return open_sam2(config)
    return None
