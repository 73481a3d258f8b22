from pathlib import Path

import numpy as np
import pytest
import torch

from motion324.flow_network import FlowMotionNetwork
from motion324.measure import measure, picture, windows_of
from motion324.samples import SampleConfig
from motion324.shards import to_records
from tests.motion324.small_run import DATA, MODEL, moving_square

FOX = Path(__file__).resolve().parents[3] / "shared" / "data" / "animated" / "Fox.glb"


def test_an_untrained_network_is_measured_and_pictured() -> None:
    torch.manual_seed(0)
    network = FlowMotionNetwork(MODEL).eval()
    records = to_records([(moving_square(seed), "square", "square") for seed in range(3)])
    figures = measure(network, records, DATA)
    assert figures.still > 1
    assert 0 < figures.ratio < 1.5
    shown = picture(network, records, DATA)
    assert shown.shape == (3 * 64, 3 * 64, 3)
    assert ((shown == (40, 40, 255)).all(-1)).any()


@pytest.mark.skipif(not FOX.is_file(), reason="needs ../shared/data/animated")
def test_windows_of_a_file_move() -> None:
    records = windows_of(FOX, 3, 4, SampleConfig(size=32, points=50), 0)
    assert set(records["name"]) == {"Fox"}
    points = records["points"].astype(np.float32)
    assert (np.linalg.norm(points - points[:, :1], axis=-1).mean((1, 2)) > 0.005).all()
