"""The benchmark's figures as a Markdown page and as JSON."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from evaluation.records import BenchmarkOutcome
from evaluation.suite import Metric, Suite

SECONDS, MEMORY = Metric("seconds", "seconds", 1), Metric("peak_memory_mib", "peak memory, MiB", 0)
ABSENT = "-"


class Results:
    """The outcomes of a suite by case and method, and comparable means.

    The mean of a metric is over the cases for which every method that has the metric at all has it.
    """

    def __init__(self, suite: Suite, outcomes: Sequence[BenchmarkOutcome]) -> None:
        self.suite = suite
        self.by_pair = {(outcome.case, outcome.method): outcome for outcome in outcomes}
        case_names = {outcome.case for outcome in outcomes if outcome.state != "left out"}
        self.cases = [case.name for case in suite.cases if case.name in case_names]
        method_names = {outcome.method for outcome in outcomes if outcome.state != "left out"}
        self.methods = [method.name for method in suite.methods if method.name in method_names]

    def columns(self) -> list[Metric]:
        """The metrics of any outcome, then seconds and memory."""
        every = [*self.suite.columns(), SECONDS, MEMORY]
        return [metric for metric in every if any(self.value(*pair, metric) is not None for pair in self.by_pair)]

    def outcome(self, case: str, method: str) -> BenchmarkOutcome | None:
        """The outcome of a method on a case; None where it was left out."""
        outcome = self.by_pair.get((case, method))
        return None if outcome is None or outcome.state == "left out" else outcome

    def value(self, case: str, method: str, metric: Metric) -> float | None:
        """The value of a metric; None where there is none."""
        outcome = self.by_pair.get((case, method))
        if outcome is None or outcome.state != "done":
            return None
        if metric in (SECONDS, MEMORY):
            return getattr(outcome, metric.name)
        return outcome.measured.get("figures", {}).get(metric.name)

    def common_cases(self, metric: Metric) -> list[str]:
        """The cases for which every method that has this metric at all has it."""
        methods = self.methods_with(metric)
        return [case for case in self.cases if all(self.value(case, name, metric) is not None for name in methods)]

    def methods_with(self, metric: Metric) -> list[str]:
        """The methods that have this metric for any case."""
        return [name for name in self.methods if any(self.value(case, name, metric) is not None for case in self.cases)]

    def mean(self, method: str, metric: Metric) -> float | None:
        """The mean over ``common_cases``; None where there is none."""
        values = self._common_values(method, metric)
        return sum(values) / len(values) if values else None

    def median(self, method: str, metric: Metric) -> float | None:
        """The median over ``common_cases``; None where there is no mean."""
        values = self._common_values(method, metric)
        return statistics.median(values) if values else None

    def worst(self, method: str, metric: Metric) -> float | None:
        """The worst value over ``common_cases``; None where there is no mean."""
        values = self._common_values(method, metric)
        if not values:
            return None
        return max(values) if metric.better == "lower" else min(values)

    def _common_values(self, method: str, metric: Metric) -> list[float]:
        """A method's values over ``common_cases``; none where one is missing."""
        values = [self.value(case, method, metric) for case in self.common_cases(metric)]
        available = [value for value in values if value is not None]
        return available if len(available) == len(values) else []

    def ranking_metric(self) -> Metric | None:
        """The metric by which cases are ranked: the trajectory error, else the first; None without any."""
        columns = self.columns()
        return next((metric for metric in columns if metric.name == "trajectory"), columns[0] if columns else None)

    def failures(self) -> list[BenchmarkOutcome]:
        """The outcomes that are not done."""
        pairs = [(case, method) for case in self.cases for method in self.methods]
        outcomes = [self.outcome(*pair) for pair in pairs]
        return [outcome for outcome in outcomes if outcome is not None and outcome.state != "done"]

    def notes(self) -> dict[str, str]:
        """The notes of all results, each with the results that it is about."""
        results_of_note: dict[str, list[str]] = {}
        for outcome in self.by_pair.values():
            for note in outcome.measured.get("notes", []):
                results_of_note.setdefault(note, []).append(f"{outcome.case}, {outcome.method}")
        measured = sum(outcome.state == "done" for outcome in self.by_pair.values())
        return {
            note: "all results" if len(pairs) == measured > 1 else "; ".join(pairs)
            for note, pairs in results_of_note.items()
        }

    def best(self, values: Sequence[float | None], metric: Metric) -> float | None:
        """The best of some values, None unless there are at least two that differ."""
        available = [value for value in values if value is not None]
        if len(available) < 2 or min(available) == max(available):
            return None
        return min(available) if metric.better == "lower" else max(available)

    def cell(self, case: str, method: str, metric: Metric) -> str:
        """The value of a metric as text, or the state of an outcome that is not done."""
        outcome = self.outcome(case, method)
        if outcome is not None and outcome.state != "done":
            return outcome.state
        return format_value(self.value(case, method, metric), metric)


def format_value(value: float | None, metric: Metric) -> str:
    """A metric's value as text."""
    return ABSENT if value is None else f"{value:.{metric.digits}f}"


def heading(metric: Metric) -> str:
    """A metric's label with an arrow in the direction of better values."""
    return f"{metric.label} {'↓' if metric.better == 'lower' else '↑'}"


def mean_line(results: Results, metric: Metric) -> str:
    """The cases of a metric's mean, in words."""
    common = results.common_cases(metric)
    if len(common) == len(results.cases):
        return "one case" if len(common) == 1 else f"mean of all {len(common)} cases"
    return f"mean of {len(common)} of {len(results.cases)} cases" + (f" ({', '.join(common)})" if common else "")


def outcome_table(results: Results) -> tuple[list[str], list[list[str]]]:
    """Headers and rows of one table: every outcome, then mean, median and worst of every method."""
    columns = results.columns()
    rows = []
    for case in results.cases:
        for method in results.methods:
            outcome = results.outcome(case, method)
            if outcome is not None:
                cells = [format_value(results.value(case, method, metric), metric) for metric in columns]
                rows.append([case, method, *cells, outcome.state, outcome.error])
    if len(results.cases) > 1:
        for label, statistic in (("mean", results.mean), ("median", results.median), ("worst", results.worst)):
            for method in results.methods:
                rows.append(
                    [label, method, *(format_value(statistic(method, metric), metric) for metric in columns), "", ""]
                )
    return ["case", "method", *(metric.label for metric in columns), "state", ""], rows


def markdown(results: Results) -> str:
    """Means of every method, then every metric by case with a column for each method, then what failed."""
    lines = [f"# Benchmark: {results.suite.name}", ""]
    columns = results.columns()
    if columns:
        lines += markdown_table(
            ["method", *(heading(metric) for metric in columns)],
            [
                [name, *_mean_cells(results, [results.mean(name, metric) for metric in columns], columns, name)]
                for name in results.methods
            ],
        )
        over = {mean_line(results, metric) for metric in columns}
        lines += ["", f"Over: {'; '.join(sorted(over))}.", ""]
    for metric in columns:
        methods = results.methods_with(metric)
        rows = []
        for case in results.cases:
            best = results.best([results.value(case, name, metric) for name in methods], metric)
            cells = [results.cell(case, name, metric) for name in methods]
            values = [results.value(case, name, metric) for name in methods]
            rows.append([case, *(_bold(cell, value, best) for cell, value in zip(cells, values, strict=True))])
        means = [results.mean(name, metric) for name in methods]
        best = results.best(means, metric)
        rows.append([mean_line(results, metric), *(_bold(format_value(value, metric), value, best) for value in means)])
        for label, statistic in (("median", results.median), ("worst", results.worst)):
            rows.append([label, *(format_value(statistic(name, metric), metric) for name in methods)])
        lines += [f"## {heading(metric)}", "", *markdown_table(["case", *methods], rows), ""]
    failures = results.failures()
    if failures:
        lines += ["## What did not end well", ""]
        lines += [f"- {item.case}, {item.method}: {item.state}: {item.error}" for item in failures]
        lines.append("")
    notes = results.notes()
    if notes:
        lines += ["## Notes", "", *(f"- {note} ({results_of_note})" for note, results_of_note in notes.items()), ""]
    return "\n".join(lines)


def _mean_cells(results: Results, values: Sequence[float | None], columns: Sequence[Metric], method: str) -> list[str]:
    cells = []
    for value, metric in zip(values, columns, strict=True):
        best = results.best([results.mean(name, metric) for name in results.methods], metric)
        cells.append(_bold(format_value(value, metric), value, best))
    return cells


def _bold(cell: str, value: float | None, best: float | None) -> str:
    return f"**{cell}**" if value is not None and value == best else cell


def markdown_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table; all columns but the first are right-aligned."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"

    return [line(headers), line(["---", *("---:" for _ in headers[1:])]), *(line(row) for row in rows)]


def as_json(results: Results) -> dict[str, Any]:
    """All results as plain values for JSON."""
    columns = results.columns()
    entries = []
    for case in results.cases:
        for method in results.methods:
            outcome = results.outcome(case, method)
            if outcome is None:
                continue
            entry: dict[str, Any] = {"case": case, "method": method, "state": outcome.state}
            if outcome.error:
                entry["error"] = outcome.error
            entry |= {metric.name: getattr(outcome, metric.name) for metric in (SECONDS, MEMORY)}
            entry |= {
                name: outcome.measured[name] for name in ("figures", "curves", "notes") if name in outcome.measured
            }
            entries.append(entry)
    mean, median, worst = (
        {name: {metric.name: statistic(name, metric) for metric in columns} for name in results.methods}
        for statistic in (results.mean, results.median, results.worst)
    )
    over = {metric.name: results.common_cases(metric) for metric in columns}
    statistics_of_methods = {"mean": mean, "median": median, "worst": worst, "mean_over": over}
    return {"suite": results.suite.name, "results": entries, **statistics_of_methods}
