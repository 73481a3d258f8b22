"""Networks that tell the object from its background in a whole clip; asked for by name, nothing imported before.

``v2m4.needs.foreground`` looks whether the one that is asked for can work here; ``open_segmenter`` gets its weights
ready; the network itself is made when a clip is segmented, and let go with the segmenter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np

from v2m4.config import Config


class Segmenter(Protocol):
    """A network that finds one object in every frame of a clip; its ``str`` says which."""

    @property
    def identity(self) -> str:
        """What its results follow from, beside the pictures."""
        ...

    def alphas(self, pictures: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The object's alpha in each picture, (H, W) uint8; a picture is taken when its alpha is asked for.

        Args:
            pictures: (H, W, 3) uint8 sRGB each, all of one size, in order of time.
        """
        ...


def open_segmenter(config: Config) -> Segmenter | None:
    """The network of ``--frames.foreground``; None where that is a way without one.

    Raises:
        Unavailable: something is missing here, or its weights could not be fetched.
    """
    if config.frames.foreground == "rembg":
        from v2m4.io._rembg import open_rembg

        return open_rembg(config)
    if config.frames.foreground == "sam2":
        from v2m4.io._sam2 import open_sam2

        return open_sam2(config)
    return None
