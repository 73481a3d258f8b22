import numpy as np
import torch
import trimesh

from generators.prior.evaluate import make_scene
from generators.prior.pictures import true_mesh, turned
from generators.prior.subjects import Subject


def textured_ball() -> Subject:
    ball = trimesh.creation.icosphere(subdivisions=2, radius=1.0)
    vertices = np.asarray(ball.vertices, np.float32)
    uvs = np.stack([np.where(vertices[:, 0] > 0, 0.75, 0.25), np.full(len(vertices), 0.5)], 1).astype(np.float32)
    texture = np.zeros((2, 4, 3), np.uint8)
    texture[:, :2], texture[:, 2:] = [255, 0, 0], [0, 0, 255]
    return Subject("ball", "ball", vertices[None], np.asarray(ball.faces), None, uvs, texture)


def test_colours_of_the_true_mesh_are_read_from_its_texture() -> None:
    subject = textured_ball()
    mesh = true_mesh(subject, make_scene(subject, 0, 0.0))
    right = torch.from_numpy(subject.poses[0][:, 0] > 0)
    assert mesh.colors is not None
    assert torch.equal(mesh.colors[right], torch.tensor([0.0, 0, 1]).expand(int(right.sum()), 3))
    assert torch.equal(mesh.colors[~right], torch.tensor([1.0, 0, 0]).expand(int((~right).sum()), 3))


def test_turned_mesh_shows_its_other_side() -> None:
    subject = textured_ball()
    sheet = turned(true_mesh(subject, make_scene(subject, 0, 90.0)), 40)
    assert sheet.shape == (80, 160, 3)
    front, back = sheet[20, 20].astype(int), sheet[20, 100].astype(int)
    assert abs(front - back).max() > 200
