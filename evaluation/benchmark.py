"""Run methods on cases as a user would, and tabulate their metrics beside pictures and curves.

    python -m evaluation.benchmark evaluation/suites/truth.yaml --output results_truth

Written into the output folder: ``table.md`` and ``results.json`` (mean and per case, seconds, memory), and
``index.html``, one page with pictures and curves that needs no network; ``worst_<method>.jpg`` shows the frames of the
five worst results above their renderings. A failed case is listed in all three with its
last line of error, and the others continue. Finished work is not repeated: run the same command again to resume.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from evaluation.execution import CODE, evaluate, prepare
from evaluation.loss_marks import MarkRates, mark_rates
from evaluation.page import page
from evaluation.processes import Processes
from evaluation.records import BenchmarkFolders, BenchmarkOutcome, PreparedCase
from evaluation.suite import BenchmarkCase, BenchmarkMethod, Half, Suite, SuiteError, read_suite
from evaluation.tables import Results, as_json, markdown, outcome_table
from evaluation.worst import write_worst
from v2m4.command_line import end_with, parse_options
from v2m4.report import table
from v2m4.workspace import atomic

log = logging.getLogger("benchmark")

TABLE, FIGURES, PAGE = "table.md", "results.json", "index.html"


@dataclass(frozen=True)
class BenchmarkOptions:
    """Run methods on cases as a user would, and tabulate their metrics beside pictures and curves."""

    # The suite file: what is run and measured; evaluation/suites/ has some.
    suite: Annotated[Path, tyro.conf.Positional]
    # Where results, table.md, results.json and index.html are written.
    output: Path
    # How many processes run at once.
    jobs: int = 1
    # Run only this case, or only this method; other finished results stay in the tables.
    only: str = ""
    # Run and tabulate only the cases of one half: those for tuning, or those that the suite marks held_out.
    half: Half = "all"
    # The value of {data} in the suite.
    data: Path = CODE.parent / "shared" / "data"
    # The folder with the weights of learned metrics (group learned), beside the caches of their packages.
    weights_dir: Path | None = None


def run(suite: Suite, folders: BenchmarkFolders, jobs: int, only: str) -> list[BenchmarkOutcome]:
    """All outcomes in the suite's order, case by case; what ``only`` does not name is looked up, not run."""
    pairs = [(case, method) for case in suite.cases for method in suite.methods]
    requested = {(case.name, method.name) for case, method in pairs if only in ("", case.name, method.name)}

    def prepared_or_error(case: BenchmarkCase) -> PreparedCase | Exception:
        try:
            return prepare(case, folders, work=any(case.name == name for name, _ in requested))
        except Exception as error:  # reported with every result of the case
            return error

    with ThreadPoolExecutor(jobs) as pool, tqdm(total=len(requested), unit="result", dynamic_ncols=True) as progress:
        try:
            progress.set_description("cases")
            prepared = {case.name: pool.submit(prepared_or_error, case) for case in suite.cases}
            cases = {name: future.result() for name, future in prepared.items()}

            def outcome(case: BenchmarkCase, method: BenchmarkMethod) -> BenchmarkOutcome:
                work = (case.name, method.name) in requested
                result = evaluate(case, method, suite, folders, cases[case.name], work)
                if work:
                    progress.set_description(f"{case.name}, {method.name}: {result.state}")
                    progress.update()
                return result

            return [future.result() for future in [pool.submit(outcome, *pair) for pair in pairs]]
        except KeyboardInterrupt:
            folders.processes.stop()
            pool.shutdown(cancel_futures=True)
            raise


def write(suite: Suite, outcomes: Sequence[BenchmarkOutcome], folders: BenchmarkFolders) -> Results:
    """Write the tables and the page."""
    results = Results(suite, outcomes)
    rates = mark_rates_of(results)
    figures = as_json(results) | {"loss_marks": {method: asdict(entry) for method, entry in rates.items()}}
    texts = {
        TABLE: "\n".join([markdown(results), *(f"{method}: {entry.describe()}" for method, entry in rates.items())]),
        FIGURES: json.dumps(figures, indent=1, ensure_ascii=False),
        PAGE: page(results, folders),
    }
    for name, text in texts.items():
        with atomic(folders.output / name) as temporary:
            temporary.write_text(text, "utf-8")
    for method in results.methods:
        write_worst(results, method, folders)
    return results


def mark_rates_of(results: Results) -> dict[str, MarkRates]:
    """Rates of the frames that are marked as lost, of the methods that mark any."""
    rates = {method: mark_rates(results, method) for method in results.methods}
    return {method: entry for method, entry in rates.items() if entry is not None}


def check(options: BenchmarkOptions, suite: Suite) -> str | None:
    """The error in the options, in one line, or None."""
    if options.jobs < 1:
        return f"--jobs {options.jobs}: must be at least 1"
    if options.weights_dir is not None and not options.weights_dir.is_dir():
        return f"--weights_dir {options.weights_dir}: no such folder"
    names = [*(case.name for case in suite.cases), *(method.name for method in suite.methods)]
    if options.only and options.only not in names:
        return f"--only {options.only}: no such case or method; choose from {', '.join(names)}"
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns 0 on success, 1 when a result is missing, 2 on bad usage."""
    options = parse_options(BenchmarkOptions, arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname).1s %(message)s")
    try:
        suite = read_suite(options.suite).half(options.half)
    except SuiteError as error:
        log.error("%s", error)
        return 2
    error_line = check(options, suite)
    if error_line:
        log.error("%s", error_line)
        return 2
    weights = None if options.weights_dir is None else options.weights_dir.resolve()
    folders = BenchmarkFolders(options.data.resolve(), options.output.resolve(), Processes(), weights)
    try:
        outcomes = run(suite, folders, options.jobs, options.only)
    except KeyboardInterrupt:
        log.error("stopped; run the same command again to resume")
        return 130
    results = write(suite, outcomes, folders)
    headers, rows = outcome_table(results)
    print(table(rows, headers))
    for method, entry in mark_rates_of(results).items():
        print(f"{method}: {entry.describe()}")
    print(f"written to {folders.output / PAGE}, {TABLE} and {FIGURES} beside it")
    return 1 if results.failures() else 0


if __name__ == "__main__":
    end_with(main)
