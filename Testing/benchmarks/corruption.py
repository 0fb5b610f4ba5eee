"""Damaged inputs by the thousand: what each reader makes of them. DICOM has a benchmark of its own.

Each reader runs in a process of its own with a limit on time and memory, so that a crash, a hang or greed is counted.

    python Testing/benchmarks/corruption.py [--cases N] [--seed N] [READER ...]
"""

from __future__ import annotations

import argparse
import json
import queue
import resource
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "DeepDosePredict"), str(ROOT / "Testing")]

from corruption import READERS, outcome, use_tiny_grid  # noqa: E402

SECONDS_PER_CASE = 30
MEMORY_BYTES = 4 * 2**30


def work(name: str, first: int, last: int) -> None:
    """Run the cases of some seeds; a line of JSON for each: seed, outcome, peak memory above the start in bytes."""
    use_tiny_grid()
    reader = READERS[name]
    with tempfile.TemporaryDirectory() as folder:
        original = Path(folder, "original")
        original.mkdir()
        reader.make(original)
        reader.check(_renamed(reader, original))
        limit_memory()
        start = peak()
        for seed in range(first, last):
            result = outcome(reader, original, Path(folder, "input"), seed)
            print("\n" + json.dumps([seed, result, peak() - start]), flush=True)


def _renamed(reader, original: Path) -> object:
    """The undamaged input, which must be readable: otherwise every damaged one would be refused for that."""
    whole = original.rename(original.with_name("input"))
    try:
        return reader.read(whole)
    finally:
        whole.rename(original)


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def limit_memory() -> None:
    """MemoryError, and not a machine out of memory, for a reader that wants more than 4 GB."""
    if sys.platform == "linux":
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, used + MEMORY_BYTES))


def run(name: str, first: int, last: int) -> tuple[Counter, list[str], int]:
    """Counts of outcomes, faults in words, and the largest memory of a worker in bytes."""
    counts, faults, memory = Counter(), [], 0
    while first < last:
        process = subprocess.Popen(
            [sys.executable, __file__, "--work", name, str(first), str(last)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=_forward, args=(process.stdout, lines), daemon=True).start()
        while (line := _next(lines, process)) is not None:
            if not line.startswith("["):  # what compiled code prints
                continue
            seed, result, above = json.loads(line)
            first, memory = seed + 1, max(memory, above)
            counts[result if result in ("read", "refused") else "fault"] += 1
            if result not in ("read", "refused"):
                faults.append(result)
        if process.wait() and first < last:
            counts["crashed or hung"] += 1
            faults.append(f"seed {first}: the process ended with {process.returncode}")
            first += 1
    return counts, faults, memory


def _forward(stream, lines: queue.Queue) -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)


def _next(lines: queue.Queue, process: subprocess.Popen) -> str | None:
    try:
        return lines.get(timeout=SECONDS_PER_CASE + 60)  # and the start of the process
    except queue.Empty:
        process.kill()
        return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("readers", nargs="*", metavar="READER", help=f"of {', '.join(READERS)} (default: all)")
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        name, first, last = options.work
        work(name, int(first), int(last))
        return 0
    failed = False
    for name in options.readers or READERS:
        counts, faults, memory = run(name, options.seed, options.seed + options.cases)
        words = ", ".join(f"{counts[key]} {key}" for key in ("refused", "read", "fault", "crashed or hung"))
        print(
            f"{name:<11} {sum(counts.values())} cases: {words}; at most {memory / 2**20:.0f} MB more memory", flush=True
        )
        for fault in faults:
            print(f"  {fault}", flush=True)
        failed = failed or bool(faults)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
