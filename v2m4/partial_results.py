"""Intermediate results of a long computation, kept on disk until its result is, so that a killed run resumes there.

Each file carries the key of the result that it is a part of; a file of another key, or a damaged one, counts as
missing. The state that is stored must be exact, so that a resumed computation gives the same result to the bit.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from v2m4.files import DAMAGED, Arrays, atomic, read_arrays, write_arrays

log = logging.getLogger(__name__)

INTERVAL = 10.0  # seconds between two writes of one state, at least
SUFFIX = "_partial"  # of the folder's name
KEY = "_key"  # name of the key among a file's arrays


@dataclass
class PartialResults:
    """Parts of one result in a folder of its own.

    Attributes:
        folder: which need not exist; None keeps nothing.
        key: digest of everything that determines the result.
    """

    folder: Path | None = None
    key: str = ""
    _saved: dict[str, float] = field(default_factory=dict)

    def arrays(self, name: str, make: Callable[[], Arrays]) -> Arrays:
        """A part of the result: read where it is on disk, else computed by ``make()`` and stored.

        Parts of different names may be requested by several threads.
        """
        stored = self.load(name)
        if stored is None:
            stored = make()
            self._write(name, stored)
        return stored

    def load(self, name: str) -> Arrays | None:
        """Stored arrays; None where there are none for the key."""
        self._saved.setdefault(name, time.monotonic())
        if self.folder is None:
            return None
        file = self._file(name)
        try:
            stored = read_arrays(file)
            if str(stored.pop(KEY)) != self.key:
                return None
        except FileNotFoundError:
            return None
        except DAMAGED as error:
            log.warning("%s: damaged (%s); computed again", file, error)
            return None
        log.info("%s: resumed", file)
        return stored

    def save(self, name: str, state: Callable[[], Arrays], at_once: bool = False) -> None:
        """Store the state of a computation, unless the last one was stored less than ``INTERVAL`` seconds ago.

        Args:
            name: of the state; call ``load`` first, from where the seconds count.
            state: returns the arrays; called only where they are stored.
            at_once: store it in any case, before a step that takes long.
        """
        elapsed = time.monotonic() - self._saved.get(name, 0.0)
        if self.folder is not None and (at_once or elapsed >= INTERVAL):
            self._write(name, state())
            self._saved[name] = time.monotonic()

    def remove(self, name: str | None = None) -> None:
        """Remove one part, or by default the folder."""
        if self.folder is not None and name is None:
            shutil.rmtree(self.folder, ignore_errors=True)
        elif self.folder is not None and name is not None:
            self._file(name).unlink(missing_ok=True)

    def _write(self, name: str, arrays: Arrays) -> None:
        if self.folder is not None:
            with atomic(self._file(name)) as temporary:
                write_arrays(temporary, {**arrays, KEY: np.array(self.key)})

    def _file(self, name: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{name}.npz"
