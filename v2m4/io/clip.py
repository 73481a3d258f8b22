"""Segmented clips, cached in the workspace."""

from __future__ import annotations

import logging
import math
import shutil
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np

from v2m4 import threads
from v2m4.camera import DEFAULT_FOV
from v2m4.config import LARGEST_FOV, LEAST_FOV, Config
from v2m4.frame import AbsentFrame, Clip, Frame
from v2m4.io._frame_store import FrameStore
from v2m4.io.content import input_hash
from v2m4.io.exif import vertical_fov
from v2m4.io.folder import frame_files
from v2m4.io.names import safe_name
from v2m4.io.read import content_hash, read_clip
from v2m4.io.segmenter import Segmenter
from v2m4.io.sources import Source
from v2m4.partial_results import SUFFIX
from v2m4.stored_picture import StoredPicture, encoded, read_png
from v2m4.workspace import Workspace, atomic, digest, folder_version

log = logging.getLogger(__name__)

PICTURE = "{}_rmbg.png"
DOUBTFUL = "foreground.png"  # frames and masks side by side, where there is a warning on them
PARTS = f"frames{SUFFIX}"  # folder of what a run that was killed goes on from
RECORD = "frames"  # entry of the manifest: key, names and times of the pictures, segmentation method
FIELDS = {"key", "foreground", "names", "fps", "times", "absent"}


def open_clip(source: Source, workspace: Workspace, config: Config, segmenter: Segmenter | None = None) -> Clip:
    """Return the segmented clip, cached in the workspace as ``<frame>_rmbg.png``.

    If the cache is of the same input, options, weights and code, the input is neither decoded nor segmented. The field
    of view does not affect the pictures.

    Args:
        source: from ``find_animations``.
        workspace: the animation's folder.
        config: all options; ``frames`` and ``fov`` are used.
        segmenter: the network, where the options ask for one (from ``open_segmenter``).

    Raises:
        ValueError: as ``read_clip``, or a picture in the workspace is broken.
        OSError: a file cannot be read or written.
    """
    follows = input_hash(content_hash(source), config.frames, segmenter)
    key = digest("frames", follows, folder_version("v2m4/io"))
    record = _cached_record(workspace, key)
    if record is not None:
        shutil.rmtree(workspace.path(PARTS), ignore_errors=True)  # of a run that was killed when the pictures were done
        log.info(
            "%s: %d frames read from the cache, foreground: %s", source.name, len(record["names"]), record["foreground"]
        )
    else:
        record = _make(source, workspace, config, segmenter, key)
    fov, paths = video_fov(source, config), [workspace.path(PICTURE.format(name)) for name in record["names"]]
    height, width, channels = read_png(paths[0]).shape  # those of all
    pictures = [StoredPicture(path, (height, width, channels)) for path in paths]
    pairs = zip(record["names"], pictures, strict=True)
    frames = [Frame(name, index, picture, fov) for index, (name, picture) in enumerate(pairs)]
    fps = record["fps"] or config.frames.fps
    rate = 1.0 if record["fps"] else fps
    times = tuple(time / rate for time in record["times"])
    absent = tuple(AbsentFrame(name, time / rate) for name, time in record["absent"])
    return Clip(source.name, frames, fps, follows, record["foreground"], times, absent)


def _cached_record(workspace: Workspace, key: str) -> dict[str, Any] | None:
    """The manifest's entry of the pictures where it is for ``key`` and they are whole; names of other files never."""
    record = workspace.manifest.get(RECORD)
    if not isinstance(record, dict) or record.get("key") != key or not record.keys() >= FIELDS:
        return None
    names = [name for name in record["names"] if isinstance(name, str) and safe_name(name) == name]
    whole = len(names) == len(record["names"]) and all(workspace.fresh(PICTURE.format(name), key) for name in names)
    return record if whole else None


def _make(
    source: Source, workspace: Workspace, config: Config, segmenter: Segmenter | None, key: str
) -> dict[str, Any]:
    """Read and segment the input, and write the pictures; returns their entry in the manifest."""
    doubtful: list[np.ndarray] = []
    store = FrameStore(workspace.path(PARTS), key)
    clip = read_clip(source, config.frames, segmenter, doubtful.append, store)
    for picture in doubtful:
        with atomic(workspace.path(DOUBTFUL)) as temporary:
            iio.imwrite(temporary, picture, plugin="pillow")
        log.warning("%s: frames and what was kept of them: %s", source.name, workspace.path(DOUBTFUL))

    def write(index: int, path: Path) -> None:
        path.write_bytes(encoded(clip.frames[index].rgba))

    names = [frame.name for frame in clip.frames]
    workspace.make_files([PICTURE.format(name) for name in names], key, write, threads.count())
    # The frame rate of a folder is an option that its pictures do not depend on: frame numbers are kept in place of
    # seconds.
    timed = source.kind == "video"
    workspace.manifest[RECORD] = {
        "key": key,
        "foreground": clip.foreground,
        "names": names,
        "fps": clip.fps if timed else None,
        "times": [time if timed else round(time * clip.fps) for time in clip.seconds.tolist()],
        "absent": [[frame.name, frame.time if timed else round(frame.time * clip.fps)] for frame in clip.absent],
    }
    workspace.save_manifest()
    store.remove()
    return workspace.manifest[RECORD]


def video_fov(source: Source, config: Config) -> float:
    """The vertical field of view of the video's camera, radians, by ``--fov``.

    Raises:
        ValueError: the first picture cannot be read.
    """
    if config.fov != "auto":
        return math.radians(config.fov)
    found = vertical_fov(frame_files(source.path).pictures[0]) if source.kind == "folder" else None
    if found is not None and LEAST_FOV <= found <= LARGEST_FOV:
        log.info("%s: field of view %.1f degrees, from the EXIF data of its first picture", source.name, found)
        return math.radians(found)
    why = "no focal length in its EXIF data" if found is None else f"its EXIF data give {found:.1f} degrees"
    log.info("%s: field of view %.0f degrees assumed: %s (--fov)", source.name, math.degrees(DEFAULT_FOV), why)
    return DEFAULT_FOV
