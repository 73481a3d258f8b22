"""Manifest of an animation: its files (``manifest.json``, a copy of the last stage's end), and the record of a run."""

from __future__ import annotations

import json
import logging
import math
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from v2m4.files import atomic

if TYPE_CHECKING:  # heavy to import, and not needed to read a manifest
    from v2m4.config import Config
    from v2m4.frame import Clip

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
BACKUP = ".manifest.backup.json"
PACKAGES = ("torch", "numpy", "numba", "scipy", "opencv-python-headless", "xatlas", "trimesh")


def read_manifest(root: Path) -> dict[str, Any]:
    """Contents of a folder's manifest, or of its copy where it is damaged; empty where there is none.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged, and there is no copy of it.
    """
    file = root / MANIFEST
    if not file.exists():
        return {}
    try:
        return _parsed(file)
    except ValueError as error:
        try:
            stored = _parsed(root / BACKUP)
        except (ValueError, FileNotFoundError):
            raise ValueError(f"{file}: damaged ({error}); delete it or use --overwrite") from error
        log.warning("%s: damaged (%s); its copy from the end of the last stage is used", file, error)
        return stored


def write_manifest(root: Path, manifest: dict[str, Any], durable: bool = False) -> None:
    """Write ``manifest.json`` atomically; ``durable`` also synchronises it with the disk, and copies it."""
    text = _formatted(manifest)
    for name in (MANIFEST, BACKUP) if durable else (MANIFEST,):
        with atomic(root / name, durable) as temporary:
            temporary.write_text(text, "utf-8", "backslashreplace")


def _formatted(value: Any, depth: int = 2) -> str:
    """JSON with a line for each entry of the first levels; indented by json itself it takes ten times as long."""
    if depth == 0 or not isinstance(value, dict) or not value:
        return json.dumps(value, ensure_ascii=False, default=str)
    indent = "\n" + " " * (3 - depth)
    entries = (
        f"{json.dumps(str(name), ensure_ascii=False)}: {_formatted(entry, depth - 1)}" for name, entry in value.items()
    )
    return "{" + indent + ("," + indent).join(entries) + indent[:-1] + "}"


def describe_run(clip: Clip, config: Config, learned_parts: Mapping[str, str]) -> dict[str, object]:
    """Return the manifest's record of options, versions, input and learned parts."""
    return {
        "config": config.describe(),
        "seed": config.seed,
        "versions": {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES},
        "input": {"sha256": clip.source, "frames": len(clip.frames), "foreground": clip.foreground},
        "interpolated": [frame.name for frame in clip.absent],
        "fps": clip.fps,
        "fov": round(math.degrees(clip.fov), 6),
        "learned_parts": dict(learned_parts),
    }


def _parsed(file: Path) -> dict[str, Any]:
    """Contents of one file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no manifest, or damaged.
    """
    try:
        stored = json.loads(file.read_text("utf-8"))  # its errors are ValueErrors
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    is_manifest = isinstance(stored, dict) and isinstance(stored.get("config", {}), dict)
    for name in ("artefacts", "stages") if is_manifest else ():
        table = stored.get(name, {})
        is_manifest &= isinstance(table, dict) and all(isinstance(row, dict) for row in table.values())
    if not (is_manifest and isinstance(stored.get("fps", 0), int | float)):
        raise ValueError("not a manifest of this program")
    if not all(isinstance(entry.get("key"), str) for entry in stored.get("artefacts", {}).values()):
        raise ValueError("an entry of its artefacts is no artefact")
    return stored
