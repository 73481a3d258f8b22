"""The contact sheet: every cell is filled, and meshes of any colour are seen."""

import numpy as np
import pytest
import torch
import trimesh

from v2m4.camera import Orbit
from v2m4.contact_sheet import BACKGROUND, VIEWS, contact_sheet, view_cameras
from v2m4.mesh import Mesh, MeshSequence

SIZE = 64


def moving_box(extents: tuple[float, float, float], grey: float = 1.0, shift: float = 0.0) -> MeshSequence:
    """A box in front of a camera, that moves by ``shift`` to the right."""
    box = trimesh.creation.box(extents)
    vertices = torch.tensor(box.vertices, dtype=torch.float32)
    offsets = torch.tensor([[0.0, 0.0, 0.0], [shift, 0.0, 0.0]])
    extrinsics = Orbit.of(yaw=0.4, pitch=0.3).camera().extrinsics[0]
    poses = (vertices + offsets[:, None]) @ extrinsics[:3, :3].T + extrinsics[:3, 3]
    mesh = Mesh(poses[0], torch.tensor(box.faces), colors=torch.full((len(vertices), 3), grey))
    return MeshSequence(poses, mesh, np.arange(2.0))


def cells(sequence: MeshSequence, times: int = 2) -> np.ndarray:
    """(2 * times, views, SIZE, SIZE, 3), without the border."""
    extrinsics = Orbit.of(yaw=0.4, pitch=0.3).camera().extrinsics[0]
    sheet = contact_sheet(sequence, extrinsics, SIZE, times)
    assert sheet.shape == (2 * times * SIZE, len(VIEWS) * SIZE, 3)
    return sheet.reshape(2 * times, SIZE, len(VIEWS), SIZE, 3).swapaxes(1, 2)[:, :, 1:, 1:]


def filled(cell: np.ndarray) -> np.ndarray:
    """Rows and columns of a cell (S, S, 3) that show something, as fractions of its side."""
    shown = np.abs(cell.astype(int) - round(255 * BACKGROUND)).max(-1) > 8
    return np.array([shown.any(1).sum(), shown.any(0).sum()]) / SIZE


@pytest.mark.parametrize("extents", [(1.0, 1.0, 1.0), (0.3, 1.0, 0.2), (0.15, 0.15, 3.0), (100.0, 40.0, 60.0)])
@pytest.mark.parametrize("grey", [1.0, BACKGROUND, 0.0])
def test_half_of_every_cells_side_is_filled_and_nothing_is_cut_off(extents, grey) -> None:
    sequence = moving_box(extents, grey)
    if max(extents) > 10:  # as far away as it is large
        sequence = MeshSequence(sequence.vertices + torch.tensor([0, 0, 200.0]), sequence.mesh, sequence.times)
    for row in cells(sequence):
        for cell in row:
            longer = filled(cell).max()
            assert 0.5 - 2 / SIZE <= longer < 0.97


def test_the_scale_is_that_of_all_times_and_of_all_views() -> None:
    shown = cells(moving_box((0.4, 0.6, 0.5), shift=0.3))
    front = [filled(cell) for cell in shown[:, 0]]
    np.testing.assert_allclose(front, np.broadcast_to(front[0], (4, 2)), atol=2 / SIZE)  # one size at both times
    first, last = (np.nonzero(np.abs(cell.astype(int) - 222).max(-1) > 8)[1].mean() for cell in shown[::2, 0])
    assert last - first == pytest.approx(0.3 / 0.7 * 0.9 * SIZE, abs=3)
    side = filled(shown[0, 1])
    assert side[0] == pytest.approx(front[0][0], abs=2 / SIZE)  # as high from the side as from the front
    assert side[1] / side[0] == pytest.approx(0.5 / 0.6, abs=0.06)


def test_views_are_nearly_orthographic() -> None:
    """The near and the far face of a deep box have almost the same size."""
    corners = torch.tensor(trimesh.creation.box((0.2, 0.2, 0.95)).vertices, dtype=torch.float32)
    front = view_cameras(corners[None])[0]
    pixels = front.project(corners, (1, 1))[0][0]
    near, far = (np.ptp(pixels[side].numpy(), axis=0) for side in (corners[:, 2] > 0, corners[:, 2] < 0))
    assert (near / far).max() < 1.1
