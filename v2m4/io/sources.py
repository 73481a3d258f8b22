"""Find animations on disk: folders of pictures, video files, animated pictures."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from v2m4.io.animated import animated_count, is_misnamed_video
from v2m4.io.folder import (
    FRAME_FOLDERS,
    PICTURE_SUFFIXES,
    frame_files,
    has_mask_name,
    is_mask_folder,
    is_picture,
    is_visible,
    list_pictures,
    listed,
)
from v2m4.io.names import natural_key, safe_name
from v2m4.io.picture import opened_picture
from v2m4.io.video import frame_count, is_video
from v2m4.workspace import MANIFEST

log = logging.getLogger(__name__)

VIDEO_SUFFIXES = (
    frozenset({".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".f4v", ".mj2"})
    | frozenset({".webm", ".mkv", ".avi", ".divx", ".wmv", ".asf", ".flv", ".ogv", ".mxf", ".nut", ".y4m", ".dv"})
    | frozenset({".mpg", ".mpeg", ".mpe", ".m1v", ".m2v", ".ts", ".mts", ".m2ts", ".vob", ".h264", ".264", ".h265"})
    | frozenset({".hevc", ".265", ".ivf", ".rm", ".rmvb"})
)
COMMON_VIDEO_SUFFIXES = (".mp4", ".mov", ".webm", ".mkv", ".avi", ".m4v", ".mpg", ".wmv", ".gif")
MAX_DEPTH = 3  # folders below the root


@dataclass(frozen=True)
class Source:
    """One animation on disk.

    Attributes:
        name: safe as a folder name, unique among the animations of one root.
        path: the folder of pictures, or the file of a video or of an animated picture.
        kind: of the path.
        count: number of pictures (of a video file by its header; 0 if unknown or unreadable).
    """

    name: str
    path: Path
    kind: Literal["folder", "video"]
    count: int


def find_animations(root: Path) -> list[Source]:
    """The animations of a folder, in natural order.

    Args:
        root: a folder of frame folders and video files, as V2M4 has it. A folder of pictures, or one video file or
            animated picture, counts as one animation. Folders without pictures and folders of masks are ignored; frames
            may lie in a folder such as ``frames`` or ``images`` within the animation's. Where nothing is found, the
            folders below are searched as well.

    Raises:
        FileNotFoundError: there is no such folder, or no animation in it.
    """
    root = Path(root)
    if not root.exists():
        raise FileNotFoundError(f"{root}: no such folder; give --root a folder of frame folders or video files")
    if root.is_file():
        return [_file_source(root)]
    found = _animations_in(root)
    level = [root]
    for _ in range(MAX_DEPTH - 1):
        if found:
            break
        level = [folder for each in level for folder in _folders(each) if not (folder / MANIFEST).is_file()]
        found = [(path, name) for folder in level for path, name in _animations_in(folder)]
    if not found:
        raise FileNotFoundError(
            f"{root}: no animation in it; put each animation there as a folder of pictures"
            f" ({listed(PICTURE_SUFFIXES)}) or as a video file ({' '.join(COMMON_VIDEO_SUFFIXES)}, ...)"
        )
    return _named(found)


def _animations_in(root: Path) -> list[tuple[Path, str]]:
    """Paths and names of the animations of one folder; it may be one itself."""
    folders, videos, stills = _folders(root), _videos(root), _stills(root)
    if len(stills) > 1:  # what is called masks beside frames is no animation, whatever it looks like
        folders = [folder for folder in folders if not has_mask_name(folder)]
    held = {folder: frames for folder in folders if (frames := _frame_folder(folder)) is not None}
    clips = [path for path in videos if not is_picture(path)]  # animated pictures beside frames are previews of them
    if stills and not held and not clips and not (videos and len(stills) == 1):
        if videos:
            log.info("%s: %d animated pictures beside the frames are passed over", root, len(videos))
        return [(root, root.resolve().name)]
    if stills:
        log.warning("%s: %d pictures beside the animations are passed over", root, len(stills))
    found = [(path, path.stem) for path in videos] + [(frames, folder.name) for folder, frames in held.items()]
    rest = [folder for folder in folders if folder not in held]
    empty = [folder for folder in rest if not any(is_visible(path) for path in folder.iterdir())]
    if found or len(empty) == len(rest):
        found += [(folder, folder.name) for folder in empty]  # without frames, which is an error when they are read
        for folder in rest:
            if folder not in empty:
                log.info("%s: no pictures in it, passed over", folder)
    return found


def _folders(root: Path) -> list[Path]:
    """The visible folders of a folder without those of masks, in natural order."""
    folders = [path for path in root.iterdir() if is_visible(path) and path.is_dir() and not is_mask_folder(path)]
    return sorted(folders, key=lambda path: natural_key(path.name))


def _videos(folder: Path) -> list[Path]:
    """The video files and animated pictures of a folder, in natural order."""
    files = [path for path in folder.iterdir() if is_visible(path) and _moves(path)]
    return sorted(files, key=lambda path: natural_key(path.name))


def _stills(folder: Path) -> list[Path]:
    return [file for file in list_pictures(folder) if not _moves(file)]


def _moves(path: Path) -> bool:
    """Whether a file is a video by its name, or an animated picture or a misnamed video by its content."""
    if _is_video_name(path):
        return True
    return is_picture(path) and (animated_count(path) > 0 or is_misnamed_video(path))


def _is_video_name(path: Path) -> bool:
    """Whether a file has the suffix of a video; ``.ts`` is one of TypeScript too."""
    suffix = path.suffix.lower()
    if suffix not in VIDEO_SUFFIXES or not path.is_file():
        return False
    if suffix == ".ts":
        with path.open("rb") as stream:
            return stream.read(1) == b"\x47"
    return True


def _frame_folder(folder: Path) -> Path | None:
    """Where an animation's frames lie: a folder, one named ``frames`` or the like in it, or the one video in it."""
    stills = _stills(folder)
    if len(stills) < 2:
        nested = {child.name.casefold(): child for child in _folders(folder)}
        for name in FRAME_FOLDERS:
            if name in nested and len(list_pictures(nested[name])) > len(stills):
                return nested[name]
    videos = _videos(folder)
    if len(videos) == 1 and len(stills) < 2:  # beside a poster at most
        return videos[0]
    return folder if stills else None


def _named(found: Sequence[tuple[Path, str]]) -> list[Source]:
    """Sources of paths, with unique names.

    Raises:
        FileNotFoundError: two animations would have one name.
    """
    sources: dict[str, Source] = {}
    for path, wanted in sorted(found, key=lambda item: item[0].is_file()):
        for name in (
            safe_name(wanted),
            safe_name(path.name.replace(".", "_")),
            safe_name(f"{path.parent.name}_{wanted}"),
        ):
            if name.casefold() not in sources:
                break
        else:
            raise FileNotFoundError(f"{path}: another animation is called {name!r} too; rename one of them")
        sources[name.casefold()] = _source(path, name)
    return sorted(sources.values(), key=lambda source: natural_key(source.name))


def _source(path: Path, name: str) -> Source:
    if path.is_dir():
        return Source(name, path, "folder", len(frame_files(path).pictures) if list_pictures(path) else 0)
    return Source(name, path, "video", animated_count(path) or frame_count(path))


def _file_source(path: Path) -> Source:
    """The animation in one file, of whatever name.

    Raises:
        FileNotFoundError: it is neither a video nor an animated picture.
    """
    if _moves(path) or animated_count(path):
        return _source(path, safe_name(path.stem))
    if is_picture(path):
        try:
            with opened_picture(path):
                pass
        except ValueError as error:
            raise FileNotFoundError(str(error)) from error
        raise FileNotFoundError(f"{path}: not a video file but a still picture; give a folder of frames or a video")
    if is_video(path):
        return _source(path, safe_name(path.stem))
    raise FileNotFoundError(
        f"{path}: not a video file ({' '.join(COMMON_VIDEO_SUFFIXES)}, ...); give a folder or a video"
    )
