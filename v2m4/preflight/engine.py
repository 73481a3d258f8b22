"""Requirements of ``--engine``: packages, sbatch, and options that fit together.

The device of the nodes of a cluster is fixed here, so that all nodes give the same results. Whether they have it is
found out on each of them: the machine that commands a cluster often has no GPU.
"""

from __future__ import annotations

import shutil
from dataclasses import replace

from v2m4.config import Config
from v2m4.device import choose_device
from v2m4.engines.slurm_options import sbatch_options
from v2m4.weights import Package, Unavailable, require_packages

RAY = Package("ray", 'pip install "ray>=2.40"')
SUBMITIT = Package("submitit", 'pip install "submitit>=1.5"')


def resolve(config: Config) -> Config:
    """The options with the device and the number of GPUs that all nodes use.

    Raises:
        Unavailable: in one line, the package that is missing and the command that installs it.
        ValueError: an option is invalid, or does not fit the engine.
    """
    if config.jobs < 0:
        raise ValueError(f"--jobs {config.jobs}: give a number of animations, or 0")
    if config.ray_address is not None and config.engine != "ray":
        raise ValueError("--ray_address: needs --engine ray")
    if config.slurm and config.engine != "slurm":
        raise ValueError("--slurm: needs --engine slurm")
    _check_ranges(config)
    if config.engine == "local":
        return config
    try:
        require_packages((RAY if config.engine == "ray" else SUBMITIT,))
    except Unavailable as error:
        raise Unavailable(f"--engine {config.engine}: {error}") from error
    if config.engine == "slurm":
        sbatch_options(config.slurm)
        if shutil.which("sbatch") is None:
            raise Unavailable("--engine slurm: sbatch is not on PATH; run this on a login node of the cluster")
    return _with_device(config)


def _check_ranges(config: Config) -> None:
    cluster = config.cluster
    for name in ("cpus", "memory", "timeout", "retries"):
        if not getattr(cluster, name) >= 0:
            raise ValueError(f"--cluster.{name} {getattr(cluster, name):g}: must be at least 0")
    if cluster.gpus is not None and not cluster.gpus >= 0:
        raise ValueError(f"--cluster.gpus {cluster.gpus:g}: must be at least 0")
    if config.engine == "slurm" and cluster.gpus is not None and cluster.gpus != int(cluster.gpus):
        raise ValueError(f"--cluster.gpus {cluster.gpus:g}: Slurm gives whole GPUs")


def _with_device(config: Config) -> Config:
    """The options with ``device`` cpu or cuda, and with a number of GPUs that fits it."""
    device, gpus = config.device, config.cluster.gpus
    if device == "auto" and gpus is None:
        device = choose_device("auto").name
    elif device == "auto":
        device = "cuda" if gpus else "cpu"
    if gpus is None:
        gpus = 1.0 if device == "cuda" else 0.0
    if (device == "cuda") != (gpus > 0):
        raise ValueError(f"--device {device} --cluster.gpus {gpus:g}: the nodes need GPUs with cuda, and only then")
    return replace(config, device=device, cluster=replace(config.cluster, gpus=gpus))


def is_checked_on_nodes(config: Config) -> bool:
    """Whether only the nodes of the cluster can tell if the options can be had: they have GPUs and this machine not."""
    return config.engine != "local" and config.device == "cuda" and choose_device("auto").name != "cuda"
