"""Resources of one animation on a cluster, and which nodes have them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from v2m4.config import Config

CPUS = 4  # cores of one animation where no option says otherwise: most of its loops gain little from more
GIB = 2**30


@dataclass(frozen=True)
class Resources:
    """What one animation asks for, or what a node has.

    Attributes:
        cpus: cores.
        gpus: GPUs.
        memory: main memory, GiB; 0 if it does not matter.
        node: name of the node; empty for a request.
    """

    cpus: float
    gpus: float
    memory: float
    node: str = ""

    def hold(self, request: Resources) -> bool:
        """Whether a node with these resources can run an animation that asks for ``request``."""
        return self.cpus >= request.cpus and self.gpus >= request.gpus and self.memory >= request.memory

    def __str__(self) -> str:
        text = f"{self.cpus:g} CPUs, {self.gpus:g} GPUs, {self.memory:.3g} GiB"
        return f"{text} ({self.node})" if self.node else text


def requested(config: Config, nodes: Sequence[Resources] = ()) -> Resources:
    """The resources of one animation: from the options, else derived.

    Args:
        config: all options.
        nodes: those of the cluster, as far as they are known: without an option, no more cores are asked for than the
            largest of them has.
    """
    cpus = config.cluster.cpus or config.threads or min([CPUS, *([max(node.cpus for node in nodes)] if nodes else [])])
    return Resources(max(int(cpus), 1), config.cluster.gpus or 0, config.cluster.memory)


def shortage(request: Resources, nodes: Sequence[Resources]) -> str:
    """One line on why no node can run an animation: what is asked for, what there is, what to do."""
    largest = sorted(nodes, key=lambda node: (node.gpus, node.cpus, node.memory), reverse=True)[:3]
    there = "; ".join(map(str, largest)) or "no nodes"
    more = f" and {len(nodes) - len(largest)} smaller ones" if len(nodes) > len(largest) else ""
    return (
        f"no node of the cluster can run an animation: asked for {request}; the cluster has {there}{more};"
        " ask for less with --cluster.cpus, --cluster.gpus and --cluster.memory, or add a node"
    )
