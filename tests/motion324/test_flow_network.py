import numpy as np
import pytest
import torch

from motion324.embedding import SurfacePoints
from motion324.flow_network import FlowMotionNetwork, motion_network
from motion324.frame_motion import FEATURES, frame_features
from motion324.network import MotionNetwork
from motion324.observations import CHANNELS, FILLED, VISIBLE
from motion324.pair_encoder import PairEncoder
from motion324.view_frame import CUBE
from tests.motion324.small_run import MODEL
from tests.motion324.test_network import SMALL, surface


def observed(count: int, batch: int = 1, seed: int = 0, later: int = 2) -> SurfacePoints:
    """Random surface points that later frames show."""
    points = surface(count, batch, seed)
    generator = torch.Generator().manual_seed(seed + 50)
    return points.seen_in(0.1 * torch.rand(batch, later, count, CHANNELS, generator=generator))


def network(seed: int = 0) -> FlowMotionNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = FlowMotionNetwork(MODEL)
        torch.nn.init.normal_(made.head[3].weight, std=0.1)
    return made.eval()


def frames(batch: int, count: int) -> torch.Tensor:
    return torch.rand(batch, count, 3, 32, 32, generator=torch.Generator().manual_seed(2))


def test_an_untrained_network_follows_the_flow() -> None:
    queries = observed(9)
    moved = FlowMotionNetwork(MODEL)(observed(20), frames(1, 3), queries)
    assert moved.shape == (1, 3, 9, 3)
    assert queries.observed is not None
    flow = torch.nn.functional.pad(queries.observed[..., FILLED], (0, 1))
    torch.testing.assert_close(moved[:, 1:], queries.points[:, None] + flow, atol=1e-6, rtol=0)


def test_the_reference_frame_is_the_query_points_and_others_move() -> None:
    queries = observed(9)
    moved = network()(observed(20), frames(1, 3), queries)
    assert torch.equal(moved[:, 0], queries.points)
    assert float((moved[:, 1:] - queries.points[:, None]).abs().amax().detach()) > 1e-3
    assert torch.equal(network()(observed(20), frames(1, 1), queries), queries.points[:, None])


def test_chunks_and_batches_do_not_change_the_result() -> None:
    made, shape, queries = network(), observed(20, 2, 3), observed(11, 2, 4)
    video = frames(2, 3)
    crops = torch.tensor([0.5, 0.5, 1.0]) + 0.1 * torch.rand(2, 3, 3, generator=torch.Generator().manual_seed(5))

    def second(points: SurfacePoints) -> SurfacePoints:
        assert points.observed is not None
        return SurfacePoints(points.points[1:], points.normals[1:], points.colors[1:], points.observed[1:])

    with torch.no_grad():
        latents = made.encode(shape, video, crops)
        whole = made.decode(latents, queries)
        torch.testing.assert_close(made.decode(latents, queries, chunk=12), whole, atol=1e-5, rtol=0)
        alone = made(second(shape), video[1:], second(queries), crops[1:])
    torch.testing.assert_close(alone, whole[1:], atol=1e-5, rtol=0)


def test_points_that_were_not_observed_are_an_error() -> None:
    with pytest.raises(ValueError, match="2 later frames"):
        network().encode(surface(20), frames(1, 3))
    with pytest.raises(ValueError, match="2 later frames"):
        network()(observed(20), frames(1, 3), observed(9, later=1))


def test_gradients_reach_every_parameter() -> None:
    made = network()
    made.decode(made.encode(observed(20), frames(1, 3)), observed(9)).square().sum().backward()
    missing = [name for name, value in made.named_parameters() if value.grad is None]
    assert not missing


def test_the_configuration_chooses_the_network() -> None:
    assert isinstance(motion_network(MODEL), FlowMotionNetwork)
    assert isinstance(motion_network(SMALL), MotionNetwork)
    with pytest.raises(ValueError, match="multiple of 16"):
        PairEncoder(40, 48, 12)


def test_features_of_a_frame_are_those_of_a_known_similarity() -> None:
    points = surface(400).points
    scale, turn, shift = 1.1, 0.05, torch.tensor([0.2, -0.1])
    plane = points[..., :2]
    turned = torch.stack([plane[..., 0] - turn * plane[..., 1], plane[..., 1] + turn * plane[..., 0]], -1)
    centre = plane.mean(1, keepdim=True)
    moved = turned + (scale - 1) * (plane - centre) + shift - plane
    seen = torch.zeros(1, 1, 400, CHANNELS)
    seen[..., FILLED], seen[..., VISIBLE] = moved[:, None], 1
    video = torch.zeros(1, 2, 3, 40, 40)
    video[0, 0, :, 10:20, 10:30] = 1  # 20 columns, 10 rows
    video[0, 1, :, 10:20, 10:30] = 1
    crops = torch.tensor([[[0.5, 0.5, 1.0], [0.7, 0.4, 2.0]]])
    found = frame_features(video, crops, points, seen)[0, 0] / 4
    assert found.shape == (FEATURES,)
    torch.testing.assert_close(found[:3], torch.tensor([0.2, -0.1, 1.0]))
    # A crop of twice the side shows the same pixels of a box of twice the size, about the crop's centre.
    first = np.array([0.25, 0.25, 0.75, 0.5])
    second = np.array([0.7, 0.4, 0.7, 0.4]) + 2 * (first - 0.5)
    np.testing.assert_allclose(found[3:7].numpy(), (second - first) / CUBE, atol=1e-5)
    assert float(found[7]) == pytest.approx(np.log(4) / 2, abs=1e-5)
    torch.testing.assert_close(found[8:10], torch.tensor([scale - 1, turn]), atol=2e-3, rtol=0)
    centre_shift = shift + torch.tensor([-turn * float(centre[0, 0, 1]), turn * float(centre[0, 0, 0])])
    torch.testing.assert_close(found[10:], centre_shift, atol=2e-3, rtol=0)
