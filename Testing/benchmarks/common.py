"""Timing and peak memory for the benchmarks."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable


def median_seconds(function: Callable[[], object], runs: int = 5, warmup: int = 1) -> float:
    """Median wall time of a call, after warm-up."""
    times = []
    for run in range(warmup + runs):
        start = time.perf_counter()
        function()
        if run >= warmup:
            times.append(time.perf_counter() - start)
    return sorted(times)[len(times) // 2]


def peak_megabytes() -> float:
    """Largest resident size of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def run_alone(script: str, *arguments: object) -> dict:
    """Run a script in a process of its own, so that its peak memory is its own; its last line is JSON."""
    process = subprocess.run([sys.executable, script, *map(str, arguments)], capture_output=True, text=True, check=True)
    return json.loads(process.stdout.splitlines()[-1])
