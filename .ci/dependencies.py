"""Report the licences of all dependencies, and what pip-audit knows against them; never a failure.

python .ci/dependencies.py
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAME = re.compile(r"[A-Za-z0-9][\w.-]*")
TO_LOOK_AT = re.compile(r"(?<!L)(?<!Lesser )GPL|Affero|proprietary|non-?commercial|unknown", re.IGNORECASE)
KNOWN = ("MIT", "BSD", "Apache", "Mozilla", "GPL")  # looked for in packages that give the whole text
TIMEOUT = 300  # seconds


def required(file: Path) -> list[str]:
    """The names of the packages that a requirements file lists, and those of the files that it names."""
    names: list[str] = []
    for line in file.read_text("utf-8").splitlines():
        if line.startswith("-r "):
            names += required(file.parent / line.removeprefix("-r ").strip())
        elif match := NAME.match(line):
            names.append(match[0])
    return names


def with_dependencies(names: Iterable[str]) -> dict[str, metadata.Distribution]:
    """The installed packages of these names and all that they require, without extras, by lower-case name."""
    found: dict[str, metadata.Distribution] = {}
    pending = list(names)
    while pending:
        name = re.sub(r"[-_.]+", "-", pending.pop()).lower()
        if name in found:
            continue
        try:
            found[name] = metadata.distribution(name)
        except metadata.PackageNotFoundError:  # of another system or Python
            continue
        wanted = [each for each in found[name].requires or [] if "extra ==" not in each]
        pending += [match[0] for each in wanted if (match := NAME.match(each))]
    return dict(sorted(found.items()))


def licence(distribution: metadata.Distribution) -> str:
    """The licence of a package in a few words: its SPDX expression, else its classifiers, else its own words."""
    about = distribution.metadata
    if expression := about.get_all("License-Expression"):
        return expression[0]
    classifiers = [each.split(" :: ")[-1] for each in about.get_all("Classifier") or [] if each.startswith("License")]
    named = [each for each in classifiers if each != "OSI Approved"]
    text = (about.get_all("License") or [""])[0].strip()
    short = text if 0 < len(text) < 60 else next((name for name in KNOWN if name in text), "unknown")
    return ", ".join(named) or short


def table(distributions: dict[str, metadata.Distribution]) -> list[str]:
    """The lines of the table of licences; those that a person should look at are marked."""
    rows = [(name, each.version, licence(each)) for name, each in distributions.items()]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(2)]
    return [
        f"{name:{widths[0]}}  {version:{widths[1]}}  {text}{'  <- look at it' if TO_LOOK_AT.search(text) else ''}"
        for name, version, text in rows
    ]


def audit() -> list[str]:
    """The lines that say what pip-audit found, or why there is no answer."""
    command = shutil.which("pip-audit")
    if command is None:
        return ["vulnerabilities: not looked for, pip-audit is not installed (pip install pip-audit)"]
    arguments = [command, "--path", sysconfig.get_path("purelib"), "--format", "json", "--progress-spinner", "off"]
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=TIMEOUT, check=False)
        packages = json.loads(done.stdout)["dependencies"]
    except (OSError, subprocess.TimeoutExpired) as error:
        return [f"vulnerabilities: not looked for, pip-audit did not run ({error})"]
    except (ValueError, KeyError):  # it prints no report where it has no answer
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        return [f"vulnerabilities: not looked for, pip-audit could not reach the advisory database ({reason})"]
    lines = [
        f"{each['name']} {each['version']}: {found['id']}, fixed in {', '.join(found['fix_versions']) or 'no release'}"
        for each in packages
        for found in each.get("vulns", [])
    ]
    return [f"vulnerabilities: {len(lines)} known in {len(packages)} packages", *lines]


def main() -> int:
    """Print the report; returns 0."""
    names = required(ROOT / "requirements-dev.txt")  # which names the other files
    print("licences of the dependencies", *table(with_dependencies(names)), sep="\n")
    print(*audit(), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
