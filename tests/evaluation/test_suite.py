"""Suites: what is read, and what is refused in one line."""

from pathlib import Path

import pytest

from evaluation.suite import GROUPS, SuiteError, read_suite

SUITES = Path(__file__).resolve().parents[2] / "evaluation" / "suites"
METHOD = '{name: ours, run: ["{python} {code}/main.py --root {root} --output {output}"]}'
CASE = '{name: dino, input: "{code}/examples/walking_dino", truth: "{data}/dino.npz"}'


def written(folder: Path, methods: str = METHOD, cases: str = CASE, metrics: str = "motion80", more: str = "") -> Path:
    path = folder / "suite.yaml"
    path.write_text(f"name: small\nmetrics: [{metrics}]\nmethods: [{methods}]\ncases: [{cases}]\n{more}")
    return path


def test_a_suite_is_read(tmp_path):
    suite = read_suite(written(tmp_path, metrics="motion80, picture"))
    assert (suite.name, suite.metrics) == ("small", ("motion80", "picture"))
    assert suite.methods[0].mesh == "{output}/{case}/output_animation.glb"
    assert suite.methods[0].pictures == "{output}/{case}/output_final_rendering_images"
    assert suite.cases[0].has_truth
    assert [metric.name for metric in suite.columns()] == ["cd", "f_score", "psnr", "ssim", "iou", "flicker"]


@pytest.mark.parametrize("path", sorted(SUITES.glob("*.yaml")), ids=lambda path: path.stem)
def test_committed_suites(path):
    assert read_suite(path).name == path.stem


def test_a_suite_has_two_halves(tmp_path):
    held_out = '{name: cat, held_out: true, input: "x", truth: "y"}'
    suite = read_suite(written(tmp_path, cases=f"{CASE}, {held_out}"))
    halves = {half: [case.name for case in suite.half(half).cases] for half in ("all", "tuning", "held_out")}
    assert halves == {"all": ["dino", "cat"], "tuning": ["dino"], "held_out": ["cat"]}
    with pytest.raises(SuiteError, match="--half held_out: suite small has no such case"):
        suite.half("tuning").half("held_out")


def test_the_halves_of_motion_share_no_family():
    """Families are packs on one skeleton; the animals of the tuning half stand in no other pack of the other half."""
    suite = read_suite(SUITES / "motion.yaml")
    tuning, held_out = (suite.half(half).cases for half in ("tuning", "held_out"))
    assert len(tuning) == len(held_out) == 12
    rigs = [
        {(Path(case.asset).parent.name, _family(Path(case.asset).stem)) for case in half} for half in (tuning, held_out)
    ]
    assert not rigs[0] & rigs[1]
    words = [{word for case in half for word in _subject(case.asset)} for half in (tuning, held_out)]
    assert not words[0] & words[1]


def _family(stem: str) -> str:
    """The pack of an asset, or the character itself where the folder holds one character a file."""
    return stem.split("__", maxsplit=1)[0]


def _subject(asset: str) -> set[str]:
    """Words of a character's name, without its pack's and without those that say nothing about its body."""
    name = Path(asset).stem.split("__")[-1].lower().replace("-", "_")
    return set(name.split("_")) - {"enemy", "character", "male", "casual"}


def test_metrics_have_names_of_their_own():
    names = [metric.name for group in GROUPS.values() for metric in group]
    assert len(names) == len(set(names))


VIDEO = '{name: a, video: "a.mp4"}'


@pytest.mark.parametrize(
    ("entries", "line"),
    [
        ({"more": "colour: red\n"}, "the suite: unknown key 'colour'"),
        ({"methods": "{name: a, runs: []}"}, "method a: unknown key 'runs'; choose from name, run"),
        ({"methods": "{name: a}"}, "method a: needs exactly one of"),
        ({"methods": '{name: a, run: ["x"], video: "y"}'}, "method a: needs exactly one of"),
        ({"methods": "{name: a, run: x}"}, "method a: run: expected a list"),
        ({"methods": '{name: a, run: ["x {rot}"]}'}, "{rot} is unknown here"),
        ({"methods": '{name: a, run: ["x {rot"]}'}, "method a: 'x {rot'"),
        ({"methods": '{name: a, video: "{output}"}'}, "{output} is unknown here"),
        ({"methods": '{name: a, video: "x", crop: [0, 0, 5]}'}, "crop: expected [left, top, right, bottom]"),
        ({"methods": '{name: a, video: "x", crop: [5, 0, 5, 9]}'}, "crop: expected [left, top, right, bottom]"),
        ({"methods": '{name: "a/b", video: "x"}'}, "the name is also a folder's"),
        ({"methods": f"{VIDEO}, {VIDEO}"}, "method 'a': the name is there twice"),
        ({"methods": ""}, "methods: expected a list with at least one entry"),
        ({"methods": "3"}, "method 1: expected keys and values"),
        ({"cases": "{name: c}"}, "case c: needs either an asset"),
        ({"cases": "{input: c}"}, "case 1: name is missing"),
        ({"cases": '{name: c, input: "x", yaw: 3}'}, "case c: yaw does not go with an input"),
        ({"cases": '{name: c, asset: "x", truth: "y"}'}, "case c: truth does not go with an asset"),
        ({"cases": '{name: c, asset: "x", frames: 0}'}, "case c: frames: must be at least 1"),
        ({"cases": '{name: c, input: "x", fov: 20}'}, "case c: fov does not go with an input"),
        ({"cases": '{name: c, asset: "x", yaw: far}'}, "case c: yaw: expected a number, got 'far'"),
        ({"cases": '{name: c, asset: "x", frames: 2.5}'}, "case c: frames: expected a number"),
        ({"cases": '{name: c, input: "x", held_out: 3}'}, "case c: held_out: expected true or false, got 3"),
        ({"cases": '{name: c, input: "x"}'}, "metrics: 'motion80' needs cases with a truth"),
        ({"metrics": "beauty"}, "metrics: 'beauty' is unknown; choose from"),
        ({"more": "a: [\n"}, "no YAML"),
    ],
)
def test_errors_in_a_suite_are_one_line(tmp_path, entries, line):
    path = written(tmp_path, **entries)
    with pytest.raises(SuiteError) as refused:
        read_suite(path)
    assert line in str(refused.value)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_missing_suite_file_is_named(tmp_path):
    with pytest.raises(SuiteError, match="No such file"):
        read_suite(tmp_path / "none.yaml")
