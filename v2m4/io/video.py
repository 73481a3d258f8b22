"""Find animations on disk (folders of pictures, video files), read them into clips, and write videos."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import imageio.v3 as iio
import numpy as np
from av.error import FFmpegError

from v2m4.config import FramesConfig
from v2m4.frame import Clip, Frame
from v2m4.io.content import file_content, folder_hash, input_hash, picture_hash, video_hash
from v2m4.io.names import natural_key, safe_name
from v2m4.io.picture import read_picture, reduced
from v2m4.io.segmentation import remove_backgrounds
from v2m4.io.segmenter import Segmenter
from v2m4.threads import in_order
from v2m4.workspace import atomic

log = logging.getLogger(__name__)

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})
VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mov"})
LEAST_OBJECT = 1e-4  # least area of the foreground, relative to the picture's


@dataclass(frozen=True)
class Source:
    """One animation on disk.

    Attributes:
        name: safe as a folder name, unique among the animations of one root.
        path: the folder of pictures, or the video file.
        kind: of the path.
        count: number of pictures (of a video file by its header; 0 if unreadable).
    """

    name: str
    path: Path
    kind: Literal["folder", "video"]
    count: int


@dataclass(frozen=True)
class Pictures:
    """The decoded pictures of an animation, before segmentation.

    Attributes:
        names: one per picture, unique, safe as the beginning of file names.
        images: (H, W, 3 or 4) uint8 sRGB each, straight alpha, all of one height and width.
        fps: frames per second.
        digest: hash of what was read.
    """

    names: list[str]
    images: list[np.ndarray]
    fps: float
    digest: str


def list_pictures(folder: Path) -> list[Path]:
    """The picture files of a folder in natural order; hidden files and other file types are ignored."""
    return sorted(
        (file for file in folder.iterdir() if _visible(file) and _is_picture(file)),
        key=lambda file: natural_key(file.name),
    )


def _visible(path: Path) -> bool:
    return not path.name.startswith((".", "__MACOSX"))


def _holds_other_things(folder: Path) -> bool:
    """Whether the folder has files but no picture; an empty folder counts as an animation without frames."""
    return not list_pictures(folder) and any(_visible(path) for path in folder.iterdir())


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in PICTURE_SUFFIXES and path.is_file()


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()


def find_animations(root: Path) -> list[Source]:
    """The animations of a folder, in natural order.

    Args:
        root: a folder of frame folders and video files, as V2M4 has it. A folder of pictures, or one video file, counts
            as one animation. Folders without pictures are ignored.

    Raises:
        FileNotFoundError: there is no such folder, or no animation in it.
    """
    root = Path(root)
    if not root.exists():
        raise FileNotFoundError(f"{root}: no such folder; give --root a folder of frame folders or video files")
    if root.is_file():
        if not _is_video(root):
            raise FileNotFoundError(f"{root}: not a video file ({_listed(VIDEO_SUFFIXES)}); give a folder or a video")
        return [_video_source(root, safe_name(root.stem))]
    entries = sorted((path for path in root.iterdir() if _visible(path)), key=lambda path: natural_key(path.name))
    folders, videos = [path for path in entries if path.is_dir()], [path for path in entries if _is_video(path)]
    pictures = list_pictures(root)
    if pictures and not videos and not any(list_pictures(folder) for folder in folders):
        return [Source(safe_name(root.resolve().name), root, "folder", len(pictures))]
    if pictures:
        log.warning("%s: %d pictures beside the animations are passed over", root, len(pictures))
    for folder in [folder for folder in folders if _holds_other_things(folder)]:
        log.info("%s: no pictures in it, passed over", folder)
        folders.remove(folder)
    if not folders and not videos:
        raise FileNotFoundError(
            f"{root}: no animation in it; put each animation there as a folder of pictures"
            f" ({_listed(PICTURE_SUFFIXES)}) or as a video file ({_listed(VIDEO_SUFFIXES)})"
        )
    sources: dict[str, Source] = {}
    for path in [*folders, *videos]:
        name = safe_name(path.stem if path in videos else path.name)
        if name.casefold() in sources:
            name = safe_name(path.name.replace(".", "_"))
        if name.casefold() in sources:
            raise FileNotFoundError(f"{path}: another animation is called {name!r} too; rename one of them")
        if path in videos:
            sources[name.casefold()] = _video_source(path, name)
        else:
            sources[name.casefold()] = Source(name, path, "folder", len(list_pictures(path)))
    return sorted(sources.values(), key=lambda source: natural_key(source.name))


def _listed(suffixes: Iterable[str]) -> str:
    return " ".join(sorted(suffixes))


def _video_source(path: Path, name: str) -> Source:
    try:
        count = int(iio.improps(path, plugin="pyav").shape[0])
    except (OSError, FFmpegError, ValueError, IndexError):
        count = 0  # read_pictures raises the error
    return Source(name, path, "video", count)


def read_pictures(source: Source, config: FramesConfig) -> Pictures:
    """Read an animation without segmenting it.

    Args:
        source: from ``find_animations``.
        config: frame rate of folders, and the largest side.

    Raises:
        ValueError: nothing in it, a broken file, pictures of different size or with one name.
    """
    if source.kind == "video":
        return _read_video(source.path, config)
    names, images, digest = _read_folder(source.path, config.max_side)
    return Pictures(names, images, config.fps, digest)


def read_clip(
    source: Source,
    config: FramesConfig,
    segmenter: Segmenter | None = None,
    show: Callable[[np.ndarray], object] | None = None,
) -> Clip:
    """Read and segment an animation, with one method for all its frames.

    Args:
        source: from ``find_animations``.
        config: the options.
        segmenter: the network, where ``config.foreground`` asks for one (from ``open_segmenter``).
        show: see ``remove_backgrounds``.

    Raises:
        ValueError: as ``read_pictures``; the method is not applicable; no object is found in a frame.
    """
    pictures = read_pictures(source, config)
    images = pictures.images
    try:
        method = remove_backgrounds(source.name, images, config, segmenter, show)
    except ValueError as error:
        raise ValueError(f"{source.path}: {error}") from error
    for name, image in zip(pictures.names, images, strict=True):
        if np.count_nonzero(image[..., 3] > 127) < max(16, LEAST_OBJECT * image.shape[0] * image.shape[1]):
            raise ValueError(
                f"{source.path}: no object found in frame {name!r} (foreground: {method});"
                " remove the frame or choose another --frames.foreground"
            )
    frames = [Frame(name, index, image) for index, (name, image) in enumerate(zip(pictures.names, images, strict=True))]
    return Clip(source.name, frames, pictures.fps, input_hash(pictures.digest, config, segmenter), method)


def video_rate(path: Path) -> float:
    """Frame rate of a video file, frames per second; 0 if it has none.

    Raises:
        ValueError: the file cannot be read as a video.
    """
    try:
        with iio.imopen(path, "r", plugin="pyav") as video:
            return float(video.metadata().get("fps") or 0.0)
    except (OSError, FFmpegError, ValueError, IndexError) as error:
        raise no_video(path, error) from error


def no_video(path: Path, error: Exception) -> ValueError:
    """The error of a file that cannot be read as a video, with its cause."""
    return ValueError(f"{path}: cannot be read as a video ({error}); convert it to H.264 or to frames")


def _read_folder(folder: Path, max_side: int) -> tuple[list[str], list[np.ndarray], str]:
    """Names, pictures and a hash of names and contents."""
    files = pictures_of(folder)
    names = [safe_name(file.stem) for file in files]
    seen: dict[str, Path] = {}
    for name, file in zip(names, files, strict=True):
        if name.casefold() in seen:
            raise ValueError(
                f"{file}: has the same name as {seen[name.casefold()].name} but for the suffix or reserved characters;"
                " rename one of them"
            )
        seen[name.casefold()] = file

    def read(file: Path) -> tuple[np.ndarray, tuple[int, ...], bytes]:
        data = file_content(file)
        picture = read_picture(file, data)
        return reduced(picture, max_side), picture.shape[:2], picture_hash(file, data)

    results = in_order(read, files)
    _check_sizes(files, [size for _, size, _ in results])
    return names, [picture for picture, _, _ in results], folder_hash(state for *_, state in results)


def pictures_of(folder: Path) -> list[Path]:
    """As ``list_pictures``.

    Raises:
        ValueError: there are none.
    """
    files = list_pictures(folder)
    if not files:
        raise ValueError(f"{folder}: no pictures in it ({_listed(PICTURE_SUFFIXES)}); add frames or remove the folder")
    return files


def _check_sizes(files: Sequence[Path], sizes: Sequence[tuple[int, ...]]) -> None:
    for file, size in zip(files, sizes, strict=True):
        if size != sizes[0]:
            raise ValueError(
                f"{file}: {size[1]} x {size[0]} pixels, but {files[0].name} has {sizes[0][1]} x {sizes[0][0]};"
                " the frames of an animation must have one size"
            )


def _read_video(path: Path, config: FramesConfig) -> Pictures:
    """The frames of a video file, named by their numbers."""
    pictures = []
    try:
        digest = video_hash(path)
        turns = _quarter_turns(path)
        with iio.imopen(path, "r", plugin="pyav") as video:
            for picture in video.iter(format="rgba"):
                pictures.append(
                    np.ascontiguousarray(np.rot90(reduced(_opaque_as_rgb(picture), config.max_side), turns))
                )
    except (OSError, FFmpegError, ValueError, IndexError) as error:
        raise no_video(path, error) from error
    if not pictures:
        raise ValueError(f"{path}: no frames in it; convert it to H.264 or to frames")
    fps = video_rate(path)
    if fps <= 0:
        log.warning("%s: no frame rate in the file; %g frames per second assumed (--frames.fps)", path, config.fps)
        fps = config.fps
    digits = len(str(len(pictures) - 1))
    names = [f"{index:0{digits}d}" for index in range(len(pictures))]
    return Pictures(names, pictures, fps, digest)


def _opaque_as_rgb(picture: np.ndarray) -> np.ndarray:
    return picture if picture[..., 3].min() < 255 else picture[..., :3]


def _quarter_turns(path: Path) -> int:
    """Counter-clockwise rotation of the decoded frames by the display matrix, in multiples of 90 degrees."""
    import av

    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            return round(frame.rotation / 90) % 4
    return 0


def write_video(path: Path, frames: Iterable[np.ndarray], fps: float) -> None:
    """Write pictures as H.264 (yuv420p, .mp4), atomically; odd sizes are padded to even ones, as yuv420p requires.

    Args:
        path: ends in .mp4.
        frames: (H, W, 3) uint8 sRGB each, all of one size; taken one at a time.
        fps: frames per second.

    Raises:
        ValueError: no frames, or frames of different size.
    """
    size: tuple[int, ...] | None = None
    with atomic(Path(path)) as temporary, iio.imopen(temporary, "w", plugin="pyav") as video:
        video.init_video_stream("libx264", fps=fps, pixel_format="yuv420p")
        for frame in frames:
            if size is not None and frame.shape != size:
                raise ValueError(f"{path}: a frame of shape {frame.shape} after frames of shape {size}")
            size = frame.shape
            padding = [(0, size[0] % 2), (0, size[1] % 2), (0, 0)]
            video.write_frame(np.ascontiguousarray(np.pad(frame, padding, mode="edge")))
        if size is None:
            raise ValueError(f"{path}: no frames to write as a video")
