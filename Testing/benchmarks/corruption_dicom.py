"""What comes of reading damaged DICOM-RT patients: outcomes by kind of damage; nothing may be "broken".

python Testing/benchmarks/corruption_dicom.py [NUMBER] [--list]
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

import torch

from common import peak_megabytes

sys.path.append(str(Path(__file__).resolve().parents[1]))
from DeepDosePredictLib.app.sources import read_case
from dicom_corruption import damaged_copy, outcome
from dicom_patient import write_small_patient


def main() -> None:
    numbers = [int(argument) for argument in sys.argv[1:] if argument.isdigit()]
    torch.set_num_threads(1)
    counts: dict[str, Counter] = defaultdict(Counter)
    slowest, start = 0.0, time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        pristine = write_small_patient(Path(temporary) / "small")
        expected = read_case(pristine)
        for seed in range(numbers[0] if numbers else 1200):
            what = damaged_copy(pristine, Path(temporary) / "damaged", seed)
            begin = time.perf_counter()
            result = outcome(Path(temporary) / "damaged", expected)
            slowest = max(slowest, time.perf_counter() - begin)
            counts[what.split()[0]][result.kind] += 1
            if result.kind == "broken" or "--list" in sys.argv:
                print(seed, result.kind, what, "|", result.words.replace(temporary, "")[:300])
    kinds = ("refused", "same", "other", "broken")
    print(f"{'damage':<12}" + "".join(f"{kind:>9}" for kind in kinds))
    for damage, count in sorted(counts.items()):
        print(f"{damage:<12}" + "".join(f"{count[kind]:>9}" for kind in kinds))
    total = sum(counts.values(), Counter())
    print(f"{'all':<12}" + "".join(f"{total[kind]:>9}" for kind in kinds))
    print(f"{time.perf_counter() - start:.0f} s, slowest {slowest:.1f} s, peak memory {peak_megabytes():.0f} MB")
    sys.exit(bool(total["broken"]))


if __name__ == "__main__":
    main()
