"""Write a frame of a test case."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from v2m4.workspace import atomic


def save_frame(picture: np.ndarray, folder: Path, index: int) -> None:
    """Write a frame as <folder>/0000.png and so on."""
    with atomic(folder / f"{index:04d}.png") as temporary:
        Image.fromarray(picture).save(temporary, optimize=True)
