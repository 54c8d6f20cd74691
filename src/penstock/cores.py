"""How many cores this process may use, and how many threads a pool has where nobody says."""

from __future__ import annotations

import os
import sys
from typing import Any

__all__ = ["default_threads", "is_first_worker", "threads_of_worker", "usable_cores"]


def usable_cores() -> int:
    """Cores this process may use: CPU affinity and the container's CPU quota, at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    return max(1, min(cores, _quota_cores() or cores))


def _quota_cores() -> int | None:
    # cgroup v2, then v1; a quota of 1.5 cores counts as 2, because two threads can use it up.
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
            quota, period = file.read().split()[:2]
        return None if quota == "max" else -(-int(quota) // int(period))
    except (OSError, ValueError):
        pass
    try:
        with open("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", encoding="ascii") as file:
            quota_us = int(file.read())
        with open("/sys/fs/cgroup/cpu/cpu.cfs_period_us", encoding="ascii") as file:
            period_us = int(file.read())
        return None if quota_us <= 0 else -(-quota_us // period_us)
    except (OSError, ValueError):
        return None


def default_threads() -> int:
    """Usable cores divided by the local world size (``LOCAL_WORLD_SIZE``); 1 inside a worker of torch's DataLoader."""
    return 1 if _torch_worker() is not None else max(1, usable_cores() // _local_ranks())


def threads_of_worker() -> int:
    """The usable cores, shared with the other workers of the DataLoader, and with the other ranks of this machine."""
    worker = _torch_worker()
    workers = 1 if worker is None else max(1, int(worker.num_workers))
    return max(1, usable_cores() // _local_ranks() // workers)


def is_first_worker() -> bool:
    """Whether this process speaks for all workers of torch's DataLoader, or is none of them."""
    worker = _torch_worker()
    return worker is None or worker.id == 0


def _torch_worker() -> Any:
    """What torch knows of the DataLoader's worker that this process is; None where it is none."""
    data = sys.modules.get("torch.utils.data")  # only where the user has torch at work already
    return None if data is None else data.get_worker_info()


def _local_ranks() -> int:
    try:
        return max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    except ValueError:
        return 1
