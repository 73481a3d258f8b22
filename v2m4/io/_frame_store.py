"""Arrays of a clip's frames, in files while the clip is read and segmented, so that memory does not grow with it.

The files carry checksums and lie in a folder of one key, so that a run that was killed goes on with what is there.
"""

from __future__ import annotations

import io
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from v2m4.files import atomic
from v2m4.on_demand import OnDemand
from v2m4.threads import in_order

KEY = "key.txt"
DECODED = "decoded"  # series of a clip's pictures before segmentation
PACKED = 1  # zlib's level for masks and cut-outs, of which large parts are constant; other arrays hardly shrink

Item = TypeVar("Item")


class LazyFrames(OnDemand[Item]):
    """One item of every frame, read or computed when it is looked at; threads may share it.

    Args:
        count: number of frames.
        make: returns the item of a frame; always the same.
        kept: items that were looked at last and are kept.
    """

    def __init__(self, count: int, make: Callable[[int], Item], kept: int = 0) -> None:
        super().__init__(count, make, lambda item: 1, kept)


class SomeFrames(Mapping[int, np.ndarray]):
    """An array of some frames, by the frame's number, read when it is looked at."""

    def __init__(self, numbers: Sequence[int], arrays: Sequence[np.ndarray]) -> None:
        self._place = {number: place for place, number in enumerate(numbers)}
        self._arrays = arrays

    def __getitem__(self, number: int) -> np.ndarray:
        return self._arrays[self._place[number]]

    def __iter__(self) -> Iterator[int]:
        return iter(self._place)

    def __len__(self) -> int:
        return len(self._place)


class FrameStore:
    """Arrays by the name of a series and the number of a frame; threads may share it.

    Args:
        folder: for files; None keeps the arrays in memory.
        key: digest of everything that determines the arrays; files of another key are removed.

    Raises:
        OSError: the folder cannot be written.
    """

    def __init__(self, folder: Path | None = None, key: str = "") -> None:
        self._folder = folder
        self._arrays: dict[tuple[str, int], np.ndarray] = {}
        if folder is not None and not _is_of(folder, key):
            shutil.rmtree(folder, ignore_errors=True)
            with atomic(folder / KEY) as temporary:
                temporary.write_text(key, "utf-8")

    def find(self, series: str, number: int = 0) -> np.ndarray | None:
        """The array; None where it is missing or its file is damaged."""
        if self._folder is None:
            return self._arrays.get((series, number))
        try:
            data = zlib.decompress(self._file(series, number).read_bytes())
            return np.load(io.BytesIO(data), allow_pickle=False)
        except (FileNotFoundError, zlib.error, ValueError, EOFError):
            return None

    def read(self, series: str, number: int = 0) -> np.ndarray:
        """The array.

        Raises:
            ValueError: it is missing or damaged.
        """
        found = self.find(series, number)
        if found is None:
            where = series if self._folder is None else self._file(series, number)
            raise ValueError(f"{where}: lost or damaged while it was in use; run the same command again")
        return found

    def write(self, series: str, number: int, array: np.ndarray, packed: bool = False) -> None:
        """Store an array in place of an earlier one.

        Args:
            series: name of a folder.
            number: of the frame.
            array: of numbers or text.
            packed: compress its file.
        """
        if self._folder is None:
            self._arrays[series, number] = array
            return
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, np.ascontiguousarray(array), allow_pickle=False)
        with atomic(self._file(series, number)) as temporary:
            temporary.write_bytes(zlib.compress(buffer.getbuffer(), PACKED if packed else 0))

    def made(self, series: str, number: int, make: Callable[[], np.ndarray], packed: bool = False) -> np.ndarray:
        """The array, computed by ``make()`` and stored where it is missing."""
        found = self.find(series, number)
        if found is None:
            found = make()
            self.write(series, number, found, packed)
        return found

    def series(
        self, name: str, count: int, make: Callable[[int], np.ndarray], packed: bool = False, kept: int = 0
    ) -> LazyFrames[np.ndarray]:
        """Compute and store what is missing of a series, on several threads.

        Args:
            name: of the series.
            count: its length.
            make: returns the array of a number; may not depend on which were computed before.
            packed: compress the files.
            kept: see ``LazyFrames``.
        """

        def store(number: int) -> None:
            self.made(name, number, lambda: make(number), packed)

        in_order(store, range(count))
        return self.stored(name, count, kept)

    def stored(self, name: str, count: int, kept: int = 0) -> LazyFrames[np.ndarray]:
        """A series that has been stored."""
        return LazyFrames(count, lambda number: self.read(name, number), kept)

    def remove(self, *series: str) -> None:
        """Remove series, by default all of them and the folder."""
        for key in [key for key in self._arrays if not series or key[0] in series]:
            del self._arrays[key]
        if self._folder is not None:
            for folder in [self._folder / name for name in series] or [self._folder]:
                shutil.rmtree(folder, ignore_errors=True)

    def _file(self, series: str, number: int) -> Path:
        assert self._folder is not None
        return self._folder / series / f"{number:06d}.npy.z"


class FrameList(LazyFrames[np.ndarray]):
    """A series of a store to which frames are appended."""

    def __init__(self, store: FrameStore, name: str, count: int = 0) -> None:
        super().__init__(count, lambda number: store.read(name, number))
        self._store, self._name = store, name

    def append(self, array: np.ndarray) -> None:
        """Store one more frame."""
        self._store.write(self._name, self._count, array)
        self._count += 1


@dataclass(frozen=True)
class FramePicture:
    """A segmented picture of a clip, see ``v2m4.frame.Frame``.

    Attributes:
        pictures: RGBA of all frames.
        number: of this frame.
        shape: (H, W, 4).
    """

    pictures: Sequence[np.ndarray]
    number: int
    shape: tuple[int, int, int]

    def pixels(self) -> np.ndarray:
        """The picture, (H, W, 4) uint8."""
        return self.pictures[self.number]


def _is_of(folder: Path, key: str) -> bool:
    """Whether a folder's files are of a key."""
    try:
        return (folder / KEY).read_text("utf-8") == key
    except (OSError, ValueError):
        return False
