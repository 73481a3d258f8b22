"""The results of main.py on disk: which folders hold them."""

from __future__ import annotations

from pathlib import Path

from v2m4.export import CAMERAS
from v2m4.io.names import natural_key
from v2m4.workspace import MANIFEST

BASELINE_MESH = "{}_baseline_sample.glb"


def find_results(path: Path) -> list[Path]:
    """The result folders of all animations in natural order; ``path`` itself where it is one.

    Raises:
        FileNotFoundError: there is none.
    """
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: no such folder; give the folder that main.py wrote")
    if is_result(path):
        return [path]
    folders = [folder for folder in path.iterdir() if folder.is_dir() and is_result(folder)]
    if not folders:
        raise FileNotFoundError(f"{path}: no results in it; run main.py first, or give its --output folder")
    return sorted(folders, key=lambda folder: natural_key(folder.name))


def is_result(folder: Path) -> bool:
    """Whether ``main.py`` wrote this folder for one animation."""
    return any((folder / name).is_file() for name in (CAMERAS, MANIFEST)) or bool(baseline_names(folder))


def baseline_names(folder: Path) -> list[str]:
    """Names of the frames with a mesh of ``main.py --baseline``, in natural order."""
    suffix = BASELINE_MESH.format("")
    return sorted((file.name.removesuffix(suffix) for file in folder.glob(f"*{suffix}")), key=natural_key)
