"""Parts of a mesh: a partition of its faces, named by their place in the image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import trimesh

from registration.deformation_graph.graph import DeformationGraph
from registration.video.parts import BODY, MeshParts, disjoint_limbs
from tests.registration.shapes import tensors
from v2m4.camera import Camera

ARMS = {"right limb": (1.0, 0.0), "upper left limb": (-0.7, -0.7)}  # name -> direction in the image, y down


@pytest.fixture(scope="module")
def graph() -> DeformationGraph:
    """A ball with two long arms, in front of the camera."""
    body = trimesh.creation.icosphere(subdivisions=3, radius=0.3)
    arms = []
    for x, y in ARMS.values():
        tip = np.array([x, y, 0.0])
        arms.append(trimesh.creation.cylinder(radius=0.06, segment=[0.2 * tip, 0.9 * tip], sections=12).subdivide())
        arms[-1] = arms[-1].subdivide()
    vertices, faces = tensors(trimesh.util.concatenate([body, *arms]))
    return DeformationGraph.of(vertices + torch.tensor([0.0, 0.0, 3.0]), faces, 60)


def test_limbs_do_not_overlap(graph: DeformationGraph) -> None:
    limbs = disjoint_limbs(graph)
    assert len(limbs) >= 2
    assert np.sum([limb.nodes for limb in limbs], 0).max() == 1


def test_names_tell_the_place_in_the_image(graph: DeformationGraph) -> None:
    parts = MeshParts.of(graph, Camera.identity())
    assert parts.names[0] == BODY and set(ARMS) <= set(parts.names)
    assert len(set(parts.names)) == len(parts.names)
    centres = graph.rest[graph.faces].mean(1)[:, :2]
    for name, direction in ARMS.items():
        along = centres @ np.array(direction) / np.linalg.norm(direction)
        own = parts.face_parts == parts.names.index(name)
        assert along[own].min() > 0.2 and own[along > 0.8].all()


def test_every_face_has_a_part(graph: DeformationGraph) -> None:
    parts = MeshParts.of(graph, Camera.identity())
    assert parts.face_parts.shape == (len(graph.faces),)
    assert set(np.unique(parts.face_parts)) == set(range(len(parts.names)))
