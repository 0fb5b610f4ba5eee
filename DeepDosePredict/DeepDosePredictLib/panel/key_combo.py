"""A combo box of keys and labels that are known only at run time (installed models, templates of clinical goals)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from slicer.i18n import tr as _


class KeyCombo:
    """Fills a QComboBox and reports the key that the user chose.

    A wanted key that is not offered stays visible, so that a scene made elsewhere keeps its choice until it is changed;
    it may also be the path of a file.
    """

    def __init__(self, combo, on_chosen: Callable[[str], None]):
        self.combo = combo
        self._keys: list[str] = []
        self._on_chosen = on_chosen
        combo.connect("activated(int)", self._on_activated)

    def show(self, choices: Sequence[tuple[str, str]], key: str) -> None:
        """choices: (key, label); "" as `key` means the first."""
        keys, labels = [k for k, _label in choices], [label for _key, label in choices]
        if key and key not in keys:
            keys.append(key)
            labels.append(Path(key).stem if Path(key).is_file() else _("{name} (not installed)").format(name=key))
        if keys != self._keys:
            self._keys = keys
            self.combo.clear()
            for text in labels:
                self.combo.addItem(text)
        self.combo.setCurrentIndex(keys.index(key) if key else 0)

    @property
    def key(self) -> str:
        """The shown key; "" where there is none."""
        index = self.combo.currentIndex
        return self._keys[index] if 0 <= index < len(self._keys) else ""

    def _on_activated(self, index: int) -> None:
        self._on_chosen(self._keys[index])
