"""The command on several animations: the same results with every engine, number of jobs, and division by --N."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import imageio.v3 as iio
import numpy as np
import pytest

import main
from tests.test_main import TINY
from v2m4.engines import slurm
from v2m4.workspace import Workspace

NAMES = ("ball", "egg", "post")


def write_clip(folder: Path, index: int) -> None:
    """A body that grows an arm, in two frames, alpha given."""
    folder.mkdir(parents=True)
    for frame in range(2):
        rgba = np.zeros((64, 64, 4), np.uint8)
        cv2.ellipse(rgba, (32, 34), (10 + 2 * index, 18 - 2 * index), 0, 0, 360, (200, 60 + 40 * index, 40, 255), -1)
        cv2.line(rgba, (32, 28), (56, 34 - 6 * frame), (40, 200, 90, 255), 6)
        iio.imwrite(folder / f"{frame}.png", rgba)


def run(root: Path, output: Path, *more: str) -> int:
    return main.main(["--root", str(root), "--output", str(output), *TINY, *more])


def results(output: Path) -> dict[str, bytes]:
    return {file.parent.name: file.read_bytes() for file in output.glob("*/output_animation.glb")}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("clips")
    for index, name in enumerate(NAMES):
        write_clip(root / name, index)
    return root


@pytest.fixture(scope="module")
def whole(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The results of one process, one animation after the other."""
    output = tmp_path_factory.mktemp("whole")
    assert run(clips, output) == 0
    found = results(output)
    assert len(set(found.values())) == len(NAMES)
    return found


def row_of(name: str, text: str) -> str:
    (row,) = (line for line in text.splitlines() if line.startswith(f"{name} "))
    return row


@pytest.mark.slow
def test_several_processes_give_the_same_bytes_and_one_table(
    clips: Path, whole: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "clips"
    for name in NAMES:
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).symlink_to(clips / name)
    (root / "broken").mkdir()
    (root / "broken" / "0.png").write_bytes(b"no picture")
    (root / "broken" / "1.png").write_bytes(b"no picture")
    assert run(root, tmp_path / "out", "--jobs", "2") == 1
    told = capsys.readouterr()
    assert results(tmp_path / "out") == whole
    assert "failed: ValueError: " in row_of("broken", told.out) and "0.png" in row_of("broken", told.out)
    assert all(row_of(name, told.out).endswith(f"{name}/report.html") for name in NAMES)
    assert "I [4/4]" in told.err and "I ball: 2 frames, foreground: alpha" in told.err
    manifest = json.loads((tmp_path / "out" / "ball" / "manifest.json").read_text())
    assert {entry["state"] for entry in manifest["stages"].values()} == {"done"}


@pytest.mark.slow
def test_shares_of_several_processes_are_the_whole_and_what_is_done_is_left(
    clips: Path, whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(clips, tmp_path, "--N", "2", "--n", "1") == 0
    first = results(tmp_path)
    assert 0 < len(first) < len(NAMES)
    made: list[str] = []
    record = Workspace.record

    def recorded(self: Workspace, name: str, key: str) -> None:
        made.append(f"{self.root.name}/{name}")
        record(self, name, key)

    monkeypatch.setattr(Workspace, "record", recorded)
    assert run(clips, tmp_path, "--N", "2", "--n", "0") == 0
    assert not [name for name in made if name.split("/")[0] in first]  # the share of the other process
    assert results(tmp_path) == whole
    made.clear()
    assert run(clips, tmp_path) == 0
    assert not [name for name in made if name.endswith(".npz")]
    assert results(tmp_path) == whole


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """A Ray cluster: a head without cores, and two nodes with one."""
    ray = pytest.importorskip("ray", reason="Ray is not installed; pip install -r requirements/ray.txt")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    size = {"object_store_memory": 80 * 2**20, "memory": 2**31}
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **size})
    made.workers = [made.add_node(num_cpus=1, **size) for _ in range(2)]
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.mark.slow
def test_a_ray_cluster_that_loses_a_node_gives_the_same_bytes(
    clips: Path,
    whole: dict[str, bytes],
    tmp_path: Path,
    cluster,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lost: list[str] = []

    def lose_a_node() -> None:
        """When both nodes are at work on a stage after the first."""
        deadline = time.monotonic() + 300
        while len(at_work := list(tmp_path.glob("out/*/1_generation/*.npz"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        lost.extend(path.parents[1].name for path in at_work)
        cluster.remove_node(cluster.workers[0], allow_graceful=False)

    killer = threading.Thread(target=lose_a_node)
    killer.start()
    monkeypatch.chdir(tmp_path)  # the output folder is given as a relative path
    code = run(clips, Path("out"), "--engine", "ray", "--ray_address", cluster.address, "--cluster.memory", "1")
    killer.join()
    assert len(set(lost)) >= 1
    told = capsys.readouterr()
    assert code == 0, told.err
    assert results(tmp_path / "out") == whole
    ends = [line for line in told.err.splitlines() if line.startswith("I [")]
    assert sorted(line.split("] ")[1].split(":")[0] for line in ends) == sorted(NAMES)  # each once
    begun = [line for line in told.err.splitlines() if "foreground: alpha" in line]
    assert len(begun) > len(NAMES)  # what the lost node worked on was begun again


@pytest.mark.slow
def test_jobs_through_submitit_give_the_same_bytes(
    clips: Path, whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("submitit", reason="submitit is not installed; pip install -r requirements/slurm.txt")
    monkeypatch.setattr(slurm, "EXECUTOR", "local")  # submitit's, in place of Slurm
    monkeypatch.setattr("v2m4.preflight.engine.shutil.which", lambda name: f"/usr/bin/{name}")
    assert run(clips, tmp_path, "--engine", "slurm", "--cluster.cpus", "1") == 0
    assert results(tmp_path) == whole
