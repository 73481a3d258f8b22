"""What ``--formats`` needs: known names, and Blender for some of them."""

from __future__ import annotations

from dataclasses import replace

from v2m4.config import Config
from v2m4.formats import need_blender
from v2m4.io.blender_install import INSTALL, Blender, find_blender
from v2m4.weights import Unavailable


def resolve(config: Config) -> Config:
    """The options with the formats written out and ``blender_path`` that of the Blender found, if any.

    Raises:
        Unavailable: in one line: a format is not known, or needs Blender and there is none.
    """
    try:
        names = config.format_names
    except ValueError as error:
        raise Unavailable(f"--formats {error}") from error
    given, needing = config.blender_path, need_blender(names)
    blender = find_blender() if given is None else Blender(given, "--blender_path")
    if blender is not None and not blender.path.exists():
        if given is not None or needing:
            raise Unavailable(f"{blender.source} {blender.path}: no such file or folder")
        blender = None
    if needing and blender is None:
        raise Unavailable(
            f"--formats {','.join(needing)}: needs Blender; give --blender_path where one is unpacked, or run {INSTALL}"
        )
    return replace(config, formats=",".join(names), blender_path=None if blender is None else blender.path)
