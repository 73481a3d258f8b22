"""Write report.html of one animation."""

from __future__ import annotations

import json
import logging
import re
import time
from pathlib import Path
from typing import Any

from v2m4.memory import return_free_memory
from v2m4.page.curves import read_curves
from v2m4.page.html import json_element, page_text, script
from v2m4.page.measure import Figures, measure
from v2m4.page.model import embedded_model, embedded_skeleton
from v2m4.page.pictures import FramePictures, frame_pictures
from v2m4.page.run import Run
from v2m4.page.sections import (
    cost_section,
    curves_section,
    figures_section,
    header,
    settings_section,
    stages_section,
    viewer,
    warnings_section,
)
from v2m4.page.stages import stage_pictures
from v2m4.workspace import REPORT, atomic

log = logging.getLogger(__name__)

SUMMARY = "figures"  # id of the element with the figures of the whole animation, at the beginning of the page
SUMMARY_WITHIN = 4096  # bytes of the page
PAGE_LIMIT = 15_000_000  # bytes
MARGIN = 100_000  # bytes for what is estimated
MODEL_SHARE = 0.65  # of what the fixed parts leave; the frames get the rest


def write_report(folder: Path, limit: int = PAGE_LIMIT) -> dict[str, Any]:
    """Write ``report.html`` into an animation's folder, from the files in it.

    Args:
        folder: of a finished animation.
        limit: size that the page stays below, bytes.

    Returns:
        The figures of the whole animation (``Figures.summary``).

    Raises:
        ValueError: a file of the animation is missing or damaged, or the page cannot be made small enough.
        OSError: a file cannot be read or written.
    """
    start = time.perf_counter()
    run = Run.read(folder)
    figures = measure(run)
    return_free_memory()
    summary = figures.summary()
    skeleton = embedded_skeleton(run)
    before = header(run, summary)
    behind = (
        figures_section(run, figures)
        + stages_section(stage_pictures(run), run.key_frame)
        + curves_section(read_curves(run))
        + cost_section(run)
        + settings_section(run)
        + warnings_section(run)
    )
    scripts = [script("three.min.js"), script("view3d.js"), script("report.js")]
    fixed = len((before + behind + page_text(run.name, "", scripts)).encode("utf-8"))
    free = limit - MARGIN - fixed - (0 if skeleton is None else len(skeleton.text))
    model = embedded_model(run, int(MODEL_SHARE * free))
    return_free_memory()
    pictures = frame_pictures(run, free - len(model.text) - 200 * len(run.names))
    notes = [note for note in (model.note, _pictures_note(pictures)) if note]
    elements = [
        json_element("data", _page_data(run, figures, pictures)),
        f'<script type="text/plain" id="model">{model.text}</script>',
        *([f'<script type="text/plain" id="bones">{skeleton.text}</script>'] if skeleton else []),
        *scripts,
    ]
    body = before + viewer(run, notes, skeleton is not None) + behind
    text = page_text(run.name, body, elements, json_element(SUMMARY, summary)).encode("utf-8")
    if len(text) >= limit:
        raise ValueError(f"{folder / REPORT}: {len(text) / 1e6:.1f} MB, more than {limit / 1e6:.1f} MB")
    with atomic(folder / REPORT) as temporary:
        temporary.write_bytes(text)
    log.info("%s: %.1f MB, in %.1f s", folder / REPORT, len(text) / 1e6, time.perf_counter() - start)
    return summary


def read_summary(file: Path) -> dict[str, Any]:
    """The figures that ``write_report`` wrote into a page; empty where there are none.

    Raises:
        OSError: the file cannot be read.
    """
    with file.open("rb") as stream:
        text = stream.read(SUMMARY_WITHIN).decode("utf-8", "replace")
    found = re.search(rf'<script type="application/json" id="{SUMMARY}">(.*?)</script>', text)
    return json.loads(found.group(1)) if found else {}


def _pictures_note(pictures: FramePictures) -> str:
    if pictures.step == 1:
        return ""
    return f"To keep this page small, it holds one picture of the video in {pictures.step} frames."


def _page_data(run: Run, figures: Figures, pictures: FramePictures) -> dict[str, Any]:
    """What report.js reads; lengths in the units of the GLB."""
    camera = run.video.cameras
    return {
        "name": run.name,
        "names": run.names,
        "times": [round(float(value - run.times[0]), 6) for value in run.times],
        "modelTimes": [float(value) for value in run.times],
        "fov": float(camera.fov),
        "aspect": float(camera.aspect),
        "extrinsics": camera.extrinsics.double().tolist() if _camera_moves(run) else camera.extrinsics[:1].tolist(),
        "origin": list(run.video.origin),
        "bounds": figures.bounds.tolist(),
        "marked": list(figures.flagged),
        "pictures": pictures.uris,
        "step": pictures.step,
    }


def _camera_moves(run: Run) -> bool:
    matrices = run.video.cameras.extrinsics
    return bool((matrices != matrices[:1]).any())
