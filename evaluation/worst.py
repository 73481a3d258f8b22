"""Pictures of a method's worst results: frames of the input above the result's pictures of them."""

from __future__ import annotations

import cv2
import imageio.v3 as iio
import numpy as np

from evaluation.execution import CLIP_PICTURE
from evaluation.records import BenchmarkFolders
from evaluation.tables import Results, format_value
from v2m4.workspace import atomic

COUNT = 5
LABEL_HEIGHT = 24  # pixels
QUALITY = 88  # of the JPEG


def worst_cases(results: Results, method: str, count: int = COUNT) -> list[str]:
    """Names of the cases with the worst values of ``Results.ranking_metric``, the worst first."""
    metric = results.ranking_metric()
    if metric is None:
        return []
    values = {case: results.value(case, method, metric) for case in results.cases}
    known = {case: value for case, value in values.items() if value is not None}
    return sorted(known, key=lambda case: known[case], reverse=metric.better == "lower")[:count]


def write_worst(results: Results, method: str, folders: BenchmarkFolders) -> None:
    """Write ``worst_<method>.jpg``, a labelled strip for each of the worst cases that has pictures; none, no file."""
    rows = []
    for case in worst_cases(results, method):
        file = folders.output / "results" / method / case / "pictures" / CLIP_PICTURE
        if file.is_file():
            figures = [(metric, results.value(case, method, metric)) for metric in results.suite.columns()]
            texts = [f"{metric.label} {format_value(value, metric)}" for metric, value in figures if value is not None]
            rows.append(_labelled(iio.imread(file), f"{case}: {', '.join(texts)}"))
    if not rows:
        return
    width = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    with atomic(folders.output / f"worst_{method}.jpg") as temporary:
        iio.imwrite(temporary, np.concatenate(padded), quality=QUALITY)


def _labelled(picture: np.ndarray, text: str) -> np.ndarray:
    """The picture (H, W, 3) uint8 below a line of text."""
    label = np.full((LABEL_HEIGHT, picture.shape[1], 3), 255, np.uint8)
    cv2.putText(label, text, (4, LABEL_HEIGHT - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (20, 20, 20), 1, cv2.LINE_AA)
    return np.concatenate([label, picture])
