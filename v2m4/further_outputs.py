"""The files that are made from a finished animation: contact sheet, conversions to other formats, and its page."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

from torch import Tensor

from v2m4.config import Config
from v2m4.contact_sheet import draw_contact_sheet
from v2m4.export import WEB_ANIMATION
from v2m4.export_formats import WRITERS, convert_with_blender, write_frame_files
from v2m4.formats import need_blender
from v2m4.frame import Clip
from v2m4.frame_figures import frame_figures
from v2m4.io.gltf_web import tool_version, write_web_glb
from v2m4.memory import return_free_memory
from v2m4.mesh import MeshSequence
from v2m4.page import write_report
from v2m4.report import progress
from v2m4.workspace import REPORT, Workspace, digest

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
    record_figures(workspace, sequence, clip)
    draw_contact_sheet(workspace, sequence, extrinsics)
    return_free_memory()
    if config.web:
        key = digest(animation.read_bytes(), tool_version())
        workspace.make_file(WEB_ANIMATION, key, partial(write_web_glb, animation))
    formats = config.format_names
    by_blender = need_blender(formats)
    if by_blender and config.blender_path is not None:
        frames = round(float(clip.seconds[-1]) * clip.fps) + 1  # Blender's time begins at 0
        convert_with_blender(workspace, animation, by_blender, config.blender_path, fps=clip.fps, frames=frames)
    if any(name in formats for name in WRITERS):
        write_frame_files(workspace, animation, [name for name in WRITERS if name in formats])


def record_figures(workspace: Workspace, sequence: MeshSequence, clip: Clip) -> None:
    """Compare the poses of all frames with the frames, and record the result in the manifest as ``figures``.

    Args:
        workspace: the animation's folder, with ``<frame>_rmbg.png``.
        sequence: the poses of all frames, in the video camera's space.
        clip: the video.
    """
    names = [frame.name for frame in clip.frames]
    meshes = (sequence[index] for index in range(len(sequence)))
    figures = frame_figures(workspace.root, names, meshes, clip.frames[0].camera())
    workspace.manifest["figures"] = figures.describe(names)
    text = f"PSNR@{figures.size} {figures.mean_psnr:.2f}, IoU@{figures.size} {figures.mean_iou:.3f}"
    log.info("%s: %s", clip.name, text, extra=progress(text))


def write_report_page(workspace: Workspace, config: Config) -> None:
    """Write ``report.html`` after the last stage, and the figures of the whole animation into the manifest.

    The animation is finished without it, so an error is a warning in the log. A page of an earlier run is removed.

    Args:
        workspace: the animation's folder; its manifest is saved.
        config: the options; ``report`` is used.
    """
    workspace.path(REPORT).unlink(missing_ok=True)  # a page of an earlier run shows another animation
    if config.report == "off":
        return
    workspace.save_manifest()
    try:
        workspace.manifest["figures"] = write_report(workspace.root) | workspace.manifest.get("figures", {})
    except Exception as error:  # whatever it is, the animation itself is whole
        reason = f"{type(error).__name__}: {error}"
        log.warning("%s was not written: %s", workspace.path(REPORT), reason, exc_info=config.verbose)
    workspace.save_manifest()
