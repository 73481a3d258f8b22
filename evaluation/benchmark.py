"""Run methods over cases as a user would, and lay figures, pictures and curves side by side.

    python -m evaluation.benchmark evaluation/suites/truth.yaml --output results_truth

Written into the output folder: ``table.md`` and ``results.json`` (mean and per case, seconds, memory), and
``index.html``, one page with pictures and curves that needs no network. A case that fails stands in all three with its
last line of error, and the others go on. What is done is not done again: start the same command again to go on.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from evaluation.execution import CODE, Outcome, Place, Prepared, evaluate, prepare
from evaluation.page import page
from evaluation.processes import Processes
from evaluation.suite import Case, Method, Suite, SuiteError, read_suite
from evaluation.tables import Results, as_json, markdown, shown
from v2m4.report import table
from v2m4.workspace import atomic

log = logging.getLogger("benchmark")

TABLE, FIGURES, PAGE = "table.md", "results.json", "index.html"


@dataclass(frozen=True)
class Options:
    """Run methods over cases as a user would, and lay figures, pictures and curves side by side."""

    # What is run and measured; evaluation/suites/ holds some.
    suite: Annotated[Path, tyro.conf.Positional]
    # Where results, table.md, results.json and index.html are written.
    output: Path
    # How many processes run at once.
    jobs: int = 1
    # Run only this case, or only this method; what else is done already stays in the tables.
    only: str = ""
    # The folder that {data} stands for in the suite.
    data: Path = CODE.parent / "shared" / "data"
    # The folder with the weights of learned metrics (group learned), beside the caches of their packages.
    weights_dir: Path | None = None


def run(suite: Suite, place: Place, jobs: int, only: str) -> list[Outcome]:
    """All outcomes, case by case, in the suite's order; what ``only`` does not name is looked up, not run."""
    pairs = [(case, method) for case in suite.cases for method in suite.methods]
    asked = {(case.name, method.name) for case, method in pairs if only in ("", case.name, method.name)}

    def ready(case: Case) -> Prepared | Exception:
        try:
            return prepare(case, place, work=any(case.name == name for name, _ in asked))
        except Exception as error:  # told with every result of the case
            return error

    with ThreadPoolExecutor(jobs) as pool, tqdm(total=len(asked), unit="result", dynamic_ncols=True) as progress:
        try:
            progress.set_description("cases")
            prepared = {case.name: pool.submit(ready, case) for case in suite.cases}
            cases = {name: future.result() for name, future in prepared.items()}

            def outcome(case: Case, method: Method) -> Outcome:
                work = (case.name, method.name) in asked
                result = evaluate(case, method, suite, place, cases[case.name], work)
                if work:
                    progress.set_description(f"{case.name}, {method.name}: {result.state}")
                    progress.update()
                return result

            return [future.result() for future in [pool.submit(outcome, *pair) for pair in pairs]]
        except KeyboardInterrupt:
            place.processes.stop()
            pool.shutdown(cancel_futures=True)
            raise


def write(suite: Suite, outcomes: Sequence[Outcome], place: Place) -> Results:
    """The tables and the page."""
    results = Results(suite, outcomes)
    texts = {
        TABLE: markdown(results),
        FIGURES: json.dumps(as_json(results), indent=1, ensure_ascii=False),
        PAGE: page(results, place),
    }
    for name, text in texts.items():
        with atomic(place.output / name) as temporary:
            temporary.write_text(text, "utf-8")
    return results


def summary(results: Results) -> str:
    """The table that the command closes with."""
    columns = results.columns()
    rows = []
    for case in results.cases:
        for method in results.methods:
            outcome = results.outcome(case, method)
            if outcome is not None:
                cells = [shown(results.value(case, method, metric), metric) for metric in columns]
                rows.append([case, method, *cells, outcome.state, outcome.error])
    return table(rows, ["case", "method", *(metric.label for metric in columns), "state", ""])


def check(options: Options, suite: Suite) -> str | None:
    """What is wrong with the options, in one line, or None."""
    if options.jobs < 1:
        return f"--jobs {options.jobs}: must be at least 1"
    if options.weights_dir is not None and not options.weights_dir.is_dir():
        return f"--weights_dir {options.weights_dir}: no such folder"
    names = [*(case.name for case in suite.cases), *(method.name for method in suite.methods)]
    if options.only and options.only not in names:
        return f"--only {options.only}: no such case or method; choose from {', '.join(names)}"
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: 0 when all is well, 1 when a result is missing, 2 on bad usage."""
    options = tyro.cli(Options, args=arguments, use_underscores=True)
    logging.basicConfig(level=logging.INFO, format="%(levelname).1s %(message)s")
    try:
        suite = read_suite(options.suite)
    except SuiteError as error:
        log.error("%s", error)
        return 2
    wrong = check(options, suite)
    if wrong:
        log.error("%s", wrong)
        return 2
    weights = None if options.weights_dir is None else options.weights_dir.resolve()
    place = Place(options.data.resolve(), options.output.resolve(), Processes(), weights)
    try:
        outcomes = run(suite, place, options.jobs, options.only)
    except KeyboardInterrupt:
        log.error("stopped; start the same command again to go on")
        return 130
    results = write(suite, outcomes, place)
    print(summary(results))
    print(f"written to {place.output / PAGE}, {TABLE} and {FIGURES} beside it")
    return 1 if results.failures() else 0


if __name__ == "__main__":
    sys.exit(main())
