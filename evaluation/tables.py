"""The benchmark's figures as a Markdown page and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from evaluation.execution import Outcome
from evaluation.suite import Metric, Suite

SECONDS, MEMORY = Metric("seconds", "seconds", 1), Metric("peak_memory_mib", "peak memory, MiB", 0)
ABSENT = "-"


class Results:
    """What came of a suite, by case and method, and the means that may be compared.

    Means are taken over the cases that every method with any figure has done, so that columns compare like with like.
    """

    def __init__(self, suite: Suite, outcomes: Sequence[Outcome]) -> None:
        self.suite = suite
        self.by_pair = {(outcome.case, outcome.method): outcome for outcome in outcomes}
        asked = {outcome.case for outcome in outcomes if outcome.state != "left out"}
        self.cases = [case.name for case in suite.cases if case.name in asked]
        ran = {outcome.method for outcome in outcomes if outcome.state != "left out"}
        self.methods = [method.name for method in suite.methods if method.name in ran]

    def columns(self) -> list[Metric]:
        """The metrics that any outcome has, then seconds and memory."""
        every = [*self.suite.columns(), SECONDS, MEMORY]
        return [metric for metric in every if any(self.value(*pair, metric) is not None for pair in self.by_pair)]

    def outcome(self, case: str, method: str) -> Outcome | None:
        """How a method did on a case; None where it was left out."""
        outcome = self.by_pair.get((case, method))
        return None if outcome is None or outcome.state == "left out" else outcome

    def value(self, case: str, method: str, metric: Metric) -> float | None:
        """One figure; None where there is none."""
        outcome = self.by_pair.get((case, method))
        if outcome is None or outcome.state != "done":
            return None
        if metric in (SECONDS, MEMORY):
            return getattr(outcome, metric.name)
        return outcome.measured.get("figures", {}).get(metric.name)

    def common_cases(self, metric: Metric) -> list[str]:
        """The cases that every method that has this metric at all has it for."""
        methods = self.methods_with(metric)
        return [case for case in self.cases if all(self.value(case, name, metric) is not None for name in methods)]

    def methods_with(self, metric: Metric) -> list[str]:
        """The methods that have this metric for any case."""
        return [name for name in self.methods if any(self.value(case, name, metric) is not None for case in self.cases)]

    def mean(self, method: str, metric: Metric) -> float | None:
        """The mean over ``common_cases``; None where there is none."""
        values = [self.value(case, method, metric) for case in self.common_cases(metric)]
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if known and len(known) == len(values) else None

    def failures(self) -> list[Outcome]:
        """Those that did not end well."""
        pairs = [(case, method) for case in self.cases for method in self.methods]
        outcomes = [self.outcome(*pair) for pair in pairs]
        return [outcome for outcome in outcomes if outcome is not None and outcome.state != "done"]

    def notes(self) -> dict[str, str]:
        """What a reader of the figures must know, and which results each note is about."""
        where: dict[str, list[str]] = {}
        for outcome in self.by_pair.values():
            for note in outcome.measured.get("notes", []):
                where.setdefault(note, []).append(f"{outcome.case}, {outcome.method}")
        measured = sum(outcome.state == "done" for outcome in self.by_pair.values())
        return {
            note: "all results" if len(pairs) == measured > 1 else "; ".join(pairs) for note, pairs in where.items()
        }

    def best(self, values: Sequence[float | None], metric: Metric) -> float | None:
        """The best of some figures, where at least two are there and they differ."""
        known = [value for value in values if value is not None]
        if len(known) < 2 or min(known) == max(known):
            return None
        return min(known) if metric.better == "lower" else max(known)

    def cell(self, case: str, method: str, metric: Metric) -> str:
        """One figure as text, or the word for why there is none."""
        outcome = self.outcome(case, method)
        if outcome is not None and outcome.state != "done":
            return outcome.state
        return shown(self.value(case, method, metric), metric)


def shown(value: float | None, metric: Metric) -> str:
    """A figure as text."""
    return ABSENT if value is None else f"{value:.{metric.digits}f}"


def heading(metric: Metric) -> str:
    """A metric's label with an arrow to where it is better."""
    return f"{metric.label} {'↓' if metric.better == 'lower' else '↑'}"


def mean_line(results: Results, metric: Metric) -> str:
    """Which cases a metric's mean is over, in words."""
    common = results.common_cases(metric)
    if len(common) == len(results.cases):
        return "one case" if len(common) == 1 else f"mean of all {len(common)} cases"
    return f"mean of {len(common)} of {len(results.cases)} cases" + (f" ({', '.join(common)})" if common else "")


def markdown(results: Results) -> str:
    """Means of every method, then every metric by case with a column for each method, then what failed."""
    lines = [f"# Benchmark: {results.suite.name}", ""]
    columns = results.columns()
    if columns:
        lines += _table(
            ["method", *(heading(metric) for metric in columns)],
            [
                [name, *_marked(results, [results.mean(name, metric) for metric in columns], columns, name)]
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
        rows.append([mean_line(results, metric), *(_bold(shown(value, metric), value, best) for value in means)])
        lines += [f"## {heading(metric)}", "", *_table(["case", *methods], rows), ""]
    failures = results.failures()
    if failures:
        lines += ["## What did not end well", ""]
        lines += [f"- {item.case}, {item.method}: {item.state}: {item.error}" for item in failures]
        lines.append("")
    notes = results.notes()
    if notes:
        lines += ["## Notes", "", *(f"- {note} ({where})" for note, where in notes.items()), ""]
    return "\n".join(lines)


def _marked(results: Results, values: Sequence[float | None], columns: Sequence[Metric], method: str) -> list[str]:
    cells = []
    for value, metric in zip(values, columns, strict=True):
        best = results.best([results.mean(name, metric) for name in results.methods], metric)
        cells.append(_bold(shown(value, metric), value, best))
    return cells


def _bold(cell: str, value: float | None, best: float | None) -> str:
    return f"**{cell}**" if value is not None and value == best else cell


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"

    return [line(headers), line(["---", *("---:" for _ in headers[1:])]), *(line(row) for row in rows)]


def as_json(results: Results) -> dict[str, Any]:
    """Everything, as plain values."""
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
    mean = {name: {metric.name: results.mean(name, metric) for metric in columns} for name in results.methods}
    over = {metric.name: results.common_cases(metric) for metric in columns}
    return {"suite": results.suite.name, "results": entries, "mean": mean, "mean_over": over}
