"""Animations as an array of Slurm jobs (``--engine slurm``), submitted through submitit from a login node.

A job that is preempted, or runs into its time limit, is requeued and goes on from the last artefact on disk.
"""

from __future__ import annotations

import logging
import shlex
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from v2m4.config import Config
from v2m4.console import REFRESH, Console, Outcome
from v2m4.engines.events import EventFiles
from v2m4.engines.failure import EngineError, lost
from v2m4.engines.node import arrived, perform_on_node
from v2m4.engines.progress import BatchProgress
from v2m4.engines.resources import requested
from v2m4.engines.slurm_options import minutes, sbatch_options
from v2m4.engines.task import Task
from v2m4.python_path import python_path
from v2m4.report import NOTICE

log = logging.getLogger(__name__)

EXECUTOR = "slurm"  # submitit's name
LOGS = ".slurm"  # folder in the output folder, for submitit's files and the jobs' logs


class Animation:
    """What a job runs; submitit asks it for the job that follows one that was interrupted."""

    def __call__(self, task: Task, file: str) -> Outcome:
        """Run one animation in a job."""
        return perform_on_node(task, file)

    def checkpoint(self, task: Task, file: str) -> Any:
        """The same again, as what submitit asks for."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, task, file)


def run(tasks: Sequence[Task], config: Config, console: Console) -> list[Outcome]:
    """Submit an array with one job for each task, and wait for all of them.

    Args:
        tasks: of animations with unique names; paths are absolute, and the same on all nodes.
        config: all options.
        console: shows the progress.

    Returns:
        The outcomes in the order of the tasks.

    Raises:
        EngineError: Slurm refuses the array.
    """
    import submitit

    errors = submitit.core.utils
    request = requested(config)
    tasks = [replace(task, threads=config.threads or int(request.cpus)) for task in tasks]
    executor = _executor(submitit, config)
    files = EventFiles(config.output / f".progress-{uuid.uuid4().hex[:8]}")
    outcomes: dict[int, Outcome] = {}
    jobs: list[Any] = []
    try:
        try:
            with executor.batch():
                made = [executor.submit(Animation(), task, str(files.file(i))) for i, task in enumerate(tasks)]
            jobs = made  # only now they have been submitted
        except (errors.FailedJobError, errors.FailedSubmissionError, OSError) as error:
            raise EngineError(f"--engine slurm: sbatch refuses ({' '.join(str(error).split())[:300]})") from error
        log.info("Slurm array %s; for each animation %s", jobs[0].job_id.split("_")[0], request, extra=NOTICE)
        with BatchProgress(tasks, console, config.jobs or len(tasks)) as progress:
            while len(outcomes) < len(tasks):
                time.sleep(REFRESH)
                for event in files.new():
                    progress.handle(event)
                for index, job in enumerate(jobs):
                    if index not in outcomes and job.done():
                        outcomes[index] = _outcome(submitit, job, tasks[index])
                        progress.end(outcomes[index])
                progress.refresh()
    finally:
        for index, job in enumerate(jobs):
            if index not in outcomes:
                job.cancel(check=False)
        files.remove()
    return [outcomes[index] for index in range(len(tasks))]


def _executor(submitit: Any, config: Config) -> Any:
    """The executor with the resources of one animation, and the options of ``--slurm`` over them.

    Raises:
        EngineError: there is no Slurm on this machine.
    """
    request, options = requested(config), sbatch_options(config.slurm)
    try:
        executor = submitit.AutoExecutor(folder=config.output / LOGS, cluster=EXECUTOR)
    except RuntimeError as error:
        raise EngineError(f"--engine slurm: {error}") from error
    executor.update_parameters(
        name="v2m4",
        timeout_min=minutes(options["time"]),
        cpus_per_task=int(request.cpus),
        mem_gb=request.memory or None,
        gpus_per_node=int(request.gpus) or None,
        slurm_array_parallelism=config.jobs or None,
        slurm_setup=[f"export PYTHONPATH={shlex.quote(python_path())}"],
        slurm_additional_parameters=options,
    )
    return executor


def _outcome(submitit: Any, job: Any, task: Task) -> Outcome:
    """The outcome of a job that has ended, whichever way."""
    try:
        return arrived(job.result())
    except (submitit.core.utils.UncompletedJobError, submitit.core.utils.FailedJobError) as error:
        line = str(error).strip().splitlines()[-1]
        return lost(task, f"Slurm job {job.job_id} has ended as {job.state}: {line}; its log: {job.paths.stderr}")
