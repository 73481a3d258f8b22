"""Read animations into clips: decode, segment, leave out the frames that do not show the object."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from v2m4.config import FramesConfig
from v2m4.frame import AbsentFrame, Clip, Frame
from v2m4.io._frame_store import DECODED, FrameList, FramePicture, FrameStore, LazyFrames
from v2m4.io.animated import animated_count, read_animated
from v2m4.io.bars import find_panel
from v2m4.io.content import file_content, folder_hash, input_hash, picture_hash, video_hash
from v2m4.io.empty import blank_or_faded, runs, without_object
from v2m4.io.exif import TURNED, orientation
from v2m4.io.folder import FrameFiles, frame_files, missing_number, not_files
from v2m4.io.foreground import cut_out
from v2m4.io.masks import read_masks
from v2m4.io.names import safe_name
from v2m4.io.picture import read_picture, resized
from v2m4.io.segmentation import remove_backgrounds
from v2m4.io.segmenter import Segmenter
from v2m4.io.sources import Source
from v2m4.io.video import read_video
from v2m4.io.video_errors import no_video
from v2m4.threads import in_order

log = logging.getLogger(__name__)

LEAST_SHOWN = 0.1  # of the frames must show the object
LEAST_MASKED = 0.5  # of the frames must have a mask for masks to be used


@dataclass(frozen=True)
class Pictures:
    """The decoded pictures of an animation, before segmentation.

    Attributes:
        names: one per picture, unique, safe as the beginning of file names.
        images: (H, W, 3 or 4) uint8 sRGB each, straight alpha, all of one height and width.
        fps: mean rate, frames per second.
        digest: hash of what was read.
        times: (T,) float64 seconds from 0, strictly ascending.
        masks: alpha (H, W) uint8 of each picture from masks beside them, None where it has none; empty without masks.
    """

    names: list[str]
    images: Sequence[np.ndarray]
    fps: float
    digest: str
    times: np.ndarray
    masks: list[np.ndarray | None] = field(default_factory=list)


def content_hash(source: Source) -> str:
    """Hash of an animation's files, masks included, without decoding them.

    Raises:
        ValueError: there are none, or one cannot be read.
    """
    if source.kind == "video":
        try:
            return video_hash(source.path)
        except OSError as error:
            raise no_video(source.path) from error
    files = frame_files(source.path)
    return _folder_digest(files, in_order(lambda file: picture_hash(file, file_content(file)), files.pictures))


def _folder_digest(files: FrameFiles, pictures: Sequence[bytes]) -> str:
    """Hash of a folder's frames, given theirs, and of their masks."""
    masks = [b"" if mask is None else picture_hash(mask, file_content(mask)) for mask in files.masks]
    return folder_hash([*pictures, *masks])


def read_pictures(source: Source, config: FramesConfig, store: FrameStore | None = None) -> Pictures:
    """Read an animation without segmenting it.

    Args:
        source: from ``find_animations``.
        config: frame rate of folders, and the largest side.
        store: of the pictures; None keeps them in memory.

    Raises:
        ValueError: nothing in it, a broken file, pictures of different size or with one name.
    """
    if source.kind == "folder":
        return _read_folder(source.path, config, store or FrameStore())
    try:
        digest = video_hash(source.path)
    except OSError as error:
        raise no_video(source.path) from error
    if animated_count(source.path):
        decoded = read_animated(source.path, config.max_side, store)
    else:
        decoded = read_video(source.path, config.max_side, config.fps, store)
    digits = len(str(len(decoded.images) - 1))
    names = [f"{index:0{digits}d}" for index in range(len(decoded.images))]
    return Pictures(names, decoded.images, decoded.fps, digest, decoded.times)


def read_clip(
    source: Source,
    config: FramesConfig,
    segmenter: Segmenter | None = None,
    show: Callable[[np.ndarray], object] | None = None,
    store: FrameStore | None = None,
) -> Clip:
    """Read and segment an animation, with one method for all its frames.

    Frames that do not show the object are left out: first and last ones altogether, those between others with their
    names and times as the clip's ``absent`` frames.

    Args:
        source: from ``find_animations``.
        config: the options.
        segmenter: the network, where ``config.foreground`` asks for one (from ``open_segmenter``).
        show: see ``remove_backgrounds``.
        store: of the pictures, read when they are looked at, and of what is found on the way: with the same store a
            call that was interrupted goes on. None keeps them in memory.

    Raises:
        ValueError: as ``read_pictures``; the method is not applicable; too few frames show an object.
    """
    store = store or FrameStore()
    pictures = read_pictures(source, config, store)
    shown = ~blank_or_faded(pictures.images)
    _check_enough(source, shown, "all others are blank or faded")
    kept = np.flatnonzero(shown)
    images = LazyFrames(len(kept), lambda number: pictures.images[kept[number]])
    masks = [pictures.masks[index] for index in kept] if pictures.masks else []
    try:
        method, cut_outs = _segment(source.name, images, masks, config, segmenter, show, store)
    except ValueError as error:
        raise ValueError(f"{source.path}: {error}") from error
    shown[kept] = ~without_object(image[..., 3] for image in cut_outs)
    _check_enough(source, shown, f"no object is found in the others (foreground: {method})")
    _warn_of_absent(source, pictures.names, pictures.times, shown)
    number_of = {each: number for number, each in enumerate(kept.tolist())}
    indices = np.flatnonzero(shown).tolist()
    shape = cut_outs[number_of[indices[0]]].shape  # those of all
    frames = [
        Frame(pictures.names[each], index, FramePicture(cut_outs, number_of[each], shape))
        for index, each in enumerate(indices)
    ]
    absent = [
        AbsentFrame(pictures.names[each], float(pictures.times[each]))
        for each in range(indices[0], indices[-1])
        if not shown[each]
    ]
    return Clip(
        source.name,
        frames,
        pictures.fps,
        input_hash(pictures.digest, config, segmenter),
        method,
        tuple(pictures.times[indices].tolist()),
        tuple(absent),
    )


def _segment(
    name: str,
    images: Sequence[np.ndarray],
    masks: Sequence[np.ndarray | None],
    config: FramesConfig,
    segmenter: Segmenter | None,
    show: Callable[[np.ndarray], object] | None,
    store: FrameStore,
) -> tuple[str, Sequence[np.ndarray]]:
    """Segment pictures, by masks beside them where there are; returns a description of the method, and RGBA."""
    if masks and config.foreground not in ("auto", "alpha"):
        log.info("%s: the masks beside the frames are not used (--frames.foreground %s)", name, config.foreground)
        masks = []
    missing = [index for index, mask in enumerate(masks) if mask is None]
    if masks and len(missing) > (1 - LEAST_MASKED) * len(masks):
        log.warning("%s: only %d of %d frames have a mask: none is used", name, len(masks) - len(missing), len(masks))
        masks = []
    if not masks:
        return _segment_panel(name, images, config, segmenter, show, store)
    without: Sequence[np.ndarray] = []
    if missing:
        log.warning("%s: %d of %d frames have no mask and are segmented", name, len(missing), len(masks))
        others = LazyFrames(len(missing), lambda number: images[missing[number]])
        _, without = remove_backgrounds(name, others, config, segmenter, store=store)

    def cut(index: int) -> np.ndarray:
        mask = masks[index]
        return without[missing.index(index)] if mask is None else cut_out(images[index], mask)

    return "masks", store.series("by_masks", len(images), cut, packed=True)


def _segment_panel(
    name: str,
    images: Sequence[np.ndarray],
    config: FramesConfig,
    segmenter: Segmenter | None,
    show: Callable[[np.ndarray], object] | None,
    store: FrameStore,
) -> tuple[str, Sequence[np.ndarray]]:
    """Segment pictures without the bars around them; returns a description of the method, and RGBA of whole size."""
    panel = find_panel(images)
    if panel is None:
        return remove_backgrounds(name, images, config, segmenter, show, store)
    size = images[0].shape[:2]
    log.info(
        "%s: bars around the picture are left out: it is %d x %d pixels of %d x %d",
        name, panel.right - panel.left, panel.bottom - panel.top, size[1], size[0],
    )  # fmt: skip
    inside = LazyFrames(len(images), lambda index: panel.crop(images[index]))
    method, parts = remove_backgrounds(name, inside, config, segmenter, show, store)
    return method, LazyFrames(len(images), lambda index: panel.restore(parts[index], size))


def _check_enough(source: Source, shown: np.ndarray, others: str) -> None:
    """Check that the object is seen in enough frames.

    Raises:
        ValueError: it is not.
    """
    count, seen = len(shown), int(shown.sum())
    if seen < min(count, max(2, LEAST_SHOWN * count)):
        raise ValueError(
            f"{source.path}: the object is seen in {seen} of {count} frames; {others};"
            " cut the video to the object, or choose another --frames.foreground"
        )


def _warn_of_absent(source: Source, names: Sequence[str], times: np.ndarray, shown: np.ndarray) -> None:
    """Warn of frames that are left out."""
    for first, last in runs(~shown):
        which = f"frame {names[first]}" if first == last else f"frames {names[first]} to {names[last]}"
        does = "does" if first == last else "do"
        if first == 0:
            what = f"the animation starts at {times[last + 1]:.3f} s"
        elif last == len(shown) - 1:
            what = f"the animation ends at {times[first - 1]:.3f} s"
        else:
            what = "the motion is interpolated"
        log.warning("%s: %s %s not show the object (empty, faded or left): %s", source.name, which, does, what)


def _read_folder(folder: Path, config: FramesConfig, store: FrameStore) -> Pictures:
    """The frames of a folder, in a store, with the masks beside them."""
    files = frame_files(folder)
    names = _unique_names(files.pictures)
    for path in not_files(folder):
        what = "a folder" if path.is_dir() else "a link to nothing" if path.is_symlink() else "no file"
        log.warning("%s: is %s, not a picture; it is passed over", path, what)
    gap = missing_number([file.stem for file in files.pictures])
    if gap is not None:
        log.warning("%s: no frame between %s and %s; they are taken as consecutive", folder, *gap)
    turned: int | None = None

    def read(item: tuple[int, Path]) -> tuple[tuple[int, ...], bytes]:
        index, file = item
        data = file_content(file)
        picture = read_picture(file, data, turned)
        store.write(DECODED, index, resized(picture, config.max_side))
        return picture.shape[:2], picture_hash(file, data)

    results = in_order(read, enumerate(files.pictures))
    if len({size for size, _ in results}) > 1 and (turned := _common_orientation(files.pictures)) is not None:
        log.warning("%s: the pictures are stored in different orientations: all are turned as most are", folder)
        results = in_order(read, enumerate(files.pictures))
    sizes = [size for size, _ in results]
    _check_sizes(files.pictures, sizes)
    images = FrameList(store, DECODED, len(results))
    masks: list[np.ndarray | None] = []
    if files.masks:
        height, width = images[0].shape[:2]
        masks = read_masks(files.masks, (height, width), files.where)
    digest = _folder_digest(files, [state for _, state in results])
    return Pictures(names, images, config.fps, digest, np.arange(len(images)) / config.fps, masks)


def _unique_names(files: Sequence[Path]) -> list[str]:
    """Names of frames.

    Raises:
        ValueError: two have one name.
    """
    names = [safe_name(file.stem) for file in files]
    seen: dict[str, Path] = {}
    for name, file in zip(names, files, strict=True):
        if name.casefold() in seen:
            raise ValueError(
                f"{file}: has the same name as {seen[name.casefold()].name} but for the suffix or reserved characters;"
                " rename one of them"
            )
        seen[name.casefold()] = file
    return names


def _common_orientation(files: Sequence[Path]) -> int | None:
    """The EXIF orientation of most pictures, where all are stored with one size; None where that does not help."""
    stored = [orientation(file) for file in files]
    if len({size for _, size in stored}) > 1 or not any(value in TURNED for value, _ in stored):
        return None
    values = [value for value, _ in stored]
    return max(set(values), key=values.count)


def _check_sizes(files: Sequence[Path], sizes: Sequence[tuple[int, ...]]) -> None:
    for file, size in zip(files, sizes, strict=True):
        if size != sizes[0]:
            raise ValueError(
                f"{file}: {size[1]} x {size[0]} pixels, but {files[0].name} has {sizes[0][1]} x {sizes[0][0]};"
                " the frames of an animation must have one size"
            )
