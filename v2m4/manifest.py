"""Files of an animation's manifest: ``manifest.json``, and a copy of it from the end of the last stage."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from v2m4.files import atomic

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
BACKUP = ".manifest.backup.json"


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
    text = json.dumps(manifest, indent=1, ensure_ascii=False, default=str)
    for name in (MANIFEST, BACKUP) if durable else (MANIFEST,):
        with atomic(root / name, durable) as temporary:
            temporary.write_text(text, "utf-8", "backslashreplace")


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
