"""Models of the shipped one's size whose weights are wrong: an end in words, within bounds of time and memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from DeepDosePredictLib.app import cli
from DeepDosePredictLib.io.nrrd_case import write_nrrd_case
from DeepDosePredictLib.model.installed import find_model
from DeepDosePredictLib.phantom.anatomy import head_and_neck_phantom

pytest.importorskip("resource", reason="needs limits of a process")
CPU_SECONDS, MEGABYTES = 90, 3072
MEASURED = f"""
import resource, subprocess, sys
resource.setrlimit(resource.RLIMIT_CPU, ({CPU_SECONDS}, {CPU_SECONDS}))
code = subprocess.call(sys.argv[1:])
print("peak", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**10)
sys.exit(code)
"""
"""Runs a command from a process of its own: the peak memory of a test's children is that of all tests before, too."""
LIBRARY = Path(cli.__file__).parents[2]


def zero(tensor: torch.Tensor, _: torch.Generator) -> torch.Tensor:
    return torch.zeros_like(tensor)


def shuffled(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return tensor.flatten()[torch.randperm(tensor.numel(), generator=generator)].reshape(tensor.shape).contiguous()


def large(tensor: torch.Tensor, _: torch.Generator) -> torch.Tensor:
    return (tensor.float() * 100).clamp(-6e4, 6e4).to(tensor.dtype)


@pytest.fixture(scope="module")
def phantom(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "phantom"
    write_nrrd_case(folder, head_and_neck_phantom())
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (zero, "which no plan does; the model file is damaged"),
        (large, "values that are not finite on cpu; the model file is damaged"),
        (shuffled, "warning: the predicted D95% of PTV70"),
    ],
)
def test_a_model_of_wrong_weights_ends_in_words_in_time(tmp_path, phantom, change, words):
    with safe_open(find_model(), "pt") as file:
        metadata, weights = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}
    generator = torch.Generator().manual_seed(0)
    wrong = {name: change(one, generator) if one.is_floating_point() else one for name, one in weights.items()}
    save_file(wrong, tmp_path / "wrong.safetensors", metadata)
    arguments = ["predict", phantom, "-o", tmp_path / "out", "--model", tmp_path / "wrong.safetensors"]
    command = [sys.executable, "-m", "DeepDosePredictLib.app.cli", *map(str, arguments), "--device", "cpu"]
    measured = [sys.executable, "-c", MEASURED, *command]
    done = subprocess.run(measured, cwd=LIBRARY, capture_output=True, text=True, check=False)
    assert words in done.stdout + done.stderr and "Traceback" not in done.stderr
    assert (done.returncode == 0) == (tmp_path / "out" / "dose.nrrd").exists()
    assert 100 < float(done.stdout.rpartition("peak")[2]) < MEGABYTES
