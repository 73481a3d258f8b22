"""Lean estimated from the feet of tables of known direction, with cameras of the assumed pitch."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh

from generators.ground import ASSUMED_CAMERA_PITCH, MAX_ANGLE, estimate_lean, foot_pair
from v2m4.camera import DEFAULT_FOV, Orbit
from v2m4.render import render


def table(length: float, width: float, height: float = 1.0) -> trimesh.Trimesh:
    """A slab on four legs, long along z."""
    parts = [trimesh.creation.box((width, 0.3 * height, length))]
    for x in (-0.45 * width, 0.45 * width):
        for z in (-0.45 * length, 0.45 * length):
            leg = trimesh.creation.box((0.06, 0.7 * height, 0.06))
            parts.append(leg.apply_translation((x, -0.5 * height, z)))
    return trimesh.util.concatenate(parts)


@pytest.fixture
def frame_of_table(shapes):
    def frame(mesh: trimesh.Trimesh, yaw: float, fov: float = DEFAULT_FOV):
        distance = 4.0 * math.tan(DEFAULT_FOV / 2) / math.tan(fov / 2)
        camera = Orbit.of(math.radians(yaw), ASSUMED_CAMERA_PITCH, distance, (0.0, -0.2, 0.0)).camera(fov)
        vertices = torch.tensor(mesh.vertices, dtype=torch.float32)
        mask = render(vertices, torch.tensor(mesh.faces), camera, 256, channels=("mask",)).mask[0, ..., 0]
        return replace(shapes.frame_of(mask.numpy()), fov=fov)

    return frame


@pytest.mark.parametrize("yaw", [40, 60, 80])
def test_lean_of_a_long_table_is_its_angle(frame_of_table, yaw):
    frame = frame_of_table(table(1.8, 0.4), yaw)
    degrees = math.degrees(math.atan(estimate_lean([frame])))
    assert degrees == pytest.approx(90 - yaw, abs=8)
    flipped = replace(frame, picture=np.ascontiguousarray(frame.rgba[:, ::-1]))
    assert math.degrees(math.atan(estimate_lean([flipped]))) == pytest.approx(-degrees, abs=1)


@pytest.mark.parametrize("degrees", [20, 60])
def test_lean_does_not_depend_on_the_field_of_view(frame_of_table, degrees):
    frame = frame_of_table(table(1.8, 0.4), 50, math.radians(degrees))
    assert math.degrees(math.atan(estimate_lean([frame]))) == pytest.approx(40, abs=10)


def test_lean_is_bounded_with_a_camera_of_larger_pitch(shapes):
    camera = Orbit.of(math.radians(30), math.radians(40), 4.0, (0.0, -0.2, 0.0)).camera()
    mesh = table(1.8, 0.4)
    vertices, faces = torch.tensor(mesh.vertices, dtype=torch.float32), torch.tensor(mesh.faces)
    mask = render(vertices, faces, camera, 256, channels=("mask",)).mask[0, ..., 0]
    frame = shapes.frame_of(mask.numpy())
    assert foot_pair(frame.rgba[..., 3]).slope > math.tan(MAX_ANGLE)
    assert estimate_lean([frame]) == pytest.approx(math.tan(MAX_ANGLE))


def test_lean_of_an_upright_object_is_zero(frame_of_table):
    frame = frame_of_table(table(0.35, 0.2, height=1.6), 40)
    assert foot_pair(frame.rgba[..., 3]).slope > 0.3
    assert estimate_lean([frame]) == 0


def test_lean_of_inconsistent_frames_is_zero(frame_of_table):
    frame = frame_of_table(table(1.8, 0.4), 40)
    flipped = replace(frame, picture=np.ascontiguousarray(frame.rgba[:, ::-1]))
    assert estimate_lean([frame, flipped]) == 0
    assert estimate_lean([frame] * 9 + [flipped]) == pytest.approx(estimate_lean([frame]))


def test_lean_without_two_feet_is_zero(shapes):
    ball = shapes.frame_of(shapes.disc((128, 128), (64, 64), 40))
    empty = shapes.frame_of(np.zeros((128, 128)))
    assert foot_pair(ball.rgba[..., 3]) is None
    assert foot_pair(empty.rgba[..., 3]) is None
    assert estimate_lean([ball, empty]) == 0


def test_lean_needs_feet_in_most_frames(frame_of_table, shapes):
    frame, ball = frame_of_table(table(1.8, 0.4), 40), shapes.frame_of(shapes.disc((256, 256), (128, 128), 60))
    assert estimate_lean([frame, frame, ball]) > 0.5
    assert estimate_lean([frame, ball, ball]) == 0


def test_a_tail_beside_the_feet_is_not_a_foot(shapes):
    size = (256, 256)
    body = np.maximum(shapes.strip(size, (60, 100), (200, 100), 25), shapes.strip(size, (80, 100), (80, 200), 5))
    body = np.maximum(body, shapes.strip(size, (180, 100), (180, 200), 5))
    tail = np.maximum(body, shapes.strip(size, (200, 100), (235, 160), 5))
    assert foot_pair((255 * tail).astype(np.uint8)) is not None
    assert abs(foot_pair((255 * tail).astype(np.uint8)).slope) < 0.02
