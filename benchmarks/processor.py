"""Seconds of the processor, user and system: of this process, of a child that runs, of all children that have ended."""

from __future__ import annotations

import resource
import time

import psutil


def own_seconds() -> float:
    """Of this process so far."""
    return time.process_time()


def children_seconds() -> float:
    """Of the processes that this one has started and waited for, with theirs."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def running_seconds(process: psutil.Process) -> float:
    """Of a process that runs, so far, without those that it started."""
    times = process.cpu_times()
    return float(times.user + times.system)
