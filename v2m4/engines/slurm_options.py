"""``--slurm KEY=VALUE``: long options of sbatch."""

from __future__ import annotations

import re
from collections.abc import Sequence

TIME = "4:00:00"  # of a job, where no option says otherwise
_TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<clock>\d+(?::\d+){0,2})")


def sbatch_options(pairs: Sequence[str]) -> dict[str, str]:
    """The options by name, ``time`` among them.

    Raises:
        ValueError: one is not KEY=VALUE, or the time is not one of sbatch's.
    """
    options = {"time": TIME}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        key = key.strip().lstrip("-")
        if not (key and equals and value):
            raise ValueError(f"--slurm {pair}: give KEY=VALUE, as in partition=gpu time=2:00:00")
        options[key] = value.strip()
    minutes(options["time"])
    return options


def minutes(text: str) -> int:
    """Minutes of a time limit, rounded up: M, M:S, H:M:S, D-H, D-H:M or D-H:M:S, as sbatch has it.

    Raises:
        ValueError: it is none of these.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"--slurm time={text}: give minutes, H:M:S or D-H:M:S")
    parts = [int(part) for part in match["clock"].split(":")]
    if match["days"] is not None:
        hours, mins, seconds = [*parts, 0, 0][:3]
        hours += 24 * int(match["days"])
    elif len(parts) == 3:
        hours, mins, seconds = parts
    else:
        hours, (mins, seconds) = 0, [*parts, 0][:2]
    return 60 * hours + mins + (seconds > 0)
