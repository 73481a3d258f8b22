"""Tasks of a Ray cluster of several nodes, each a set of processes of its own; one is killed in the middle."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.v2m4.engines import works
from v2m4.config import FAST, ClusterConfig, Config
from v2m4.console import Console, use_console
from v2m4.engines.batch import run_batch
from v2m4.engines.failure import EngineError
from v2m4.io.sources import Source

ray = pytest.importorskip("ray", reason="Ray is not installed; pip install -r requirements/ray.txt")
cluster_utils = pytest.importorskip("ray.cluster_utils")

pytestmark = pytest.mark.slow
NODE = {"object_store_memory": 80 * 2**20, "memory": 2**30}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """A head without cores, and two nodes with one."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    made = cluster_utils.Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **NODE}
    )
    for _ in range(2):
        made.add_node(num_cpus=1, **NODE)
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture
def config(tmp_path: Path, cluster) -> Config:
    resources = ClusterConfig(memory=0.25, gpus=0.0, timeout=5.0)
    return replace(
        FAST, device="cpu", engine="ray", output=tmp_path / "out", ray_address=cluster.address, cluster=resources
    )


@pytest.fixture
def console(restored_logging: None) -> Console:
    return use_console(False, "registration")


def sources(count: int) -> list[Source]:
    return [Source(f"clip {index}", Path(f"clip {index}"), "folder", 3) for index in range(count)]


def test_every_animation_is_run_once_and_one_that_breaks_stops_no_other(
    config: Config, console: Console, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = [*sources(3), Source("broken", Path("broken"), "folder", 1)]
    outcomes = run_batch(mine, config, console, works.some_killed)
    assert [outcome.name for outcome in outcomes] == [source.name for source in mine]
    assert [outcome.error is None for outcome in outcomes] == [True, True, True, False]
    assert "never to be seen" in str(outcomes[3].error)
    assert all(len(outcome.result.read_text().splitlines()) == 1 for outcome in outcomes[:3] if outcome.result)
    told = capsys.readouterr().err
    assert "for each animation 1 CPUs, 0 GPUs, 0.25 GiB" in told
    assert all(f"W clip {index}: odd pixels" in told for index in range(3))
    assert "[4/4]" in told
    assert not list(config.output.glob(".progress*"))


def test_a_process_that_dies_is_started_again(config: Config, console: Console) -> None:
    (outcome,) = run_batch(sources(1), config, console, works.killed_once)
    assert outcome.error is None
    assert (config.output / "clip 0" / "runs").read_text().count("\n") == 1


def test_what_the_cluster_has_not_is_told_after_the_time_out(config: Config, console: Console) -> None:
    asked = replace(config, cluster=replace(config.cluster, cpus=3, memory=0.5, timeout=1.0))
    with pytest.raises(EngineError) as refused:
        run_batch(sources(2), asked, console, works.done)
    line = str(refused.value)
    assert "asked for 3 CPUs, 0 GPUs, 0.5 GiB" in line
    assert "the cluster has 1 CPUs, 0 GPUs, 1 GiB" in line
    assert "--cluster.cpus" in line and "\n" not in line
    assert not list(config.output.glob("clip*"))


def test_when_all_nodes_die_the_rest_is_told_as_failed(config: Config, console: Console, cluster) -> None:
    nodes = [node for node in cluster.list_all_nodes() if node is not cluster.head_node]
    cluster.remove_node(nodes[0], allow_graceful=False)

    def kill_when_one_is_done() -> None:
        while not list(config.output.glob("*/runs")):
            time.sleep(0.1)
        time.sleep(3)
        cluster.remove_node(nodes[1], allow_graceful=False)

    killer = threading.Thread(target=kill_when_one_is_done)
    killer.start()
    mine = [Source("first", Path("first"), "folder", 9), Source("never", Path("never"), "folder", 3)]
    outcomes = run_batch(mine, config, console, works.second_endless)
    killer.join()
    assert outcomes[0].error is None
    assert str(outcomes[1].error).startswith("no node of the cluster can run an animation: asked for 1 CPUs")
