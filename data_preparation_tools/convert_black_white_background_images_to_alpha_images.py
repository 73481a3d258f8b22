"""Give pictures with a black or white background an alpha channel.

    python data_preparation_tools/convert_black_white_background_images_to_alpha_images.py --input frames --output rgba

``--input`` is a folder of frame folders, a folder of pictures, or a folder of videos; every animation becomes
``<output>/<animation>/<frame>.png`` with straight alpha. main.py does the same by itself; this is for looking at the
masks, or mending them by hand.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import imageio.v3 as iio
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from v2m4.command_line import end_with, parse_options
from v2m4.config import Config, FramesConfig
from v2m4.io.read import read_clip
from v2m4.io.segmenter import open_segmenter
from v2m4.io.sources import Source, find_animations
from v2m4.preflight.foreground import require_segmenter
from v2m4.report import table
from v2m4.weights import Unavailable
from v2m4.workspace import atomic

log = logging.getLogger("convert_black_white_background_images_to_alpha_images")


@dataclass(frozen=True)
class AlphaOptions:
    """Give pictures with a black or white background an alpha channel."""

    # A folder of frame folders or videos, or a folder of pictures.
    input: Path
    # Folder for the results: one folder of RGBA pictures for each animation.
    output: Path
    # How the object is segmented: key takes black, white or another plain background; auto takes an alpha channel
    # first, and salient or GrabCut last; the networks rembg and sam2 need packages and weights (docs/models.md).
    foreground: Literal["key", "auto", "salient", "grabcut", "rembg", "sam2"] = "key"
    # Folder with the weights of networks.
    weights_dir: Path | None = None
    # Fetch weights that are not on the disk.
    download: bool = False
    # Larger pictures are reduced to this longer side, pixels; 0 keeps them as they are.
    max_side: int = 0


def convert(source: Source, options: AlphaOptions, config: Config) -> tuple[int, str]:
    """Write one animation's pictures with alpha; returns their number, and the segmentation method.

    Raises:
        ValueError: a picture cannot be read, or shows no object.
        Unavailable: the network's weights cannot be had.
        OSError: a picture cannot be written.
    """
    clip = read_clip(source, config.frames, open_segmenter(config))
    for frame in clip.frames:
        with atomic(options.output / source.name / f"{frame.name}.png") as temporary:
            iio.imwrite(temporary, frame.rgba, plugin="pillow")
    return len(clip.frames), clip.foreground


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: 0 when all is well, 1 when an animation failed, 2 on bad usage."""
    options = parse_options(AlphaOptions, arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname).1s %(message)s")
    if options.max_side < 0:
        log.error("--max_side %d: at least 0 is needed", options.max_side)
        return 2
    if options.output.resolve() == options.input.resolve():
        log.error("--output %s: is the input too; give another folder", options.output)
        return 2
    config = Config(
        frames=FramesConfig(foreground=options.foreground, max_side=options.max_side),
        weights_dir=options.weights_dir,
        download=options.download,
    )
    try:
        require_segmenter(config)
        sources = find_animations(options.input)
    except (FileNotFoundError, NotADirectoryError, Unavailable) as error:
        log.error("%s", error)
        return 2
    rows, failed = [], False
    for source in tqdm(sources, unit="animation", dynamic_ncols=True):
        try:
            count, method = convert(source, options, config)
            rows.append([source.name, count, method, str(options.output / source.name)])
        except (ValueError, OSError, Unavailable) as error:
            failed = True
            rows.append([source.name, 0, "-", str(error)])
    print(table(rows, ["animation", "frames", "foreground", "result"]))
    return 1 if failed else 0


if __name__ == "__main__":
    end_with(main)
