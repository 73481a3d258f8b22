"""Which files of a folder are frames, and which are masks beside them.

Masks are recognised by where they lie and how they are called:

- ``NAME_mask.png``, ``mask_NAME.png``, ``NAME.mask.png`` beside ``NAME.jpg``, and ``NAME.png`` that is a mask beside
  ``NAME.jpg``;
- a folder ``masks`` (or another of ``MASK_FOLDERS``) in the folder of frames or beside it, also with a folder of the
  animation's name in it, and ``NAME_masks`` beside ``NAME``;
- the same path below a folder of masks as the frames have below a folder of frames, as in DAVIS:
  ``JPEGImages/480p/NAME`` and ``Annotations/480p/NAME``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from v2m4.io.animated import animated_count
from v2m4.io.masks import may_be_mask, show_the_same
from v2m4.io.names import natural_key
from v2m4.io.picture import HEIF_SUFFIXES

PICTURE_SUFFIXES = (
    frozenset({".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".tga"})
    | frozenset({".gif", ".avif", ".avifs", ".jp2", ".j2k", ".jpf", ".jpx", ".ppm", ".pgm", ".pnm"})
    | HEIF_SUFFIXES
)
MASK_WORDS = ("masks", "mask", "alphas", "alpha", "mattes", "matte", "segmentations", "segmentation", "seg", "matting")
MASK_FOLDERS = frozenset(
    {
        *MASK_WORDS,
        "annotations",
        "annotation",
        "labels",
        "silhouettes",
        "silhouette",
        "foreground_masks",
        "object_masks",
    }
)
FRAME_FOLDERS = ("frames", "images", "rgb", "jpegimages", "imgs", "img", "image", "frame", "color", "rgba", "pictures")
LOSSLESS = (".png", ".gif", ".bmp", ".tif", ".tiff", ".tga")  # formats that masks are kept in
_WORD = "|".join(MASK_WORDS)
MASK_NAME = re.compile(rf"(?:(?:{_WORD})[_.\- ]+(?P<after>.+)|(?P<before>.+?)[_.\- ]+(?:{_WORD}))", re.IGNORECASE)


@dataclass(frozen=True)
class FrameFiles:
    """The frames of a folder.

    Attributes:
        pictures: in natural order.
        masks: of each picture, None where it has none; empty where no picture has one.
        where: the folder of the masks, for the log; empty where there are none.
    """

    pictures: list[Path]
    masks: list[Path | None]
    where: str = ""


def list_pictures(folder: Path) -> list[Path]:
    """The picture files of a folder in natural order; hidden files and other file types are ignored."""
    return sorted(
        (file for file in folder.iterdir() if is_visible(file) and is_picture(file)),
        key=lambda file: natural_key(file.name),
    )


def not_files(folder: Path) -> list[Path]:
    """What is called as pictures are but is no file, in natural order: folders, links to nothing, pipes."""
    named = (path for path in folder.iterdir() if is_visible(path) and path.suffix.lower() in PICTURE_SUFFIXES)
    return sorted((path for path in named if not path.is_file()), key=lambda path: natural_key(path.name))


def missing_number(names: Sequence[str]) -> tuple[str, str] | None:
    """The names before and behind the first gap in the numbers of frames that otherwise ascend by one step.

    Args:
        names: without suffix, in natural order; where any is not a common text and a number, there is no gap.
    """
    matches = [re.fullmatch(r"(.*?)(\d+)", name, re.DOTALL) for name in names]
    found = [(match[1], int(match[2])) for match in matches if match is not None]
    if len(found) < max(len(names), 3) or len({text for text, _ in found}) > 1:
        return None
    steps = [second - first for (_, first), (_, second) in pairwise(found)]
    usual = min(steps)
    if usual < 1 or 2 * steps.count(usual) <= len(steps):
        return None
    gap = next((index for index, step in enumerate(steps) if step != usual), None)
    return None if gap is None else (names[gap], names[gap + 1])


def is_visible(path: Path) -> bool:
    """Whether a file or folder is neither hidden nor a leftover of macOS or of a file server."""
    return not path.name.startswith((".", "__MACOSX", "@eaDir"))


def is_picture(path: Path) -> bool:
    """Whether a file has the suffix of a picture."""
    return path.suffix.lower() in PICTURE_SUFFIXES and path.is_file()


def is_mask_folder(folder: Path) -> bool:
    """Whether a folder is called as folders of masks are, and a picture in or below it looks like one."""
    if not has_mask_name(folder):
        return False
    level = [folder]
    for _ in range(3):
        for each in level:
            if pictures := list_pictures(each):
                return may_be_mask(pictures[len(pictures) // 2])
        level = [child for each in level for child in _children(each, lambda _: True)]
    return False


def has_mask_name(folder: Path) -> bool:
    """Whether a folder is called as folders of masks are."""
    name = folder.name.casefold()
    return name in MASK_FOLDERS or _of_mask_name(name) is not None


def frame_files(folder: Path) -> FrameFiles:
    """The frames of a folder, each with its mask.

    Animated pictures beside still ones are left out.

    Raises:
        ValueError: there are none.
    """
    files = list_pictures(folder)
    if len(files) > 1 and (still := [file for file in files if not animated_count(file)]):
        files = still
    if not files:
        raise ValueError(f"{folder}: no pictures in it ({listed(PICTURE_SUFFIXES)}); add frames or remove the folder")
    pictures, masks = _masks_beside(files)
    if masks:
        return FrameFiles(pictures, [masks.get(file) for file in pictures], str(files[0].parent))
    for candidate in _mask_folders(folder):
        found = _matched(files, list_pictures(candidate))
        if found and may_be_mask(next(iter(found.values()))):
            return FrameFiles(files, [found.get(file) for file in files], str(candidate))
    return FrameFiles(pictures, [])


def listed(suffixes: Iterable[str]) -> str:
    """Suffixes for an error message."""
    return " ".join(sorted(suffixes))


def _of_mask_name(stem: str) -> str | None:
    """The frame's name that a mask's name contains; None where it is no mask's name."""
    match = MASK_NAME.fullmatch(stem)
    return None if match is None else match["after"] or match["before"]


def _masks_beside(files: Sequence[Path]) -> tuple[list[Path], dict[Path, Path]]:
    """Split the pictures of a folder into frames and the masks of some of them."""
    named = [file for file in files if _of_mask_name(file.stem.casefold()) is not None]
    others = [file for file in files if file not in set(named)]
    if named and others and may_be_mask(named[len(named) // 2]) and (masks := _matched(others, named)):
        return others, masks
    by_stem: dict[str, list[Path]] = {}
    for file in files:
        by_stem.setdefault(file.stem.casefold(), []).append(file)
    masks = {}
    for same in by_stem.values():  # NAME.jpg and NAME.png
        if len(same) == 2:
            frame, mask = sorted(same, key=lambda file: file.suffix.lower() in LOSSLESS)
            lossless = mask.suffix.lower() in LOSSLESS and frame.suffix.lower() != mask.suffix.lower()
            if lossless and may_be_mask(mask) and not show_the_same(frame, mask):
                masks[frame] = mask
    taken = set(masks.values())
    return [file for file in files if file not in taken], masks


def _mask_folders(folder: Path) -> Iterator[Path]:
    """Folders that may hold the masks of a folder of frames, the most likely first."""
    folder = folder.resolve()
    parent, name = folder.parent, folder.name.casefold()
    yield from _children(folder, lambda child: child in MASK_FOLDERS)
    if name in FRAME_FOLDERS:
        yield from _children(parent, lambda child: child in MASK_FOLDERS)
    yield from _children(parent, lambda child: _of_mask_name(child) == name)
    for holder in _children(parent, lambda child: child in MASK_FOLDERS):
        yield from _children(holder, name.__eq__)
    below: list[str] = []
    for ancestor in list(folder.parents)[:3]:
        below.insert(0, folder.relative_to(ancestor).parts[0].casefold())
        if ancestor.name.casefold() in FRAME_FOLDERS:
            for holder in _children(ancestor.parent, lambda child: child in MASK_FOLDERS):
                yield from _below(holder, below)


def _below(holder: Path, parts: Sequence[str]) -> Iterator[Path]:
    """The folder of a relative path below another; a folder of another resolution is taken for the first part."""
    level = [holder]
    for part in parts:
        level = [child for each in level for child in _children(each, part.__eq__)]
    yield from level
    if len(parts) > 1:
        for child in _children(holder, lambda _: True):
            yield from _children(child, parts[-1].__eq__)
    yield from _children(holder, parts[-1].__eq__)


def _children(folder: Path, wanted: Callable[[str], bool]) -> list[Path]:
    """The folders in a folder whose case-folded name is wanted, in natural order."""
    try:
        found = [child for child in folder.iterdir() if is_visible(child) and wanted(child.name.casefold())]
    except OSError:
        return []
    return sorted((child for child in found if child.is_dir()), key=lambda child: natural_key(child.name))


def _matched(pictures: Sequence[Path], masks: Sequence[Path]) -> dict[Path, Path]:
    """Masks of pictures: by name, else by the last number in the name, else by order where there are equally many."""
    by_name = {mask.stem.casefold(): mask for mask in masks}
    by_name |= {name: mask for mask in masks if (name := _of_mask_name(mask.stem.casefold())) is not None}
    found = {file: by_name[file.stem.casefold()] for file in pictures if file.stem.casefold() in by_name}
    if found:
        return found
    numbers = {_number(mask): mask for mask in masks}
    if None not in numbers and len(numbers) == len(masks):
        found = {file: numbers[number] for file in pictures if (number := _number(file)) in numbers}
        if len(found) > len(pictures) / 2:
            return found
    return dict(zip(pictures, masks, strict=True)) if len(pictures) == len(masks) else {}


def _number(file: Path) -> int | None:
    """The last number in a file's name."""
    digits = re.findall(r"\d+", file.stem)
    return int(digits[-1]) if digits else None
