import cv2
import numpy as np
import pytest
import torch

from motion324.embedding import SurfacePoints
from motion324.flow_encoder import FlowEncoder, chained_flows, flow_inputs
from motion324.flow_network import FlowMotionNetwork, motion_network
from motion324.network import MotionNetwork
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


def test_chained_flow_follows_a_translation_beyond_one_step() -> None:
    video = np.stack([textured(64, 3.0 * number) for number in range(5)]).astype(np.uint8)
    flows = chained_flows(video)
    assert flows.shape == (4, 2, 64, 64, 2)
    for number in range(4):
        inner = flows[number, :, 16:48, 16:40]
        np.testing.assert_allclose(np.median(inner[..., 0], (1, 2)), 3.0 * (number + 1), atol=0.4)
        np.testing.assert_allclose(np.median(inner[..., 1], (1, 2)), 0, atol=0.3)


def test_warped_frames_resemble_the_reference() -> None:
    video = np.stack([textured(64, 2.0 * number) for number in range(3)]) / 255
    inputs = flow_inputs(torch.from_numpy(video).float()[None, :, None].expand(-1, -1, 3, -1, -1))
    assert inputs.shape == (2, 150, 16, 16)
    reference, later, back = (inputs[:, 48 * part : 48 * (part + 1), 3:13, 3:11] for part in range(3))
    assert float((back - reference).abs().mean()) < 0.4 * float((later - reference).abs().mean())


def test_an_untrained_network_stands_still() -> None:
    made = FlowMotionNetwork(MODEL)
    queries = surface(9, 2)
    moved = made(surface(20, 2, 1), frames(2, 3), queries)
    assert moved.shape == (2, 3, 9, 3)
    torch.testing.assert_close(moved, queries.points[:, None].expand(-1, 3, -1, -1))


def test_the_reference_frame_is_the_query_points_and_others_move() -> None:
    queries = surface(9)
    moved = network()(surface(20), frames(1, 3), queries)
    assert torch.equal(moved[:, 0], queries.points)
    assert float((moved[:, 1:] - queries.points[:, None]).abs().max()) > 1e-3
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
