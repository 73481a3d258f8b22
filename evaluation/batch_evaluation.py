"""Run main.py on every sample of a benchmark release; CD and F-score per sample and mean, short and long apart.

    python -m evaluation.batch_evaluation --release_dir motion80 --output batch_evaluation

The counterpart of Motion 3-to-4's ``batch_eval_all``, for a folder in the layout of Motion-80 (``evaluation.release``).
Two methods run on each sample, each time as a process:

- given_mesh: the first frame's true mesh, deformed by the video (``--mesh`` and ``--video``);
- video_only: the video alone.

Both are measured by ``motion80`` (the paper's protocol) and ``motion80-code`` (the reference code's), see
``evaluation.geometry_metrics``. The mean of a method is over the samples that could be measured. A sample that fails
is listed with its last line of error, and the others continue. Finished work is not repeated: run the same command
again to resume. The figures are also written as batch_evaluation.json and batch_evaluation.md.
"""

from __future__ import annotations

import json
import logging
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from evaluation import benchmark
from evaluation.execution import CODE
from evaluation.processes import Processes
from evaluation.records import BenchmarkFolders, BenchmarkOutcome
from evaluation.release import LENGTHS, Length, ReleaseError, ReleaseSample, read_release
from evaluation.suite import BenchmarkCase, BenchmarkMethod, Suite
from evaluation.tables import Results, as_json, markdown_table, outcome_table
from v2m4.command_line import end_with, parse_options
from v2m4.report import table
from v2m4.workspace import atomic

log = logging.getLogger("batch_evaluation")

GIVEN_MESH, VIDEO_ONLY = "given_mesh", "video_only"
METRICS = ("motion80", "motion80-code")
FIGURES, TABLES = "batch_evaluation.json", "batch_evaluation.md"
MAIN_ARGUMENTS = "--main_arguments"
RESULT = "{output}/{case}/output_animation.glb"


@dataclass(frozen=True)
class BatchOptions:
    """Run main.py on every sample of a benchmark release; CD and F-score of each and on average, by length."""

    # The release: images/, pcds/, short_videos.txt and long_videos.txt, laid out as Motion-80.
    release_dir: Path
    # Where results, batch_evaluation.json and batch_evaluation.md are written.
    output: Path = Path("batch_evaluation")
    # The folder of short_videos.txt and long_videos.txt, where it is not the release.
    lists: Path | None = None
    # Only deform the first frame's true mesh by the video.
    gt_only: bool = False
    # Only reconstruct from the video alone.
    video_only: bool = False
    # Run nothing; only measure the results that are there.
    skip_inference: bool = False
    # More arguments of main.py for both methods, in one pair of quotes, such as "--motion video"; relative paths in
    # them begin at this repository. When a file that they name changes, its results are made again.
    main_arguments: str = ""
    # How many processes run at once.
    jobs: int = 1
    # Run only this sample; other finished results stay in the tables.
    only: str = ""


@dataclass(frozen=True)
class BatchTable:
    """The results of one method on the samples of one length.

    Attributes:
        method: its name.
        length: of the samples.
        results: of that method alone, so that its means are over all samples that it has a figure for.
    """

    method: str
    length: Length
    results: Results

    @property
    def title(self) -> str:
        """Method, length, and how many samples have figures."""
        done = len(self.results.cases) - len(self.results.failures())
        return f"{self.method}, {self.length} videos: {done} of {len(self.results.suite.cases)} samples measured"


def batch_methods(options: BatchOptions) -> tuple[BenchmarkMethod, ...]:
    """The requested methods; with ``--skip_inference`` they only name their results."""
    more = _literal(options.main_arguments)
    command = "{python} {code}/main.py --video {frames} --output {output}"
    commands = {GIVEN_MESH: f"{command} --mesh {{first_mesh}} {more}", VIDEO_ONLY: f"{command} {more}"}
    names = [GIVEN_MESH] * (not options.video_only) + [VIDEO_ONLY] * (not options.gt_only)
    return tuple(
        BenchmarkMethod(name, () if options.skip_inference else (commands[name].strip(),), mesh=RESULT)
        for name in names
    )


def batch_suite(samples: Sequence[ReleaseSample], options: BatchOptions) -> Suite:
    """The samples as the cases of a suite."""
    cases = tuple(
        BenchmarkCase(sample.safe_name, input=_literal(str(sample.frames)), truth=_literal(str(sample.truth)))
        for sample in samples
    )
    return Suite("batch_evaluation", METRICS, batch_methods(options), cases)


def _literal(text: str) -> str:
    """The text for a suite, where braces mark placeholders."""
    return text.replace("{", "{{").replace("}", "}}")


def batch_tables(
    suite: Suite, samples: Sequence[ReleaseSample], outcomes: Sequence[BenchmarkOutcome]
) -> list[BatchTable]:
    """One table for every method and length that has any result."""
    tables = []
    for method in suite.methods:
        for length in LENGTHS:
            names = {sample.safe_name for sample in samples if sample.length == length}
            cases = tuple(case for case in suite.cases if case.name in names)
            part = replace(suite, methods=(method,), cases=cases)
            own = [outcome for outcome in outcomes if outcome.method == method.name and outcome.case in names]
            results = Results(part, own)
            if results.cases:
                tables.append(BatchTable(method.name, length, results))
    return tables


def write(tables: Sequence[BatchTable], samples: Sequence[ReleaseSample], options: BatchOptions) -> None:
    """Write the figures as JSON and as Markdown."""
    figures: dict[str, Any] = {
        "release_dir": str(options.release_dir.resolve()),
        "main_arguments": options.main_arguments,
        "names": {sample.safe_name: sample.name for sample in samples},
    }
    lines = ["# Batch evaluation", "", f"Release: {options.release_dir.name}", ""]
    if options.main_arguments:
        lines += [f"main.py {options.main_arguments}", ""]
    for entry in tables:
        figures.setdefault(entry.method, {})[entry.length] = as_json(entry.results)
        lines += [f"## {entry.title}", "", *markdown_table(*outcome_table(entry.results)), ""]
        notes = entry.results.notes()
        lines += [f"- {note} ({where})" for note, where in notes.items()] + [""] * bool(notes)
    for name, text in ((FIGURES, json.dumps(figures, indent=1, ensure_ascii=False)), (TABLES, "\n".join(lines))):
        with atomic(options.output / name) as temporary:
            temporary.write_text(text, "utf-8")


def check(options: BatchOptions) -> str | None:
    """The error in the options, in one line, or None."""
    if options.gt_only and options.video_only:
        return "--gt_only --video_only: each leaves the other out; give at most one"
    if options.jobs < 1:
        return f"--jobs {options.jobs}: must be at least 1"
    try:
        arguments = shlex.split(options.main_arguments)
    except ValueError as error:
        return f"--main_arguments {options.main_arguments!r}: {error}"
    for argument in arguments:
        if argument.split("=")[0] in ("--mesh", "--video", "--root", "--output"):
            return f"--main_arguments: {argument} is set for every sample; leave it out"
    return None


def read_samples(options: BatchOptions) -> list[ReleaseSample]:
    """The samples of the release.

    Raises:
        ReleaseError: it cannot be evaluated, or ``--only`` names none of them.
    """
    samples = read_release(options.release_dir.resolve(), options.lists)
    if options.only and not any(options.only in (sample.name, sample.safe_name) for sample in samples):
        raise ReleaseError(f"--only {options.only}: no such sample in the lists")
    return samples


def parse(arguments: Sequence[str]) -> BatchOptions:
    """The options; the value of ``--main_arguments`` may begin with dashes, which tyro takes only behind a ``=``."""
    words = list(arguments)
    if MAIN_ARGUMENTS in words[:-1]:
        index = words.index(MAIN_ARGUMENTS)
        words[index : index + 2] = [f"{MAIN_ARGUMENTS}={words[index + 1]}"]
    return parse_options(BatchOptions, words)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns 0 on success, 1 when a sample has no figures, 2 on bad usage."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname).1s %(message)s")
    error_line = check(options)
    try:
        samples = [] if error_line else read_samples(options)
    except ReleaseError as error:
        error_line = str(error)
    if error_line:
        log.error("%s", error_line)
        return 2
    suite = batch_suite(samples, options)
    only = next((sample.safe_name for sample in samples if options.only in (sample.name, sample.safe_name)), "")
    folders = BenchmarkFolders(CODE, options.output.resolve(), Processes())
    try:
        outcomes = benchmark.run(suite, folders, options.jobs, only)
    except KeyboardInterrupt:
        log.error("stopped; run the same command again to resume")
        return 130
    tables = batch_tables(suite, samples, outcomes)
    write(tables, samples, options)
    for entry in tables:
        headers, rows = outcome_table(entry.results)
        print(f"{entry.title}\n{table(rows, headers)}\n")
    print(f"written to {options.output / TABLES} and {FIGURES} beside it")
    failures = [outcome for entry in tables for outcome in entry.results.failures()]
    for outcome in failures:
        log.error("%s, %s: %s: %s", outcome.case, outcome.method, outcome.state, outcome.error)
    return 1 if failures else 0


if __name__ == "__main__":
    end_with(main)
