"""The files that are made from a finished animation: contact sheet, conversions to other formats, and its page."""

from __future__ import annotations

import logging
from pathlib import Path

from torch import Tensor

from v2m4.config import Config
from v2m4.contact_sheet import draw_contact_sheet
from v2m4.frame import Clip
from v2m4.io.blender import export_with_blender
from v2m4.mesh import MeshSequence
from v2m4.page import REPORT, write_report
from v2m4.workspace import Workspace

log = logging.getLogger(__name__)


def write_further_outputs(
    workspace: Workspace, animation: Path, sequence: MeshSequence, extrinsics: Tensor, clip: Clip, config: Config
) -> None:
    """Write what the options ask for beside ``output_animation.glb``.

    Args:
        workspace: the animation's folder.
        animation: the exported GLB.
        sequence: the poses of all frames, in the video camera's space.
        extrinsics: (4, 4), the video camera in the upright world, in the same units.
        clip: the video.
        config: the options.

    Raises:
        RuntimeError: a conversion failed.
        OSError: a file cannot be written.
    """
    draw_contact_sheet(workspace, sequence, extrinsics)
    if config.blender_path is not None:
        frames = round(float(clip.seconds[-1]) * clip.fps) + 1  # Blender's time begins at 0
        export_with_blender(animation, config.blender_path, fps=clip.fps, frames=frames)


def write_report_page(workspace: Workspace, config: Config) -> None:
    """Write ``report.html`` after the last stage, and the figures of the whole animation into the manifest.

    The animation is finished without it, so an error is a warning in the log. A page of an earlier run is removed.

    Args:
        workspace: the animation's folder; its manifest is saved.
        config: the options; ``report`` is used.
    """
    workspace.manifest.pop("figures", None)
    workspace.path(REPORT).unlink(missing_ok=True)  # a page of an earlier run shows another animation
    if config.report == "off":
        return
    workspace.save_manifest()
    try:
        workspace.manifest["figures"] = write_report(workspace.root)
    except Exception as error:  # whatever it is, the animation itself is whole
        reason = f"{type(error).__name__}: {error}"
        log.warning("%s was not written: %s", workspace.path(REPORT), reason, exc_info=config.verbose)
    workspace.save_manifest()
