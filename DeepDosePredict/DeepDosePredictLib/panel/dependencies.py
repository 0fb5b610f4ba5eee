"""Packages that the prediction needs and Slicer does not bring: installed after asking, never without."""

from __future__ import annotations

import importlib
import inspect

import slicer
from slicer.i18n import tr as _

from ..errors import DeepDoseError

TORCH = ">=2.5,!=2.9.*"
SAFETENSORS = "safetensors>=0.4.3"


def problem_with(package: str) -> str:
    """Why a package cannot be imported, "" where it can. A half-installed torch fails in many ways: all are caught."""
    try:
        importlib.import_module(package)
    except ImportError as error:
        return str(error)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def ensure_dependencies() -> bool:
    """Whether torch and safetensors can be used, after asking to install what is missing; False when declined.

    Raises DeepDoseError with what to do when the installation failed.
    """
    missing = [package for package in ("torch", "safetensors") if problem_with(package)]
    if not missing:
        return True
    if "torch" in missing:
        _check_extension()
    size = _(" PyTorch is a download of up to a few GB.") if "torch" in missing else ""
    if not slicer.util.confirmOkCancelDisplay(
        _("To predict doses, these Python packages need to be installed: {packages}.{size} Install now?").format(
            packages=", ".join(missing), size=size
        )
    ):
        return False
    if "torch" in missing:
        _install_torch()
    if "safetensors" in missing:
        _install_safetensors()
    for package in missing:
        importlib.invalidate_caches()
        if problem := problem_with(package):
            raise DeepDoseError(
                _(
                    "{package} was installed but cannot be used yet ({problem}). Restart Slicer; if it still fails,"
                    ' remove and install PyTorch in the module "PyTorch" and read its log.'
                ).format(package=package, problem=problem)
            )
    return True


def _check_extension() -> None:
    try:
        importlib.import_module("PyTorchUtils")
    except ImportError as error:
        raise DeepDoseError(
            _(
                'PyTorch is installed by the extension "PyTorch", which is not there. Install it in the Extensions'
                " Manager, restart Slicer and predict again."
            )
        ) from error


def _install_torch() -> None:
    import PyTorchUtils

    install = PyTorchUtils.PyTorchUtilsLogic().installTorch
    wanted = {"askConfirmation": False, "torchVersionRequirement": TORCH}
    known = inspect.signature(install).parameters  # its keywords changed between versions of the extension
    try:
        torch = install(**{name: value for name, value in wanted.items() if name in known})
    except Exception as error:
        raise DeepDoseError(_failed("PyTorch", error)) from error
    if torch is None:
        raise DeepDoseError(_failed("PyTorch", _("the installer reported no torch")))


def _install_safetensors() -> None:
    try:
        try:
            from slicer.packaging import pip_ensure  # Slicer 5.12 and newer
        except ImportError:
            slicer.util.pip_install(SAFETENSORS)
        else:
            from packaging.requirements import Requirement

            pip_ensure([Requirement(SAFETENSORS)], prompt_install=False, requester="DeepDosePredict")
    except Exception as error:
        raise DeepDoseError(_failed("safetensors", error)) from error


def _failed(package: str, error: object) -> str:
    return _(
        "{package} could not be installed ({error}). Look at Slicer's log; check the internet connection and"
        " the free disk space, then predict again."
    ).format(package=package, error=error)
