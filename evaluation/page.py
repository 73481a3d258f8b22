"""The benchmark's page: one self-contained HTML file with pictures and curves."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

from evaluation.records import BenchmarkFolders, BenchmarkOutcome
from evaluation.suite import GROUPS, Metric
from evaluation.tables import Results, format_value, heading, mean_line
from v2m4.line_chart import COLOURS, line_chart

STYLE = Path(__file__).with_name("page.css")
LABELS = {metric.name: metric for group in GROUPS.values() for metric in group}
ORDER = list(LABELS)


def page(results: Results, folders: BenchmarkFolders) -> str:
    """The page as HTML text; pictures are read from the folders of the results."""
    suite = results.suite
    colours = {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(results.methods)}
    links = "".join(f'<a href="#{_anchor(case)}">{escape(case)}</a>' for case in results.cases)
    summary = (
        f"{len(results.cases)} of {len(suite.cases)} cases, {len(results.methods)} of {len(suite.methods)} methods"
    )
    body = [
        f"<h1>Benchmark: {escape(suite.name)}</h1>",
        f'<p class="lead">{summary}. Every figure is computed from what the methods left on disk.</p>',
        f"<section><h2>Means</h2>{_means(results, colours)}</section>",
        f"<section><h2>BenchmarkCase by case</h2><nav>{links}</nav>{_by_metric(results, colours)}</section>",
        _failures(results),
        *(_case(results, case, colours, folders) for case in results.cases),
        _notes(results),
    ]
    title = f"Benchmark: {escape(suite.name)}"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE.read_text('utf-8')}</style></head><body><main>{''.join(body)}</main></body></html>\n"
    )


def _anchor(case: str) -> str:
    return "case-" + "".join(char if char.isalnum() else "-" for char in case)


def _name(method: str, colours: dict[str, str]) -> str:
    return f'<span class="key" style="background:{colours[method]}"></span>{escape(method)}'


def _cells(values: Sequence[float | None], texts: Sequence[str], best: float | None) -> str:
    cells = []
    for value, text in zip(values, texts, strict=True):
        kind = "best" if value is not None and value == best else text if text in ("failed", "missing") else ""
        cells.append(f'<td class="{kind}">{escape(text)}</td>' if kind else f"<td>{escape(text)}</td>")
    return "".join(cells)


def _table(headers: Sequence[str], rows: Sequence[str]) -> str:
    return (
        '<div class="wide"><table><thead><tr>'
        + "".join(f"<th>{cell}</th>" for cell in headers)
        + "</tr></thead><tbody>"
        + "".join(rows)
        + "</tbody></table></div>"
    )


def _means(results: Results, colours: dict[str, str]) -> str:
    """The table of means, a row for every method."""
    columns = results.columns()
    if not columns:
        return '<p class="soft">Nothing has been measured.</p>'
    best = [results.best([results.mean(name, metric) for name in results.methods], metric) for metric in columns]
    rows = []
    for name in results.methods:
        cells = [
            _cells([results.mean(name, metric)], [format_value(results.mean(name, metric), metric)], top)
            for metric, top in zip(columns, best, strict=True)
        ]
        rows.append(f"<tr><td>{_name(name, colours)}</td>{''.join(cells)}</tr>")
    over = "over: " + "; ".join(sorted({mean_line(results, metric) for metric in columns}))
    return (
        _table(["method", *(escape(heading(metric)) for metric in columns)], rows)
        + f'<p class="soft">{escape(over)}</p>'
    )


def _by_metric(results: Results, colours: dict[str, str]) -> str:
    """A table for every metric, a row for every case and a column for every method."""
    return (
        '<div class="tables">' + "".join(_metric(results, metric, colours) for metric in results.columns()) + "</div>"
    )


def _metric(results: Results, metric: Metric, colours: dict[str, str]) -> str:
    methods = results.methods_with(metric)
    rows = []
    for case in results.cases:
        values = [results.value(case, name, metric) for name in methods]
        texts = [results.cell(case, name, metric) for name in methods]
        rows.append(f"<tr><td>{escape(case)}</td>{_cells(values, texts, results.best(values, metric))}</tr>")
    values = [results.mean(name, metric) for name in methods]
    texts = [format_value(value, metric) for value in values]
    over = f"mean of {len(results.common_cases(metric))}"
    rows.append(f'<tr class="mean"><td>{over}</td>{_cells(values, texts, results.best(values, metric))}</tr>')
    for label, statistic in (("median", results.median), ("worst", results.worst)):
        values = [statistic(name, metric) for name in methods]
        cells = _cells(values, [format_value(value, metric) for value in values], None)
        rows.append(f'<tr class="mean"><td>{label}</td>{cells}</tr>')
    headers = ["case", *(_name(name, colours) for name in methods)]
    return f"<div><h3>{escape(heading(metric))}</h3>{_table(headers, rows)}</div>"


def _failures(results: Results) -> str:
    failures = results.failures()
    if not failures:
        return ""
    rows = [
        f'<tr><td>{escape(item.case)}</td><td>{escape(item.method)}</td><td class="{item.state}">{item.state}</td>'
        f'<td class="error">{escape(item.error)}</td></tr>'
        for item in failures
    ]
    return f"<section><h2>What did not end well</h2>{_table(['case', 'method', '', ''], rows)}</section>"


def _notes(results: Results) -> str:
    notes = "".join(f"<li>{escape(note)} ({escape(where)})</li>" for note, where in results.notes().items())
    return f'<section><h2>Notes</h2><ul class="error">{notes}</ul></section>' if notes else ""


def _case(results: Results, case: str, colours: dict[str, str], folders: BenchmarkFolders) -> str:
    """The section of one case: metrics, curves and pictures."""
    columns = results.columns()
    rows, picture_tables = [], []
    curves: dict[str, dict[str, list[float]]] = {}
    for name in results.methods:
        outcome = results.outcome(case, name)
        if outcome is None:
            continue
        if outcome.state != "done":
            rows.append(
                f'<tr><td>{_name(name, colours)}</td><td colspan="{len(columns)}" class="error">'
                f"{outcome.state}: {escape(outcome.error)}</td></tr>"
            )
            continue
        cells = []
        for metric in columns:
            values = [results.value(case, other, metric) for other in results.methods]
            value = results.value(case, name, metric)
            cells.append(_cells([value], [format_value(value, metric)], results.best(values, metric)))
        rows.append(f"<tr><td>{_name(name, colours)}</td>{''.join(cells)}</tr>")
        for key, curve in outcome.measured.get("curves", {}).items():
            curves.setdefault(key, {})[name] = [float("nan") if value is None else value for value in curve]
        picture_tables.append(_picture_table(outcome, colours, folders))
    charts = [
        f"<figure><figcaption>{escape(heading(LABELS[key]))} by frame</figcaption>"
        f"{line_chart(f'{LABELS[key].label} by frame', lines, colours)}</figure>"
        for key, lines in sorted(curves.items(), key=lambda item: ORDER.index(item[0]))
    ]
    table = _table(["method", *(escape(heading(metric)) for metric in columns)], rows)
    return (
        f'<section id="{_anchor(case)}"><h2>{escape(case)}</h2>{table}'
        f'<div class="charts">{"".join(charts)}</div>{"".join(picture_tables)}</section>'
    )


def _picture_table(outcome: BenchmarkOutcome, colours: dict[str, str], folders: BenchmarkFolders) -> str:
    """The pictures of one result, as a table of views by frames."""
    pictures = outcome.measured.get("pictures") or {}
    if not pictures.get("rows"):
        return ""
    folder = folders.output / "results" / outcome.method / outcome.case / "pictures"
    rows = []
    for row in pictures["rows"]:
        cells = "".join(
            f'<td><img alt="{escape(row["label"], quote=True)}" src="{_inline(folder / file)}"></td>'
            for file in row["files"]
        )
        rows.append(f"<tr><th>{escape(row['label'])}</th>{cells}</tr>")
    head = "".join(f"<th>{escape(column)}</th>" for column in pictures["columns"])
    return (
        f"<details open><summary>{_name(outcome.method, colours)}</summary>"
        f'<p class="soft">{escape(pictures["caption"])}</p>'
        f'<table class="shots"><tr><th></th>{head}</tr>{"".join(rows)}</table></details>'
    )


def _inline(file: Path) -> str:
    kind = "png" if file.suffix == ".png" else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(file.read_bytes()).decode('ascii')}"
