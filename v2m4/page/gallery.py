"""index.html: a gallery of all animations in an output folder, with thumbnails and figures."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from v2m4.contact_sheet import CONTACT_SHEET, VIEWS
from v2m4.export import ANIMATION
from v2m4.io.picture import read_picture
from v2m4.manifest import read_manifest
from v2m4.page.html import DASH, number, page_text
from v2m4.page.pictures import picture_uri
from v2m4.page.report import read_summary, write_report
from v2m4.page.run import FRAME_PICTURE
from v2m4.workspace import REPORT, atomic

log = logging.getLogger(__name__)

INDEX = "index.html"
THUMBNAIL = 256  # longer side, pixels


@dataclass(frozen=True)
class Entry:
    """One animation in the gallery.

    Attributes:
        folder: of the animation.
        manifest: its manifest.
        figures: of its page; None where there is no page.
    """

    folder: Path
    manifest: dict[str, Any]
    figures: dict[str, Any] | None

    @property
    def name(self) -> str:
        """Of the animation."""
        return self.folder.resolve().name

    @property
    def size(self) -> int | None:
        """Bytes of the animation's GLB; None where there is none."""
        file = self.folder / ANIMATION
        return file.stat().st_size if file.is_file() else None

    def facts(self) -> list[tuple[str, str]]:
        """Labels and texts of its figures."""
        figures = self.figures or {}
        motion = self.manifest.get("motion")
        stages = self.manifest.get("stages") or {}
        failed = [name.replace("_", " ") for name, stage in stages.items() if stage.get("state") == "failed"]
        frames = (self.manifest.get("input") or {}).get("frames")
        seconds = sum(stage.get("seconds") or 0.0 for stage in stages.values()) if stages else None
        size = self.size
        facts = [
            ("frames", DASH if frames is None else str(frames)),
            ("computed in", number(seconds, 0, " s")),
            ("mean PSNR", number(figures.get("mean_psnr"), 1, " dB")),
            ("mean IoU", number(figures.get("mean_iou"), 3)),
            ("track lost", DASH if motion is None else f"{len(motion.get('lost') or {})} frames"),
            ("marked frames", str(figures.get("flagged_frames", DASH))),
            ("GLB", DASH if size is None else f"{size / 1e6:.1f} MB"),
        ]
        return [*facts, ("failed in", ", ".join(failed))] if failed else facts


def write_gallery(root: Path, folders: Sequence[Path], remake: bool = False) -> Path:
    """Write ``index.html`` for the animations in a folder; reports that are missing are made first.

    Args:
        root: the folder that ``main.py`` wrote.
        folders: those of the animations, in it.
        remake: make all reports anew.

    Returns:
        The path of ``index.html``.

    Raises:
        ValueError: a manifest is damaged.
        OSError: a file cannot be read or written.
    """
    entries = [_entry(folder, remake) for folder in folders]
    cards = "".join(_card(entry, root) for entry in entries)
    count = f"{len(entries)} animation{'s' if len(entries) != 1 else ''} in {root.resolve().name}"
    body = f"<header><h1>Results</h1><p class='soft'>{escape(count)}</p></header><div class='gallery'>{cards}</div>"
    file = root / INDEX
    with atomic(file) as temporary:
        temporary.write_text(page_text("Results", body), "utf-8")
    return file


def _entry(folder: Path, remake: bool) -> Entry:
    """An animation and its page, which is made where it is missing; an error in that is a warning."""
    report = folder / REPORT
    if (folder / ANIMATION).is_file() and (remake or not report.is_file()):
        try:
            write_report(folder)
        except (ValueError, OSError) as error:
            log.warning("%s was not written: %s", report, error)
    return Entry(folder, read_manifest(folder), read_summary(report) if report.is_file() else None)


def _card(entry: Entry, root: Path) -> str:
    facts = "".join(f"<dt>{escape(label)}</dt><dd>{escape(text)}</dd>" for label, text in entry.facts())
    picture = thumbnail(entry)
    image = f'<img alt="" src="{picture_uri(picture, THUMBNAIL)}">' if picture is not None else ""
    title = escape(entry.name)
    if entry.figures is None:
        return f"<article><div class='thumbnail'>{image}</div><h2>{title}</h2><dl>{facts}</dl></article>"
    address = quote((entry.folder / REPORT).relative_to(root).as_posix())
    return (
        f'<article><a class="thumbnail" href="{address}" tabindex="-1" aria-hidden="true">{image}</a>'
        f'<h2><a href="{address}">{title}</a></h2><dl>{facts}</dl></article>'
    )


def thumbnail(entry: Entry) -> np.ndarray | None:
    """The mesh from the front at the first time, from the contact sheet, else the first frame; None without either.

    Raises:
        ValueError: a picture is damaged.
    """
    sheet = entry.folder / CONTACT_SHEET
    if sheet.is_file():
        pixels = read_picture(sheet)
        side = pixels.shape[1] // len(VIEWS)
        return pixels[:side, :side]
    names = entry.manifest.get("key_frames") or (entry.manifest.get("frames") or {}).get("names") or []
    for name in names[:1]:
        file = entry.folder / FRAME_PICTURE.format(name)
        if file.is_file():
            return read_picture(file)
    return None
