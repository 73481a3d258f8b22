"""Frames a second of the network beside the owners' with the same random weights, and the difference of the results.

``MOTION324_CODE=... DINOV2_CODE=... python -m tests.motion324.measure_speed --frames 64`` (see ``owners_network``).
"""

import v2m4  # noqa: F401  # isort: skip  # before torch: sets how idle threads wait

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor

from motion324.checkpoint import load_state
from motion324.config import preset
from motion324.embedding import SurfacePoints
from motion324.network import MotionNetwork
from motion324.owners_checkpoint import convert
from tests.motion324.owners_network import owners_network
from v2m4 import threads


def surface(count: int) -> SurfacePoints:
    normals = torch.nn.functional.normalize(torch.randn(1, count, 3), dim=-1)
    return SurfacePoints(torch.rand(1, count, 3) - 0.5, normals, torch.rand(1, count, 3))


def measure(name: str, frames: int, function: Callable[[], Tensor], expected: Tensor | None) -> Tensor:
    wall, process = time.perf_counter(), time.process_time()
    result = function()
    wall, process = time.perf_counter() - wall, time.process_time() - process
    line = f"{name:24s} {frames / wall:6.3f} frames/s, {process / frames:6.2f} CPU s a frame"
    if expected is not None:
        error = (result - expected).norm(dim=-1)
        line += f", difference {error.mean():.1e} mean, {error.max():.1e} largest, spread {expected.std():.2f}"
    print(line, flush=True)
    return result


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--points", type=int, default=10000)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--chunk", type=int, default=2048)
    parser.add_argument("--size", default="base")
    parser.add_argument("--only_bfloat16", action="store_true", help="leave out our single precision")
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(threads.available())
    config = preset(options.size)
    theirs = owners_network(config)
    theirs.eval()  # returns None
    _, state = convert(theirs.state_dict())
    ours = MotionNetwork(config).eval()
    load_state(ours, state, "owners")
    rounded = MotionNetwork(config).eval()
    load_state(rounded, state, "owners")
    rounded.lower_precision()
    shape, queries = surface(config.surface_points), surface(options.points)
    video = torch.rand(1, options.frames, 3, 224, 224)
    sample = {
        "ref_shape_pcd": shape.points, "ref_shape_normals": shape.normals, "ref_shape_rgbs": shape.colors,
        "ref_pcd": queries.points, "ref_normal": queries.normals, "ref_rgb": queries.colors,
        "rgb_video": video.permute(0, 1, 3, 4, 2),
    }  # fmt: skip

    def own() -> Tensor:
        return ours.decode(ours.encode(shape, video), queries, options.chunk)

    def own_bfloat16() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return rounded.decode(rounded.encode(shape, video), queries, options.chunk)

    for _ in range(options.repeats):
        expected = measure("owners, float32", options.frames, lambda: theirs(sample).pcd_moved, None)
        if not options.only_bfloat16:
            measure("ours, float32", options.frames, own, expected)
        measure("ours, bfloat16", options.frames, own_bfloat16, expected)


if __name__ == "__main__":
    main()
