"""What learned parts need: in order, from one place, and as the documents say it."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from v2m4 import dreamsim, lpips
from v2m4 import preflight as needs
from v2m4.config import FAST
from v2m4.preflight import camera_search, foreground, generators, registration
from v2m4.weights import Needs, Package, Unavailable, Weights

ROOT = Path(__file__).resolve().parents[2]
PINNED = re.compile(r"github\.com/([\w-]+/[\w.-]+?)(?:\.git)?(?:@([0-9a-f]{7}))?(?= |,|\"|`|\)|#|$)")


def parts() -> list[Needs]:
    """Everything that anything needs."""
    painted = replace(FAST, generation=replace(FAST.generation, paint="network"))
    own = [need for name in generators.LEARNED for need in generators.needs_of(name, painted)]
    painters = [need for make in generators.PAINTERS.values() for need in make()]
    return [*own, *painters, camera_search.VGGT, camera_search.DUST3R, registration.COTRACKER]


def installs() -> set[str]:
    """Every command that a refusal names."""
    loose = (*foreground.REMBG_PACKAGES, *foreground.SAM2_PACKAGES, *dreamsim.PACKAGES, *lpips.PACKAGES)
    return {package.install for need in parts() for package in need.packages} | {each.install for each in loose}


def commits(text: str) -> dict[str, str]:
    """The commit of each repository that a text installs or clones."""
    found = {}
    for line in text.splitlines():
        for match in PINNED.finditer(line):
            repository, commit = match.groups()
            checkout = re.search(rf"-C {re.escape(repository.split('/')[1])} checkout (?:--\S+ )?([0-9a-f]{{7}})", line)
            if commit or checkout:
                found[repository] = commit or checkout.group(1)
    return found


def test_every_repository_is_asked_for_at_a_commit():
    for command in installs():
        for repository, _ in PINNED.findall(command):
            assert repository in commits(command), command


@pytest.mark.parametrize("page", ["docs/models.md", "Install.md"])
def test_the_documents_name_the_same_commits(page):
    ours = commits("\n".join(installs()))
    told = commits((ROOT / page).read_text("utf-8").replace("\n  ", " "))
    assert {repository: ours.get(repository, commit) for repository, commit in told.items()} == told
    if page == "docs/models.md":
        assert set(ours) <= set(told)


def test_the_documents_name_all_weights():
    text = (ROOT / "docs/models.md").read_text("utf-8")
    missing = [part.repository for need in parts() for part in need.weights if part.repository not in text]
    assert not missing


def test_things_are_asked_for_in_order(tmp_path, monkeypatch):
    def further(config):
        raise Unavailable("more")

    whole = Needs((Package("numpy", ""), Package("no_such", "pip install no_such")), "needs a GPU", further=further)
    whole = replace(whole, weights=(Weights("owner/name", ("a",)),))
    config = replace(FAST, weights_dir=tmp_path, device="cpu")
    mended = [
        ("no_such is not installed; pip install no_such", {"packages": whole.packages[:1]}),
        ("^needs a GPU$", {"gpu": ""}),
        ("weights of owner/name are missing", {}),
        ("^more$", {"further": None}),
    ]
    for expected, change in mended:
        with pytest.raises(Unavailable, match=expected):
            whole.check(config)
        whole = replace(whole, **change)
        if not change:
            (tmp_path / "name").mkdir()
            (tmp_path / "name/a").touch()
    whole.check(config)
    assert whole.folders(config) == {whole.weights[0]: (tmp_path / "name").resolve()}
    first = whole.version(config)
    (tmp_path / "name/a").write_text("other")
    assert whole.version(config) != first


def test_the_default_needs_nothing():
    needs.require(replace(FAST, device="cpu"))
