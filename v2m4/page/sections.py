"""The sections of report.html."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from v2m4.config import PRESETS, resolve_preset
from v2m4.line_chart import COLOURS, line_chart
from v2m4.page.curves import CurveGroup
from v2m4.page.html import ASSETS, DASH, number, table
from v2m4.page.measure import Figures
from v2m4.page.pictures import picture_uri
from v2m4.page.run import Run
from v2m4.page.stages import StagePicture

STAGE_WIDTH, SINGLE_WIDTH = 1280, 360  # largest width of a picture of several panels, and of one, pixels
FIGURE_TITLES = {
    "iou": "Mask IoU by frame",
    "psnr": "PSNR by frame, dB",
    "stretch": "Stretch of the edges by frame",
}
DEFINITIONS = (
    "Each frame's mesh is rendered through the video's camera at 256 pixels over white and compared with the frame, "
    "background removed. IoU: intersection over union of the masks. PSNR: of the colours, over the whole picture. "
    "Stretch: 99th percentile over the edges of an edge's length relative to that in the rest pose, or its inverse "
    "where the edge is shorter; 1 is no change. Marked frames are those in which track was lost, and those whose "
    "figures are far from the median."
)


def header(run: Run, summary: Mapping[str, Any]) -> str:
    """Title and the most important figures."""
    stages = run.manifest.get("stages") or {}
    seconds = sum(stage.get("seconds") or 0.0 for stage in stages.values())
    absent = len(run.manifest.get("interpolated") or [])
    lost = len(run.lost_frames())
    facts = [
        ("frames", str(len(run.names)) + (f" ({absent} interpolated)" if absent else "")),
        ("duration", number(float(run.times[-1] - run.times[0]), 2, " s")),
        ("mean IoU", number(summary["mean_iou"], 3)),
        ("mean PSNR", number(summary["mean_psnr"], 1, " dB")),
        ("marked frames", str(summary["flagged_frames"])),
        ("track lost", f"{lost} frames" if run.manifest.get("motion") else DASH),
        ("computed in", number(seconds, 0, " s")),
    ]
    items = "".join(f"<div><dt>{escape(label)}</dt><dd>{escape(value)}</dd></div>" for label, value in facts)
    title = f"<h1>{escape(run.name)}</h1><p class='soft'>{escape(_method(run))}</p>"
    return f"<header>{title}<dl class='facts'>{items}</dl></header>"


def _method(run: Run) -> str:
    config = run.manifest.get("config") or {}
    parts = run.manifest.get("learned_parts") or {}
    if run.is_user_mesh:
        return f"User mesh {Path(config['mesh']).name}, animated by the video."
    motion = "video-driven deformation of the first frame's mesh"
    if config.get("motion") == "registration":
        motion = f"registration of the meshes of {len(run.manifest.get('key_frames') or [])} key frames"
    return f"Meshes by {parts.get('generator', config.get('model', DASH))}; {motion}."


def viewer(run: Run, notes: Sequence[str], has_skeleton: bool) -> str:
    """The 3D view, the video's frame and their controls; report.js fills them."""
    markup = (ASSETS / "viewer.html").read_text("utf-8")
    return markup.format(
        aspect=f"{run.video.cameras.aspect:.5f}",
        last=len(run.names) - 1,
        skeleton="" if has_skeleton else "hidden",
        notes="".join(f'<p class="note">{escape(note)}</p>' for note in notes),
    )


def figures_section(run: Run, figures: Figures) -> str:
    """Per-frame figures as charts, and the list of marked frames."""
    marked = list(figures.flagged)
    charts = []
    for name, title in FIGURE_TITLES.items():
        values = getattr(figures, name).tolist()
        chart = line_chart(title, {title: values}, {title: COLOURS[0]}, marked)
        charts.append(f'<figure class="by-frame"><figcaption>{title}</figcaption>{chart}</figure>')
    listed = '<p class="soft">No frame is marked.</p>'
    if marked:
        rows = [
            [
                f'<button type="button" class="link" data-frame="{index}">{escape(run.names[index])}</button>',
                escape("; ".join(reasons)),
            ]
            for index, reasons in figures.flagged.items()
        ]
        listed = table(["frame", "why it is marked"], rows, "text")
    return (
        f"<section><h2>Figures by frame</h2><p class='soft'>{DEFINITIONS} Click into a chart to go to a frame.</p>"
        f'<div class="charts">{"".join(charts)}</div><h3>Marked frames</h3>{listed}</section>'
    )


def stages_section(pictures: Sequence[StagePicture], key_frame: str) -> str:
    """Pictures of the stages at the first key frame."""
    shown = "".join(_stage(item) for item in pictures)
    lead = f"<p class='soft'>At the first key frame, {escape(key_frame)}.</p>"
    return f'<section><h2>Stages</h2>{lead}<div class="stages">{shown}</div></section>' if pictures else ""


def _stage(item: StagePicture) -> str:
    height, width = item.pixels.shape[:2]
    shown_width = min(width, STAGE_WIDTH) if width > 1.5 * height else SINGLE_WIDTH  # several panels, or one
    return (
        f'<figure><h3>{escape(item.title)}</h3><img alt="{escape(item.title)}" '
        f'src="{picture_uri(item.pixels, STAGE_WIDTH)}" style="max-width: {shown_width}px">'
        f"<figcaption>{escape(item.caption)}</figcaption></figure>"
    )


def curves_section(groups: Sequence[CurveGroup]) -> str:
    """All curves that the stages left on disk."""
    parts = []
    for group in groups:
        charts = []
        for title, plot in group.plots.items():
            colours = {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(plot)}
            curves = {name: np.asarray(values, np.float64).tolist() for name, values in plot.items()}
            legend = ""
            if len(plot) > 1:
                keys = "".join(
                    f'<span><i style="background:{colours[name]}"></i>{escape(name)}</span>' for name in plot
                )
                legend = f'<div class="legend">{keys}</div>'
            kind = ' class="by-frame"' if group.by_frame else ""
            chart = line_chart(title, curves, colours)
            charts.append(f"<figure{kind}><figcaption>{escape(title)}</figcaption>{chart}{legend}</figure>")
        parts.append(f'<h3>{escape(group.title)}</h3><div class="charts">{"".join(charts)}</div>')
    return f"<section><h2>Curves of the stages</h2>{''.join(parts)}</section>" if parts else ""


def cost_section(run: Run) -> str:
    """Seconds and memory of each stage."""
    stages: Mapping[str, Mapping[str, Any]] = run.manifest.get("stages") or {}
    if not stages:
        return ""
    longest = max((stage.get("seconds") or 0.0 for stage in stages.values()), default=0.0) or 1.0
    rows = []
    for name, stage in stages.items():
        seconds = stage.get("seconds")
        bar = f'<span class="bar" style="width:{100 * (seconds or 0.0) / longest:.1f}%"></span>'
        memory = number(stage.get("peak_memory_mib"), 0, " MiB")
        rows.append(
            [escape(name.replace("_", " ")), escape(str(stage.get("state", DASH))), number(seconds, 1), bar, memory]
        )
    note = (
        "Seconds are those of the last run: a stage whose results were on disk takes little time. Memory is the peak "
        "of the process until the end of the stage, so it never decreases."
    )
    headers = ["stage", "state", "seconds", "", "peak memory"]
    return f"<section><h2>Time and memory</h2>{table(headers, rows, 'cost')}<p class='soft'>{note}</p></section>"


def settings_section(run: Run) -> str:
    """Options, those that differ from the preset's first, learned parts and versions."""
    config = run.manifest.get("config") or {}
    if not config:
        return ""
    preset = resolve_preset(config.get("preset", "auto"))
    defaults = flattened(PRESETS[preset].describe()) if preset in PRESETS else {}
    options = flattened(config)
    changed = [
        [_option(name), _value(value), _value(defaults.get(name))]
        for name, value in options.items()
        if value != defaults.get(name)
    ]
    same = [[_option(name), _value(value)] for name, value in options.items() if value == defaults.get(name)]
    parts = [
        [escape(name.replace("_", " ")), _value(value)]
        for name, value in flattened(run.manifest.get("learned_parts") or {}).items()
    ]
    versions = [[escape(name), _value(value)] for name, value in (run.manifest.get("versions") or {}).items()]
    source = flattened(run.manifest.get("input") or {})
    source_rows = [[escape(name), _value(value)] for name, value in source.items()]
    return (
        f"<section><h2>Settings</h2><h3>Options that differ from the defaults of preset {escape(preset)}</h3>"
        + (table(["option", "value", "default"], changed, "text") if changed else '<p class="soft">None.</p>')
        + f"<details><summary>All other options</summary>{table(['option', 'value'], same, 'text')}</details>"
        + f'<div class="columns"><div><h3>Methods</h3>{table(["part", "method"], parts, "text")}</div>'
        + f"<div><h3>Versions</h3>{table(['package', 'version'], versions, 'text')}</div>"
        + f"<div><h3>Input</h3>{table(['', ''], source_rows, 'text')}</div></div></section>"
    )


def warnings_section(run: Run) -> str:
    """Warnings that were logged during the run."""
    warnings: Sequence[Mapping[str, str]] | None = run.manifest.get("warnings")
    if warnings is None:
        inner = '<p class="soft">Not recorded: the run is by an older version.</p>'
    elif not warnings:
        inner = '<p class="soft">None.</p>'
    else:
        rows = [
            [escape(item["stage"].replace("_", " ")), escape(item["level"]), escape(item["message"])]
            for item in warnings
        ]
        inner = table(["stage", "level", "message"], rows, "text")
    return f"<section><h2>Warnings of the last run</h2>{inner}</section>"


def flattened(options: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested options as one level, names joined by dots."""
    flat: dict[str, Any] = {}
    for name, value in options.items():
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = list(value) if isinstance(value, tuple) else value
    return flat


def _option(name: str) -> str:
    return f"<code>--{escape(name)}</code>"


def _value(value: Any) -> str:
    return DASH if value is None else escape("yes" if value is True else "no" if value is False else str(value))
