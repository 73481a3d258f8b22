"""Run inputs of the kinds that people bring, and check each outcome: a table of outcome, message and seconds.

    python -m evaluation.inputs ../shared/cases --output inputs_output

Every row of the file of cases is run as a user would run it, as a process; its output is kept in ``log.txt``.
"""

from __future__ import annotations

import v2m4  # noqa: F401  # isort: skip  # before torch: sets how idle threads wait
import logging
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro
from tqdm import tqdm

from evaluation import gltf_validator
from evaluation.input_cases import CaseError, InputCase, read_cases
from evaluation.input_checks import INSIDE_ERRORS, check_animation
from v2m4.command_line import end_with, parse_options
from v2m4.report import TqdmHandler, table
from v2m4.workspace import MANIFEST

log = logging.getLogger("evaluation")

CODE = Path(__file__).resolve().parent.parent
SUITE = Path(__file__).parent / "input_cases.yaml"


@dataclass(frozen=True)
class InputsOptions:
    """Run the cases of a folder and check their outcomes."""

    # The folder of cases.
    cases: tyro.conf.Positional[Path]
    # Where results and logs are written.
    output: Path = Path("inputs_output")
    # The file that lists the cases and what is expected of them.
    suite: Path = SUITE
    # Run only the cases whose names contain one of these.
    only: tuple[str, ...] = ()


@dataclass(frozen=True)
class InputOutcome:
    """One row of the table.

    Attributes:
        name: of the case.
        failures: what is not as expected.
        message: the warnings and errors that the run printed, in one line.
        seconds: wall time of the run.
    """

    name: str
    failures: list[str]
    message: str
    seconds: float


def run_case(case: InputCase, options: InputsOptions) -> InputOutcome:
    """Run one case in a fresh folder and check what it left."""
    folder = options.output.resolve() / re.sub(r"[^\w.-]+", "_", case.name)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    results, cases = folder / "output", options.cases.resolve()
    start = time.perf_counter()
    code, text = _run(_command(case, cases, results), folder / "log.txt")
    seconds = time.perf_counter() - start
    if any(expected.overlap is not None for expected in case.animations.values()) and results.is_dir():
        renderer = [sys.executable, str(CODE / "rendering_video.py"), "--result_path", str(results), "--size", "256"]
        _run(renderer, folder / "render.txt")
    failures = list(_failures(case, code, text, results, cases))
    return InputOutcome(case.name, failures, _message(text), seconds)


def _command(case: InputCase, cases: Path, results: Path) -> list[str]:
    """The command line of a case."""
    if case.run is not None:
        places = {"python": sys.executable, "code": str(CODE), "cases": str(cases), "output": str(results)}
        return [str(word).format(**places) for word in case.run]
    command = [sys.executable, str(CODE / "main.py"), "--output", str(results), "--tolerance", "0"]  # all key times
    if case.mesh is not None:
        skeleton = any(expected.skeleton for expected in case.animations.values())
        command += ["--mesh", str(cases / case.mesh), "--write", "skeleton" if skeleton else "morph"]
    return command + (["--root", str(cases / case.root)] if case.root else ["--video", str(cases / str(case.video))])


def _run(command: Sequence[str], log_file: Path) -> tuple[int, str]:
    """Run a command; returns its exit code and output, which is also written to a file."""
    result = subprocess.run(
        command, cwd=CODE, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    text = result.stdout.decode("utf-8", "replace")
    log_file.write_text(f"$ {' '.join(command)}\n{text}", "utf-8")
    return result.returncode, text


def _failures(case: InputCase, code: int, text: str, results: Path, cases: Path) -> Iterator[str]:
    """Yield what is not as expected."""
    if code != case.exit:
        yield f"exit code {code}, expected {case.exit}"
    inside = INSIDE_ERRORS.search(text)
    if inside:
        yield f"an inside error is shown: {inside[0]}"
    for pattern in [*case.says, *case.fails.values()]:
        if not re.search(pattern, text, re.IGNORECASE):
            yield f"does not say /{pattern}/"
    yield from (f"{name} was not written" for name in case.writes if not (results / name).exists())
    if case.run is not None:
        return
    written = {file.parent.name for file in results.glob(f"*/{MANIFEST}")} if results.is_dir() else set()
    unexpected = written - set(case.animations) - set(case.fails)
    if unexpected:
        yield f"animations that are none: {', '.join(sorted(unexpected))}"
    for name, expected in case.animations.items():
        prefix = f"{name}: " if len(case.animations) > 1 else ""
        yield from (prefix + failure for failure in check_animation(results / name, expected, cases))


def _message(text: str) -> str:
    """The warnings and errors of a run in one line."""
    lines = [line.strip() for line in re.split(r"[\r\n]+", text)]
    return " | ".join(line for line in lines if re.match(r"[WE] ", line) or line.startswith("error"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code: 0 where all is as expected, 1 where not, 2 on bad usage."""
    options = parse_options(InputsOptions, arguments, __doc__)
    logging.basicConfig(level=logging.INFO, format="%(levelname).1s %(message)s", handlers=[TqdmHandler()], force=True)
    try:
        cases = read_cases(options.suite)
        if not options.cases.is_dir():
            raise CaseError(f"{options.cases}: no such folder")
        cases = [case for case in cases if not options.only or any(part in case.name for part in options.only)]
        if not cases:
            raise CaseError(f"--only {' '.join(options.only)}: no case has such a name")
    except (CaseError, OSError) as error:
        log.error("%s", error)
        return 2
    if not gltf_validator.is_installed():
        log.warning("GLBs are not validated: that %s", gltf_validator.MISSING)
    outcomes = []
    for case in tqdm(cases, unit="case", dynamic_ncols=True):
        outcome = run_case(case, options)
        outcomes.append(outcome)
        log.info("%s: %s (%.0f s)", case.name, "; ".join(outcome.failures) or "as expected", outcome.seconds)
    rows = [
        [each.name, "; ".join(each.failures) or "as expected", each.message[:160], f"{each.seconds:.1f}"]
        for each in outcomes
    ]
    print(table(rows, ["case", "outcome", "message", "seconds"]))
    good = sum(not each.failures for each in outcomes)
    print(f"{good} of {len(outcomes)} as expected")
    return 0 if good == len(outcomes) else 1


if __name__ == "__main__":
    end_with(main)
