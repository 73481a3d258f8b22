import cv2
import numpy as np
import pytest
import torch

from motion324.embedding import SurfacePoints
from motion324.flow_encoder import FlowEncoder, chained_flows, flow_inputs
from motion324.flow_network import FlowMotionNetwork, motion_network
from motion324.network import MotionNetwork
from motion324.view_frame import CUBE
from tests.motion324.small_run import MODEL
from tests.motion324.test_network import SMALL, surface


def textured(size: int, shift: float = 0.0) -> np.ndarray:
    noise = cv2.GaussianBlur(np.random.default_rng(0).uniform(0, 255, (size, size)).astype(np.float32), (0, 0), 2)
    noise = np.clip((noise - noise.mean()) * 6 + 128, 0, 255)
    return cv2.warpAffine(noise, np.float32([[1, 0, shift], [0, 1, 0]]), (size, size), borderMode=cv2.BORDER_REFLECT)


def network(seed: int = 0) -> FlowMotionNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = FlowMotionNetwork(MODEL)
        torch.nn.init.normal_(made.head[3].weight, std=0.1)
    return made.eval()


def frames(batch: int, count: int) -> torch.Tensor:
    return torch.rand(batch, count, 3, 32, 32, generator=torch.Generator().manual_seed(2))


def square(size: int, x: int, y: int) -> np.ndarray:
    """A textured square on black, its corner at (x, y)."""
    picture = np.zeros((size, size), np.float32)
    picture[y : y + 20, x : x + 20] = 60 + 0.6 * textured(20)
    return picture


def test_flow_follows_an_object_that_moves_by_its_own_size() -> None:
    video = np.stack([square(96, 10 + 22 * number, 40 - 6 * number) for number in range(4)]).astype(np.uint8)
    flows = chained_flows(video)
    assert flows.shape == (3, 2, 96, 96, 2)
    for number in range(3):
        inner = flows[number, :, 44:56, 14:26]
        np.testing.assert_allclose(np.median(inner[..., 0], (1, 2)), 22 * (number + 1), atol=1)
        np.testing.assert_allclose(np.median(inner[..., 1], (1, 2)), -6 * (number + 1), atol=1)


def test_an_empty_frame_has_the_place_of_the_one_before() -> None:
    video = np.stack([square(64, 10, 20), np.zeros((64, 64)), square(64, 20, 20)]).astype(np.uint8)
    flows = chained_flows(video)
    assert np.isfinite(flows).all()
    assert np.median(flows[1, 1, 24:36, 14:26, 0]) == pytest.approx(10, abs=1)


def test_warped_frames_resemble_the_reference() -> None:
    video = np.stack([square(64, 8 + 12 * number, 20) for number in range(3)]) / 255
    inputs, flow = flow_inputs(torch.from_numpy(video).float()[None, :, None].expand(-1, -1, 3, -1, -1))
    assert inputs.shape == (2, 150, 16, 16)
    assert flow.shape == (2, 2, 16, 16)
    reference, later, back = (inputs[:, 48 * part : 48 * (part + 1)] for part in range(3))
    assert float((back - reference).abs().mean()) < 0.3 * float((later - reference).abs().mean())


def test_the_flow_of_an_object_that_is_almost_black_is_found() -> None:
    video = torch.zeros(1, 2, 3, 64, 64)
    video[0, 0, :, 20:40, 8:28] = 2 / 255
    video[0, 1, :, 24:44, 28:48] = 2 / 255
    _, flow = flow_inputs(video)
    inner = flow[0, :, 6:9, 3:6].mean((1, 2)) * 64
    torch.testing.assert_close(inner, torch.tensor([20.0, 4.0]), atol=1.0, rtol=0)


def test_an_untrained_network_follows_the_flow() -> None:
    picture = np.stack([square(32, 4 + 4 * number, 6) for number in range(3)]) / 255
    video = torch.from_numpy(picture).float()[None, :, None].expand(-1, -1, 3, -1, -1)
    points = torch.tensor([[[-0.3, 0.1, 0.2], [0.0, 0.0, -0.4]]])  # on the square
    queries = SurfacePoints(points, torch.nn.functional.normalize(points, dim=-1), points.abs())
    moved = FlowMotionNetwork(MODEL)(surface(20), video, queries)
    assert moved.shape == (1, 3, 2, 3)
    expected = torch.tensor([0.0, 4.0, 8.0]) / 32 / CUBE
    torch.testing.assert_close(moved[0, :, :, 0] - points[0, :, 0], expected[:, None].expand(-1, 2), atol=0.03, rtol=0)
    torch.testing.assert_close(moved[0, :, :, 1:], points[..., 1:].expand(3, -1, -1), atol=0.03, rtol=0)


def test_the_reference_frame_is_the_query_points_and_others_move() -> None:
    queries = surface(9)
    moved = network()(surface(20), frames(1, 3), queries)
    assert torch.equal(moved[:, 0], queries.points)
    assert float((moved[:, 1:] - queries.points[:, None]).abs().amax().detach()) > 1e-3
    assert torch.equal(network()(surface(20), frames(1, 1), queries), queries.points[:, None])


def test_chunks_and_batches_do_not_change_the_result() -> None:
    made, shape, queries = network(), surface(20, 2, 3), surface(11, 2, 4)
    video = frames(2, 3)
    with torch.no_grad():
        latents = made.encode(shape, video)
        whole = made.decode(latents, queries)
        torch.testing.assert_close(made.decode(latents, queries, chunk=12), whole, atol=1e-5, rtol=0)
        alone = made(
            SurfacePoints(shape.points[1:], shape.normals[1:], shape.colors[1:]), video[1:],
            SurfacePoints(queries.points[1:], queries.normals[1:], queries.colors[1:]),
        )  # fmt: skip
    torch.testing.assert_close(alone, whole[1:], atol=1e-5, rtol=0)


def test_gradients_reach_every_parameter() -> None:
    made = network()
    made.decode(made.encode(surface(20), frames(1, 3)), surface(9)).square().sum().backward()
    missing = [name for name, value in made.named_parameters() if value.grad is None]
    assert not missing


def test_the_configuration_chooses_the_network() -> None:
    assert isinstance(motion_network(MODEL), FlowMotionNetwork)
    assert isinstance(motion_network(SMALL), MotionNetwork)
    with pytest.raises(ValueError, match="multiple of 16"):
        FlowEncoder(40, 48, 12)
