"""Extract the one model of a .zip, as Sketchfab and asset shops pack them, with limits on what is unpacked."""

from __future__ import annotations

import contextlib
import lzma
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

MODEL_FORMATS = (".glb", ".gltf", ".vrm", ".obj", ".ply", ".stl", ".off", ".fbx")
MAX_FILES = 10_000
MAX_BYTES = 4 << 30  # unpacked, all files together
MAX_RATIO, RATIO_FROM = 200, 64 << 20  # of unpacked to packed size, for archives that unpack to more than RATIO_FROM
# What zipfile raises for broken archives, and what comes of names that are too long or a file's and a folder's at once.
BROKEN = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, OSError, EOFError, RuntimeError, UnicodeError),
    LookupError,  # an entry without a name
)
NAME_ENCODINGS = ("utf-8", "gb18030", "cp932", "euc_kr", "cp1251")  # of names that are not marked as UTF-8


def find_model(path: Path) -> str:
    """The name of the one model in a .zip, or in the one .zip that lies in it.

    Raises:
        ValueError: there is none or there are several (they are listed), or the archive is broken, encrypted, too
            large, or has names that lead out of it.
    """
    with _opened(path) as archive:
        files = _files(archive, path)
        models = _models(files, path)
        return models[0] if models else next(name for name in files if name.lower().endswith(".zip"))


def extract_model(path: Path, folder: Path) -> Path:
    """Extract a .zip; returns the path of its one model.

    The model lies in ``folder`` itself with the files beside and below it; all others lie in a folder below, so that
    references to them are found by name (a model in ``source/`` with its pictures in ``textures/``).

    Args:
        path: the archive.
        folder: an empty folder.

    Raises:
        ValueError: as ``find_model``.
    """
    with _opened(path) as archive:
        files = _files(archive, path)
        models = _models(files, path)
        if not models:
            return _extract_inner(archive, files, path, folder)
        own = PurePosixPath(models[0]).parent
        left = MAX_BYTES
        for name, entry in files.items():
            inside = PurePosixPath(name).is_relative_to(own)
            target = folder / (PurePosixPath(name).relative_to(own) if inside else PurePosixPath("_beside", name))
            left = _extract(archive, entry, target, left, path)
        return folder / PurePosixPath(models[0]).name


def _extract_inner(archive: zipfile.ZipFile, files: dict[str, zipfile.ZipInfo], path: Path, folder: Path) -> Path:
    """Extract the model of the one .zip in a .zip, and the files beside it."""
    inner = next(name for name in files if name.lower().endswith(".zip"))
    left = MAX_BYTES
    for name, entry in files.items():
        if name != inner:
            left = _extract(archive, entry, folder / "_outer" / name, left, path)
    with tempfile.TemporaryDirectory() as temporary:
        packed = Path(temporary) / PurePosixPath(inner).name
        _extract(archive, files[inner], packed, left, path)
        with _opened(packed) as nested:
            if not _models(_files(nested, packed), packed, nested=False):
                raise ValueError(_no_model(path))
        return extract_model(packed, folder)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """The archive; its errors become ValueErrors that name it."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except BROKEN as error:
        raise ValueError(
            f"{path}: the .zip cannot be unpacked ({error}); pack it anew, or unpack it yourself"
        ) from error


def _files(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    """The files of an archive by name, those of operating systems left out.

    Raises:
        ValueError: they are too many or too large, encrypted, or lead out of the archive.
    """
    entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    size, packed = sum(entry.file_size for entry in entries), sum(entry.compress_size for entry in entries)
    if len(entries) > MAX_FILES or size > MAX_BYTES or (size > RATIO_FROM and size > MAX_RATIO * packed):
        raise ValueError(
            f"{path}: unpacks to {len(entries)} files and {size / 2**20:.0f} MiB from {packed / 2**20:.1f};"
            " too large for a mesh, unpack it yourself and give the mesh file"
        )
    files: dict[str, zipfile.ZipInfo] = {}
    for entry in entries:
        name = _names(entry)[0]
        parts = PurePosixPath(name).parts
        if name.startswith("/") or ".." in parts or ":" in parts[0] or "\0" in name:
            raise ValueError(f"{path}: not unpacked, a file in it has a path out of the archive: {name!r}")
        if stat.S_ISLNK(entry.external_attr >> 16) or parts[0] == "__MACOSX" or parts[-1].startswith("._"):
            continue
        if entry.flag_bits & 1:
            raise ValueError(f"{path}: encrypted; unpack it and give the mesh file in it")
        files[name] = entry
    return files


def _names(entry: zipfile.ZipInfo) -> list[str]:
    """The name of a file in each encoding that its archiver may have written it in, the likeliest first."""
    names = [entry.filename]
    if not entry.flag_bits & 0x800:  # not marked as UTF-8
        raw = entry.filename.encode("cp437", "replace")
        decoded = []
        for encoding in NAME_ENCODINGS:
            with contextlib.suppress(UnicodeDecodeError):
                decoded.append(raw.decode(encoding))
        names = decoded[:1] if decoded and raw.isascii() else [*decoded, *names]
    tidied = ("/".join(part for part in name.replace("\\", "/").split("/") if part != ".") for name in names)
    return list(dict.fromkeys(tidied))


def _models(files: dict[str, zipfile.ZipInfo], path: Path, nested: bool = True) -> list[str]:
    """The one model among files; none where there is one .zip instead, and ``nested`` allows it.

    Raises:
        ValueError: there is neither, or there are several models.
    """
    models = [name for name in files if name.lower().endswith(MODEL_FORMATS)]
    if len(models) > 1:
        listed = ", ".join(sorted(models)[:10]) + (", ..." if len(models) > 10 else "")
        raise ValueError(f"{path}: {len(models)} models in it ({listed}); unpack it and give one of them")
    if not models and (not nested or sum(name.lower().endswith(".zip") for name in files) != 1):
        raise ValueError(_no_model(path))
    return models


def _no_model(path: Path) -> str:
    return f"{path}: no model in it; looked for {' '.join(MODEL_FORMATS)}"


def _extract(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, left: int, path: Path) -> int:
    """Write a file of an archive; returns how many more bytes may be unpacked.

    Raises:
        ValueError: it unpacks to more than the archive says, or than is left.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    limit = min(entry.file_size, left)
    with archive.open(entry) as source, target.open("wb") as file:
        shutil.copyfileobj(_Limited(source, limit, path), file, 1 << 20)
    for name in _names(entry)[1:]:  # other files refer to it in their own encoding
        other = target.with_name(PurePosixPath(name).name)
        if "\0" not in name and not other.exists():
            shutil.copyfile(target, other)
    return left - entry.file_size


class _Limited:
    """A stream that refuses to give more than a number of bytes."""

    def __init__(self, stream: object, limit: int, path: Path) -> None:
        self._stream, self._left, self._path = stream, limit, path

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        data: bytes = self._stream.read(size)  # type: ignore[attr-defined]
        self._left -= len(data)
        if self._left < 0:
            raise ValueError(f"{self._path}: unpacks to more than it says; it is not unpacked")
        return data
