"""Lock of an animation's output folder: one process at a time works on it, also over a shared file system.

The lock is a file with the owner's host, process and a random token, written under another name and then linked to its
own, which fails where there is a lock (without links: created exclusively); a thread renews its modification time. It
is stale where its owner has ended. On the owner's own machine the process table tells; elsewhere
it is stale where it has not been renewed for ``STALE`` seconds, measured by the clock of the file system, as the
machines' clocks may differ. No lock of the operating system is used: not all shared file systems have them.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

log = logging.getLogger(__name__)

LOCK = ".lock"
RENEWAL = 15.0  # seconds between two renewals
PATIENCE = 2.0  # seconds in which the owner may end: a process that is killed takes time to do so
STALE = 120.0  # seconds without a renewal after which a lock of another machine is stale
PATIENCE_ON_CLUSTERS = STALE + 2 * RENEWAL  # an animation is started again after its node has died


class LockedError(RuntimeError):
    """Another process works on the folder."""


@dataclass(frozen=True)
class Owner:
    """The process that holds a lock.

    Attributes:
        host: name of its machine.
        boot: identity of the system that it runs in: start of the machine and process table; empty where unknown.
        process: its number.
        started: its start in the system's own units, as numbers of processes are used again; empty where unknown.
        token: random, of this lock.
    """

    host: str
    boot: str
    process: int
    started: str
    token: str

    @classmethod
    def this(cls) -> Owner:
        """This process, with a new token."""
        return cls(platform.node(), _boot(), os.getpid(), _start_of(os.getpid()) or "", secrets.token_hex(8))

    def is_here(self) -> bool:
        """Whether the process is one of this machine's process table."""
        return bool(self.boot) and (self.host, self.boot) == (platform.node(), _boot())

    def is_alive(self) -> bool:
        """Whether the process, one of this machine's, still runs."""
        return _start_of(self.process) == self.started


@contextmanager
def locked(folder: Path, patience: float = PATIENCE) -> Iterator[None]:
    """Hold the lock of a folder, which is created where it is missing.

    Args:
        folder: of the output.
        patience: seconds to wait for the owner to end.

    Raises:
        LockedError: another process holds it; one line with what to do.
        OSError: the folder cannot be created or written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file, own = folder / LOCK, Owner.this()
    _acquire(file, own, patience)
    released = threading.Event()

    def renew() -> None:
        while not released.wait(RENEWAL):
            with suppress(OSError):  # it is tried again; after ``STALE`` seconds another machine may take over
                owner = _read(file)
                if owner is not None and owner != own:  # None: another process looks at it, and puts it back
                    log.error("%s: another process has taken the lock; end one of the two", folder)
                    return
                os.utime(file)

    thread = threading.Thread(target=renew, name="lock renewal", daemon=True)
    thread.start()
    try:
        yield
    finally:
        released.set()
        thread.join()
        with suppress(OSError):
            if _read(file) == own:
                file.unlink()


def _acquire(file: Path, own: Owner, patience: float) -> None:
    """Create the lock, in place of a stale one.

    Raises:
        LockedError: it is held.
        OSError: it cannot be written.
    """
    end = time.monotonic() + patience
    while not _created(file, own):
        try:
            _remove_stale(file, own.token)
        except LockedError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
    _sweep(file)


def _created(file: Path, own: Owner) -> bool:
    """Create the lock with its contents at once; whether there was none."""
    temporary, text = file.with_name(f"{LOCK}.{own.token}.new"), json.dumps(asdict(own))
    try:
        temporary.write_text(text, "utf-8")
        try:
            os.link(temporary, file)
        except FileExistsError:
            return False
        except OSError:  # a file system without links
            return _created_without_link(file, text)
    finally:
        temporary.unlink(missing_ok=True)
    return True


def _created_without_link(file: Path, text: str) -> bool:
    """Create the lock exclusively; whether there was none. Until its text is written, it has no owner."""
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        return False
    return True


def _sweep(file: Path) -> None:
    """Remove what killed processes have left of their attempts to take the lock."""
    try:
        now = file.stat().st_mtime
    except FileNotFoundError:  # another process looks at it under a name of its own, and puts it back
        return
    for leftover in file.parent.glob(f"{LOCK}.*"):
        with suppress(OSError):
            if now - leftover.stat().st_mtime > STALE:
                leftover.unlink()


def _remove_stale(file: Path, token: str) -> None:
    """Remove a lock whose owner has ended.

    Of several processes that find it stale, each renames what it finds to a name of its own: only one gets it. One that
    finds a newer lock under that name, taken in between, puts it back.

    Raises:
        LockedError: the owner still runs.
    """
    owner = _read(file)
    age = _age(file, token)
    if age is None:
        return  # released in between
    here = owner is not None and owner.is_here()
    # A number without a time of start may be another process's by now: then the renewals decide, too.
    stale = age > STALE if owner is None or not here or not owner.started else False
    if owner is not None and here:
        stale = stale or not owner.is_alive()
    if not stale:
        who = f"process {owner.process} on {owner.host}" if owner is not None else "another process"
        ends = "wait for it or end it" if here else f"wait for it (if it is gone, {max(STALE - age, 1):.0f} s)"
        raise LockedError(
            f"{file.parent}: {who} works on it (last sign of it {age:.0f} s ago); {ends}, or choose another --output"
        )
    aside = file.with_name(f"{LOCK}.{token}")
    try:
        os.rename(file, aside)
    except FileNotFoundError:
        return
    if _read(aside) == owner:
        log.info("%s: the lock of a process that has ended is removed", file)
        aside.unlink()
        return
    with suppress(OSError):
        os.rename(aside, file)
    raise LockedError(f"{file.parent}: another process has just begun to work on it; wait for it, or end it")


def _read(file: Path) -> Owner | None:
    """The owner that a lock names; None where it is missing or not (yet) whole."""
    try:
        return Owner(**json.loads(file.read_text("utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _age(file: Path, token: str) -> float | None:
    """Seconds since a lock was renewed, by the file system's clock; None where it is missing."""
    probe = file.with_name(f"{LOCK}.{token}.clock")
    probe.touch()
    try:
        return max(probe.stat().st_mtime - file.stat().st_mtime, 0.0)
    except FileNotFoundError:
        return None
    finally:
        probe.unlink(missing_ok=True)


def _boot() -> str:
    """Identity of the running system and of its process table, on Linux; elsewhere a constant, empty on Windows."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    return os.name if os.name == "posix" else ""


def _start_of(process: int) -> str | None:
    """Start of a process of this machine; None where there is none, empty where the start is not known."""
    if Path("/proc/self/stat").exists():
        try:
            fields = Path(f"/proc/{process}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in "ZX" else fields[19]
    if os.name == "posix":  # elsewhere, signal 0 would end the process
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            pass  # another user's
    return ""
