"""Follow edits: the dose is predicted again when the hand rests, the views stay, and what changed is said."""

from __future__ import annotations

import os

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
import pytest

from DeepDosePredictLib.errors import DeepDoseError
from mrml_scene import lps_grid, oriented_image
from panel_patient import add_patient
from panel_user import predict
from synthetic import make_case

import slicer  # isort: skip
from DeepDosePredictLib.mrml.comparison import changesOf  # isort: skip


@pytest.fixture
def patient(scene):
    return add_patient(scene)


@pytest.fixture
def following(panel, session):
    predict(panel)
    session.wait()
    panel.ui.followEditsCheckBox.click()
    session.wait()
    return panel


def draw(patient, session) -> None:
    """A stroke of the brush: the mandible grows to the front."""
    mask = make_case().rois["Mandible"][(slice(32, 96),) * 3]
    grown = mask | np.roll(mask, -3, axis=1)
    segment = patient.segmentation.GetSegmentation().GetSegment("Bone_Mandible")
    segment.AddRepresentation(
        slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName(),
        oriented_image(grown, lps_grid(make_case().spacing)),
    )
    patient.segmentation.GetSegmentation().Modified()
    segment.Modified()
    session.wait()


def test_an_edit_is_followed_and_told(following, session, patient):
    panel, before = following, following.results.results.doseNode
    panel.ui.differenceCheckBox.click()
    draw(patient, session)
    now = panel.results.results
    assert before.GetScene() is None and now.doseNode is not before
    assert not panel.ui.outOfDateFrame.visible and panel.ui.followLabel.text.startswith("Since the edit")
    assert panel.ui.differenceCheckBox.checked and not panel.ui.doseWashCheckBox.checked
    composite = session.layout.sliceWidget("Red").sliceLogic().GetSliceCompositeNode()
    assert composite.GetForegroundVolumeID() == now.differenceNode.GetID()


def test_without_the_switch_all_stays(panel, session, patient):
    predict(panel)
    session.wait()
    before = panel.results.results.doseNode
    draw(patient, session)
    assert panel.results.results.doseNode is before and panel.ui.outOfDateFrame.visible


def test_in_the_segment_editor_too(following, session, patient):
    """Slicer leaves the module, whose panel then no longer follows the scene but for this."""
    before = following.results.results.doseNode
    following.exit()
    draw(patient, session)
    following.enter()
    session.wait()
    assert following.results.results.doseNode is not before and not following.ui.outOfDateFrame.visible


def test_what_fails_is_told_once_and_the_next_edit_is_followed(following, session, patient, monkeypatch):
    panel, tried, right = following, [], type(following.logic).predict

    def fails(*_, **__):
        tried.append(1)
        raise DeepDoseError("no room")

    monkeypatch.setattr(panel.logic, "predict", fails, raising=False)
    draw(patient, session)
    assert tried == [1] and panel.ui.statusLabel.text == "The edit was not followed: no room"
    assert panel.ui.outOfDateFrame.visible
    monkeypatch.setattr(panel.logic, "predict", right, raising=False)
    patient.segmentation.GetSegmentation().GetSegment("Bone_Mandible").SetName("Mandible")
    session.wait()
    assert not panel.ui.outOfDateFrame.visible


def test_an_edit_that_cannot_be_predicted_waits_for_an_answer(following, session, patient):
    before = following.results.results.doseNode
    patient.segmentation.GetSegmentation().GetSegment("PTV_7000").SetName("boost")
    session.wait()
    assert following.results.results.doseNode is before and following.ui.outOfDateFrame.visible


def test_changes_are_told_the_largest_first():
    def row(name, metric, value):
        return {"segmentId": name, "structure": name, "metric": metric, "predicted": value}

    before = [
        row("PTV", "D95%", 66.0),
        row("Cord", "mean", 20.0),
        row("Cord", "D0.1cc", 30.0),
        row("Larynx", "mean", 5.0),
    ]
    after = [
        row("PTV", "D95%", 65.6),
        row("Cord", "mean", 22.0),
        row("Cord", "D0.1cc", 40.0),
        row("Larynx", "mean", 5.04),
    ]
    assert changesOf(before, [*after, row("Lens", "mean", 1.0)]) == ["Cord mean +2.0", "PTV D95% -0.4"]
