"""The files of installed models: opening their folder, removing one."""

from __future__ import annotations

import qt
import slicer
from slicer.i18n import tr as _

from ..mrml import installed


def open_folder() -> None:
    """Show the folder of models in the file manager; a model file put there is listed."""
    folder = installed.modelFolder()
    folder.mkdir(parents=True, exist_ok=True)
    qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(folder)))


def is_removable(key: str) -> bool:
    """Whether a model is the user's own; models that ship belong to the extension."""
    return (installed.modelFolder() / f"{key}.safetensors").is_file()


def remove(key: str, label: str) -> bool:
    """Delete a model file after asking; whether it was deleted."""
    question = _('Delete the model "{label}" from this computer?').format(label=label)
    if not slicer.util.confirmOkCancelDisplay(question):
        return False
    installed.removeModel(key)
    return True
