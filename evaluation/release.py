"""The folder of a benchmark release in the layout of Motion-80 (Motion 3-to-4, arXiv 2601.14253).

    short_videos.txt, long_videos.txt    the names of the samples, one a line
    images/<name>_images/camera_0/       the frames of the video, as pictures in natural order
    pcds/<name>_pointclouds/             the true meshes, see ``evaluation.mesh_folder``

The reference code keeps the two lists elsewhere (``dataset/`` of its repository), so their folder can be named. Meshes
in ``glbs/`` have the same surface as the first true mesh, which is read from ``pcds/`` instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from v2m4.io.names import safe_name

Length = Literal["short", "long"]
LENGTHS: tuple[Length, ...] = ("short", "long")


class ReleaseError(ValueError):
    """The release cannot be evaluated; the message is one line that says where and why."""


@dataclass(frozen=True)
class ReleaseSample:
    """One video of the release.

    Attributes:
        name: as in its list; it may hold spaces and other characters that file names cannot on every system.
        length: the list that it is in.
        frames: its folder of pictures.
        truth: its folder of true meshes.
    """

    name: str
    length: Length
    frames: Path
    truth: Path

    @property
    def safe_name(self) -> str:
        """The name as that of a folder."""
        return safe_name(self.name)


def read_release(folder: Path, lists: Path | None = None) -> list[ReleaseSample]:
    """Read which samples a release has, short ones first; their files are not looked at.

    Args:
        folder: of the release.
        lists: the folder of the two lists; None is the release's own.

    Raises:
        ReleaseError: the folder or a list does not exist, is not readable, or names no sample, or one twice.
    """
    if not folder.is_dir():
        raise ReleaseError(f"{folder}: no such folder")
    samples = []
    for length in LENGTHS:
        for name in _read_list((lists or folder) / f"{length}_videos.txt"):
            frames, truth = folder / "images" / f"{name}_images" / "camera_0", folder / "pcds" / f"{name}_pointclouds"
            samples.append(ReleaseSample(name, length, frames, truth))
    if not samples:
        raise ReleaseError(f"{lists or folder}: both lists are empty")
    sample_of: dict[str, ReleaseSample] = {}
    for sample in samples:
        other = sample_of.setdefault(sample.safe_name.casefold(), sample)
        if other is not sample:
            raise ReleaseError(f"{lists or folder}: {sample.name!r} and {other.name!r} name the same output folder")
    return samples


def _read_list(file: Path) -> list[str]:
    """The lines of a list that are not empty."""
    try:
        lines = file.read_text("utf-8").splitlines()
    except FileNotFoundError as error:
        raise ReleaseError(f"{file}: no such list of samples; name the folder of the lists with --lists") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ReleaseError(f"{file}: not readable as a list of samples ({error})") from error
    return [line.strip() for line in lines if line.strip()]
