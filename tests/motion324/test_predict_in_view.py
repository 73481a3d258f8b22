import numpy as np
import pytest
import torch

from motion324.flow_network import FlowMotionNetwork
from motion324.predict import Prediction
from motion324.predict_in_view import predict_in_view
from tests.motion324.small_run import MODEL
from v2m4.camera import Camera
from v2m4.frame import Frame
from v2m4.mesh import Mesh

SIZE, STEP = 64, 3
FACES = torch.tensor([[0, 1, 2], [0, 2, 3]])
MESH = Mesh(torch.tensor([[-0.5, -0.5, 4.0], [0.5, -0.5, 4.0], [0.5, 0.5, 4.2], [-0.5, 0.5, 4.2]]), FACES)


def frames(count: int) -> list[Frame]:
    """The square's box in the picture of the default camera, moved by some pixels a frame."""
    pixels, _ = Camera.identity().project(MESH.vertices, (SIZE, SIZE))
    low, high = pixels[0].amin(0).round().int().tolist(), pixels[0].amax(0).round().int().tolist()
    texture = np.random.default_rng(0).integers(80, 255, (high[1] - low[1], high[0] - low[0], 3)).repeat(1, 0)
    made = []
    for index in range(count):
        rgba = np.zeros((SIZE, SIZE, 4), np.uint8)
        x = low[0] + STEP * index
        rgba[low[1] : high[1], x : x + texture.shape[1], :3] = texture
        rgba[low[1] : high[1], x : x + texture.shape[1], 3] = 255
        made.append(Frame(f"{index:03d}", index, rgba))
    return made


@pytest.mark.parametrize("window", [2, 3, 8])
def test_an_untrained_network_moves_the_mesh_across_the_view(window: int) -> None:
    torch.manual_seed(0)
    result = predict_in_view(
        FlowMotionNetwork(MODEL).eval(), MESH, frames(4), options=Prediction(window=window, smoothing=None)
    )
    assert result.vertices.shape == (4, 4, 3)
    torch.testing.assert_close(result.vertices[0], MESH.vertices, atol=1e-4, rtol=0)
    moved = (result.vertices - MESH.vertices).mean(1)
    seen, _ = Camera.identity().project(MESH.vertices.mean(0)[None, None] + moved[:, None], (SIZE, SIZE))
    expected = SIZE / 2 + STEP * torch.arange(4.0)
    torch.testing.assert_close(seen[:, 0, 0], expected, atol=2.5, rtol=0)  # the corners lie on the rim of the flow
    assert float(moved[:, 1:].abs().max()) < 0.05


def test_a_video_without_frames_is_an_error() -> None:
    with pytest.raises(ValueError, match="no frames"):
        predict_in_view(FlowMotionNetwork(MODEL), MESH, [])
