"""Split video files into folders of PNG frames, the layout that V2M4 reads.

    python data_preparation_tools/split_videos_to_image_frames.py --input videos --output frames

A video ``fox.mp4`` becomes ``<output>/fox/0000.png`` and so on. main.py reads video files itself; this is for looking
at the frames, leaving some out, or giving them an alpha by hand.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import imageio.v3 as iio
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from v2m4.command_line import end_with, parse_options
from v2m4.config import FramesConfig
from v2m4.io.read import read_pictures
from v2m4.io.sources import Source, find_animations
from v2m4.report import table
from v2m4.workspace import atomic

log = logging.getLogger("split_videos_to_image_frames")


@dataclass(frozen=True)
class SplitOptions:
    """Split video files into folders of PNG frames."""

    # A folder of video files (.mp4 .mov .webm .mkv .avi .gif ...), or one video file.
    input: Path
    # Folder for the results: one folder of frames for each video.
    output: Path
    # Keep every n-th frame only.
    every: int = 1
    # Larger frames are reduced to this longer side, pixels; 0 keeps them as they are.
    max_side: int = 0


def split(source: Source, options: SplitOptions) -> int:
    """Write one video's frames; returns how many.

    Raises:
        ValueError: the video cannot be read.
        OSError: a frame cannot be written.
    """
    images = read_pictures(source, FramesConfig(max_side=options.max_side)).images[:: options.every]
    folder = options.output / source.name
    for index, image in enumerate(images):
        with atomic(folder / f"{index:04d}.png") as temporary:
            iio.imwrite(temporary, image, plugin="pillow")
    return len(images)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: 0 when all is well, 1 when a video failed, 2 on bad usage."""
    options = parse_options(SplitOptions, arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname).1s %(message)s")
    if options.every < 1 or options.max_side < 0:
        log.error("--every %d --max_side %d: at least 1 and 0 are needed", options.every, options.max_side)
        return 2
    try:
        sources = [source for source in find_animations(options.input) if source.kind == "video"]
    except (FileNotFoundError, NotADirectoryError) as error:
        log.error("%s", error)
        return 2
    if not sources:
        log.error("%s: no video files in it (.mp4 .mov .webm .mkv .avi .gif ...)", options.input)
        return 2
    rows, failed = [], False
    for source in tqdm(sources, unit="video", dynamic_ncols=True):
        try:
            rows.append([source.name, split(source, options), str(options.output / source.name)])
        except (ValueError, OSError) as error:
            failed = True
            rows.append([source.name, 0, str(error)])
    print(table(rows, ["video", "frames", "result"]))
    return 1 if failed else 0


if __name__ == "__main__":
    end_with(main)
