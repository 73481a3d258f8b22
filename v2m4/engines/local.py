"""Several animations at the same time in processes of this machine.

Each process works on one animation after the other and is connected by a pipe of its own, so that one that is killed
(as by the system when memory runs out) loses its own animation only; the others go on, and another takes its place.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext
from types import FrameType

from tqdm import tqdm

from v2m4.console import REFRESH, Console, Outcome
from v2m4.engines.events import Event
from v2m4.engines.failure import lost
from v2m4.engines.progress import BatchProgress
from v2m4.engines.task import Task, perform
from v2m4.sharding import longest_first

INTERRUPTED = 130  # exit code
GRACE = 10.0  # seconds that a process has to end after it was told to
MEMORY = "memory may have run out: fewer --jobs need less; run the same command again to resume"


def run(tasks: Sequence[Task], at_once: int, console: Console) -> list[Outcome]:
    """Run the tasks, the longest first.

    Args:
        tasks: of animations with unique names.
        at_once: number of processes.
        console: shows the progress.

    Returns:
        The outcomes in the order of the tasks.

    Raises:
        KeyboardInterrupt: on Ctrl-C, after all processes have ended.
    """
    by_name = {task.source.name: task for task in tasks}
    waiting = [by_name[source.name] for source in longest_first([task.source for task in tasks])]
    outcomes: dict[str, Outcome] = {}
    context = multiprocessing.get_context("spawn")
    workers: list[Worker] = []
    gpus = visible_gpus() if tasks[0].config.device == "cuda" else []
    with BatchProgress(tasks, console, at_once) as progress:
        try:
            while waiting or any(worker.task for worker in workers):
                while waiting and sum(worker.task is not None for worker in workers) < at_once:
                    workers.append(Worker(context, least_used(gpus, workers)))
                    workers[-1].begin(waiting.pop(0))
                busy = [worker for worker in workers if worker.task is not None]
                ready = wait([worker.connection for worker in busy], timeout=REFRESH)
                for worker in [worker for worker in busy if worker.connection in ready]:
                    message = worker.receive()
                    if isinstance(message, Event):
                        progress.handle(message)
                        continue
                    outcomes[message.name] = message
                    progress.end(message)
                    if worker.alive and waiting:
                        worker.begin(waiting.pop(0))
                    else:
                        worker.dismiss()
                progress.refresh()
        finally:
            stop(workers)
    return [outcomes[task.source.name] for task in tasks]


class Worker:
    """A process that performs one task at a time.

    Attributes:
        task: the one that it works on; None where it is to end.
        alive: False once it has been found dead.
        gpu: the one that it sees, as CUDA_VISIBLE_DEVICES names it; None without one.
    """

    def __init__(self, context: SpawnContext, gpu: str | None) -> None:
        """Start the process."""
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, gpu), name="animation")
        self.gpu = gpu
        self.task: Task | None = None
        self.alive = True
        self.process.start()
        theirs.close()  # so that the pipe ends with the process

    def begin(self, task: Task) -> None:
        """Hand a task to the process; one that has died meanwhile is found out at the next ``receive``."""
        self.task = task
        with suppress(OSError):
            self.connection.send(task)

    def receive(self) -> Event | Outcome:
        """The next message, or the outcome of a task whose process has died."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            self.alive = False
            self.process.join(GRACE)
            assert self.task is not None
            return lost(self.task, f"the process {ending(self.process.exitcode)}")

    def dismiss(self) -> None:
        """Let the process end, for want of tasks."""
        self.task = None
        self.connection.close()


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return named or [str(index) for index in range(torch.cuda.device_count())]


def least_used(gpus: Sequence[str], workers: Sequence[Worker]) -> str | None:
    """The GPU that the fewest processes work with; None where there are no GPUs."""
    used = [worker.gpu for worker in workers if worker.task is not None]
    return min(gpus, key=used.count, default=None)


def ending(exitcode: int | None) -> str:
    """How a process has ended, as a part of a sentence."""
    if exitcode is None:
        return "no longer answers"
    if exitcode >= 0:
        return f"has ended with exit code {exitcode}"
    try:
        name = signal.Signals(-exitcode).name
    except ValueError:
        name = f"signal {-exitcode}"
    return f"was ended by {name}" + (f" ({MEMORY})" if name == "SIGKILL" else "")


def stop(workers: Sequence[Worker]) -> None:
    """Interrupt what still works, and kill what has not ended after ``GRACE`` seconds, or at another Ctrl-C."""
    for worker in workers:
        if worker.task is not None:
            worker.process.terminate()
    deadline = time.monotonic() + GRACE
    try:
        for worker in workers:
            worker.process.join(max(deadline - time.monotonic(), 0))
    finally:
        for worker in workers:
            worker.process.kill()
            worker.process.join()
            worker.connection.close()


def _serve(connection: Connection, gpu: str | None) -> None:
    """What a process does: perform tasks until the pipe ends."""
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # before PyTorch is loaded
    tqdm.set_lock(threading.RLock())  # its own is a semaphore of the system, which a killed process leaves behind
    signal.signal(signal.SIGINT, _ignored)  # Ctrl-C reaches the whole group; the parent tells when to stop
    signal.signal(signal.SIGTERM, _interrupt)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    lock = threading.Lock()  # log records come from several threads

    def send(message: Event | Outcome) -> None:
        with lock:
            connection.send(message)

    try:
        while True:
            task: Task = connection.recv()
            send(perform(task, send))
    except EOFError:
        return
    except KeyboardInterrupt:
        os._exit(INTERRUPTED)  # the manifest is written; threads that still work would be waited for


def _ignored(number: int, frame: FrameType | None) -> None:
    """Do nothing; unlike ``SIG_IGN``, programs that are started do not inherit it."""


def _interrupt(number: int, frame: FrameType | None) -> None:
    """End as after Ctrl-C: temporary files are removed, the manifest says so."""
    raise KeyboardInterrupt


def _end_with_parent() -> None:
    """End this process when the parent has been killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
