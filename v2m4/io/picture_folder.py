"""Write a folder with one picture per frame."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import imageio.v3 as iio
import numpy as np

from v2m4.workspace import atomic


def write_pictures(folder: Path, pictures: Mapping[str, np.ndarray]) -> str:
    """Write pictures by frame name as PNG and remove those of other frames; returns the folder's name with a slash."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in pictures.items():
        with atomic(folder / f"{name}.png") as temporary:
            iio.imwrite(temporary, picture, plugin="pillow", compress_level=4)
    for file in folder.glob("*.png"):
        if file.stem not in pictures:
            file.unlink()
    return f"{folder.name}/"
