"""Dataclass of the options of ``--engine ray`` and ``--engine slurm``.

The comment above a field is its help text on the command line.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ClusterConfig:
    """Resources of one animation with --engine ray or slurm."""

    # CPU cores; 0 stands for --threads where that is given, else for 4, or for the cores of the largest node of a Ray
    # cluster if it has fewer. The animation works with as many threads.
    cpus: int = 0
    # GPUs; with ray also a part of one (0.5). By default 1 with --device cuda, else 0. With --device auto, a number
    # above 0 selects CUDA and 0 the CPU, so that the nodes give the same results.
    gpus: float | None = None
    # Main memory, GiB; 0 leaves it to the cluster.
    memory: float = 4.0
    # Seconds to wait for a node with these resources, where no node of the cluster has them (ray).
    timeout: float = 300.0
    # How often an animation is started again after its node or process has died (ray).
    retries: int = 3
