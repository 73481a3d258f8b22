"""Parts of a run: which stages are run, which are computed again, and what has changed since the last run."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from v2m4.config import Config
from v2m4.report import NOTICE
from v2m4.workspace import STAGE_FOLDERS, Redo, Workspace, code_version

log = logging.getLogger(__name__)

# The stages of each number, by their names in the manifest; the frames are read before the first one.
MEMBERS = {1: ("generation",), 2: ("camera_search",), 3: ("registration",), 4: ("texture", "export")}
NUMBERS = {name: number for number, names in MEMBERS.items() for name in names} | {"frames": 0}
LAST = max(MEMBERS)
MOST_SHOWN = 6  # options that one line names
ROOMS = ("generators", "camera_search", "registration", "motion324", "texture")  # of the stages' code
# Options that no result depends on: where and by how many the work is done, and what is told of it.
NEUTRAL = {
    *("root", "video", "output", "N", "n", "threads", "verbose", "overwrite", "stage", "from_stage", "until_stage"),
    *("weights_dir", "download", "low_vram", "report", "engine", "jobs", "ray_address", "slurm", "cluster"),
}


class Stopped(Exception):
    """The last stage that the options ask for is done; its text is the name of that stage's folder."""


@dataclass(frozen=True)
class StageSelection:
    """The stages that the options ask for.

    Attributes:
        first: number of the first one that may be computed; results of those before must be on disk.
        last: number of the last one.
        redo: results that are computed again; None for none.
        option: of the command line that names the last stage.
    """

    first: int = 0
    last: int = LAST
    redo: Redo | None = None
    option: str = ""

    @classmethod
    def of(cls, config: Config) -> StageSelection:
        """The selection of ``--stage``, ``--from_stage``, ``--until_stage`` and ``--overwrite``."""
        first, last, redo = config.stage or 0, config.stage or config.until_stage or LAST, None
        if config.from_stage is not None:
            redo = Redo(f"--from_stage {config.from_stage}", _names(config.from_stage, LAST))
        elif config.overwrite and config.stage is not None:
            redo = Redo(f"--overwrite --stage {config.stage}", _names(config.stage, config.stage))
        elif config.overwrite:
            redo = Redo("--overwrite")
        return cls(first, last, redo, "--until_stage" if config.stage is None else "--stage")

    @property
    def required(self) -> frozenset[str]:
        """Names of the stages whose results must be on disk."""
        return _names(1, self.first - 1)

    def check_end(self, stage: str, workspace: Workspace) -> None:
        """Stop after the last stage.

        Raises:
            Stopped: ``stage`` is the last one; its number is below that of the last stage of a whole run.
        """
        if self.last == LAST or stage != MEMBERS[self.last][-1]:
            return
        names = [MEMBERS[number][0] for number in range(max(self.first, 1), self.last + 1)]
        folders = [workspace.path(STAGE_FOLDERS[name]) for name in names]
        there = [str(folder) for folder in folders if folder.is_dir()] or [str(workspace.root)]  # a user mesh has no 1
        options = [self.option] if self.redo is None else [self.redo.option, self.option]
        if self.first and self.redo is not None:  # it names the stage
            options = [self.redo.option]
        log.info(
            "%s: stopped after stage %d (%s); its results are in %s; the same command without %s goes on",
            workspace.root,
            self.last,
            names[-1].replace("_", " "),
            ", ".join(there),
            " and ".join(options),
            extra=NOTICE,
        )
        raise Stopped(STAGE_FOLDERS[names[-1]])


class ChangeNotice:
    """Logs once which options have changed since the last run, where results are computed again because of them.

    Args:
        workspace: the animation's folder; ``on_stale`` is set, and its manifest is that of the last run.
        config: all options.
    """

    def __init__(self, workspace: Workspace, config: Config) -> None:
        self._root, self._logged = workspace.root, False
        self.changes = changed_options(workspace.manifest.get("config"), config.describe())
        code = code_version(*ROOMS)
        if workspace.manifest.get("code", code) != code:
            self.changes.append("the program itself")
        workspace.manifest["code"] = code
        workspace.on_stale = self._on_stale

    def _listed(self) -> str:
        """The changes in one line; of many, as between presets, the first ones and their number."""
        shown = self.changes[:MOST_SHOWN]
        more = len(self.changes) - len(shown)
        text = ", ".join(shown) or "the input, or options of an earlier run"
        return f"{text} and {more} more" if more else text

    def _on_stale(self, stage: str) -> None:
        if self._logged:
            return
        self._logged = True
        number = NUMBERS.get(stage, 0)
        numbers = [str(each) for each in range(max(number, 1), LAST + 1)]
        log.info(
            "%s: changed since the last run: %s; computed again: what depends on it in %s%s %s",
            self._root,
            self._listed(),
            "the frames and " if number == 0 else "",
            "stages" if len(numbers) > 1 else "stage",
            ", ".join(numbers),
            extra=NOTICE,
        )


def changed_options(before: object, now: Mapping[str, Any], prefix: str = "--") -> list[str]:
    """The options that differ between two runs and that results depend on, as "--name old -> new", by name.

    Args:
        before: options of the last run, as in its manifest; anything but a mapping counts as none.
        now: options of this run, as of ``Config.describe``.
        prefix: of the names.
    """
    if not isinstance(before, Mapping):
        return []
    changes: list[str] = []
    for name, value in now.items():
        if name not in before or (prefix == "--" and name in NEUTRAL):
            continue
        if isinstance(value, Mapping):
            changes += changed_options(before[name], value, f"{prefix}{name}.")
        elif _plain(before[name]) != _plain(value):
            changes.append(f"{prefix}{name} {before[name]} -> {value}")
    return changes


def _plain(value: Any) -> Any:
    """A value as JSON gives it back."""
    return list(value) if isinstance(value, tuple) else value


def _names(first: int, last: int) -> frozenset[str]:
    return frozenset(name for number in range(first, last + 1) for name in MEMBERS.get(number, ()))
