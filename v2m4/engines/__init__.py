"""Engines: where the animations of a batch run, and how many at the same time.

One function runs one animation (``task.perform``), whatever the engine: in this process, in processes of this machine
(``local``), as tasks of a Ray cluster (``ray_cluster``) or as an array of Slurm jobs (``slurm``). It gives back an
``Outcome`` of plain values, and sends ``Event``s while it works.
"""
