"""Pictures of a video in files: read when they are looked at, so that memory does not grow with the video's length."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

KEPT_BYTES = 64 << 20  # of pictures that were looked at last

Version = tuple[Path, int, int]  # of a file: path, time of the last change, size


class Picture(Protocol):
    """A picture that is read or made when it is looked at."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, 4)."""
        ...

    def pixels(self) -> np.ndarray:
        """The picture, (H, W, 4) uint8."""
        ...


@dataclass(frozen=True)
class StoredPicture:
    """A picture in a file, read when it is looked at.

    Attributes:
        path: of the file, an RGBA picture written by ``encoded``.
        shape: (H, W, 4).
    """

    path: Path
    shape: tuple[int, int, int]

    def pixels(self) -> np.ndarray:
        """The picture, (H, W, 4) uint8, read-only; shared by all who look at it.

        Raises:
            ValueError: the file is broken or of another size.
            OSError: it cannot be read.
        """
        state = self.path.stat()
        version = (self.path, state.st_mtime_ns, state.st_size)
        picture = _kept.find(version)
        if picture is None:
            picture = read_png(self.path)
            if picture.shape != self.shape:
                raise ValueError(f"{self.path}: {picture.shape[:2]} pixels, expected {self.shape[:2]}; use --overwrite")
            picture.flags.writeable = False
            _kept.add(version, picture)
        return picture


class _KeptPictures:
    """The pictures that were looked at last, up to a number of bytes; threads may share it."""

    def __init__(self, limit: int) -> None:
        self.limit, self.bytes = limit, 0
        self.pictures: OrderedDict[Version, np.ndarray] = OrderedDict()
        self.lock = threading.Lock()

    def find(self, version: Version) -> np.ndarray | None:
        """The picture of a file as it was at a time, if it is kept."""
        with self.lock:
            picture = self.pictures.get(version)
            if picture is not None:
                self.pictures.move_to_end(version)
            return picture

    def add(self, version: Version, picture: np.ndarray) -> None:
        """Keep a picture; those that were not looked at for longest go."""
        with self.lock:
            if version in self.pictures:  # another thread read it at the same time
                return
            self.pictures[version] = picture
            self.bytes += picture.nbytes
            while self.bytes > self.limit and len(self.pictures) > 1:
                self.bytes -= self.pictures.popitem(last=False)[1].nbytes


_kept = _KeptPictures(KEPT_BYTES)


def encoded(picture: np.ndarray) -> bytes:
    """Encode an (H, W, 4) uint8 RGBA picture as PNG; ``read_png`` is the exact inverse.

    OpenCV's own settings are its fastest (rows subtracted, run lengths only): a third of the time of Pillow's or of
    deflate at level 1, and smaller for pictures of one object. Neither touches colours under transparent pixels.
    """
    done, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGBA2BGRA))
    if not done:
        raise ValueError(f"a picture of shape {picture.shape} cannot be written as PNG")
    return data.tobytes()


def read_png(path: Path) -> np.ndarray:
    """Read an (H, W, 4) uint8 RGBA picture written by ``encoded``.

    Raises:
        ValueError: the file is broken or was not written by ``encoded``.
        OSError: it cannot be read.
    """
    data = np.frombuffer(path.read_bytes(), np.uint8)
    picture = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if len(data) else None
    if picture is None or picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 4:
        raise ValueError(f"{path}: not a picture that this program has written; delete it or use --overwrite")
    return cv2.cvtColor(picture, cv2.COLOR_BGRA2RGBA)
