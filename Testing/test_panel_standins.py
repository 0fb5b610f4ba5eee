"""The stand-ins are as strict as PythonQt and Slicer are."""

from __future__ import annotations

import os

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import pytest

from mrml_scene import lps_grid
from qt_standins import SlicerSession, complaints

import numpy as np  # isort: skip
import slicer  # isort: skip


@pytest.fixture
def session(scene):
    session = SlicerSession(scene)
    yield session
    session.close()


def test_properties_are_attributes_and_getters_are_hidden(session):
    import qt

    button = qt.QPushButton("Go")
    assert button.text == "Go" and button.enabled is True and button.isEnabled()
    with pytest.raises(TypeError, match="not callable"):
        button.text()
    button.text = None
    assert button.text == "None"
    with pytest.raises(TypeError, match="not callable"):
        qt.QTableWidget(2, 3).rowCount()
    assert qt.QTableWidget(2, 3).rowCount == 2


def test_unknown_names_are_errors(session):
    import ctk
    import qt

    button = qt.QPushButton()
    for read in (
        lambda: button.foo,
        lambda: qt.QFoo,
        lambda: qt.QVariant,
        lambda: ctk.ctkFoo,
        lambda: qt.QPushButton.foo,
        lambda: slicer.app.foo,
    ):
        with pytest.raises(AttributeError):
            read()
    with pytest.raises(AttributeError, match="creating new attributes"):
        button.foo = 1
    with pytest.raises(AttributeError, match="can not be overwritten"):
        button.setEnabled = 1
    with pytest.raises(AttributeError, match="does not accept"):
        qt.QSpinBox().value = "4"


def test_there_are_no_keyword_arguments(session):
    import qt

    with pytest.raises(ValueError, match="kwargs"):
        qt.QPushButton(text="Go")
    with pytest.raises(ValueError, match="kwargs"):
        qt.QComboBox().addItem("a", userData=3)
    with pytest.raises(ValueError, match="wrong arguments"):
        qt.QSpinBox().setValue("3")


def test_signals_go_by_their_normalised_signature(session, capsys):
    import qt

    button, got = qt.QPushButton(), []
    for wrong in ("clicked", "clicked( bool )", "clicked(int)", "nosuch()"):
        assert button.connect(wrong, got.append) is False
        assert wrong in complaints.pop()
    assert "does not exist" in capsys.readouterr().err
    slot = lambda *args: got.append(args)  # noqa: E731
    assert button.connect("clicked(bool)", slot) and button.connect("clicked()", slot)
    button.click()
    assert sorted(got) == [(), (False,)]
    assert button.disconnect("clicked()", slot) and not button.disconnect("clicked()", slot)
    button.clicked.connect(slot)
    button.clicked(True)
    assert got[2:] == [(True,), (True,)]
    complaints.clear()


def test_exceptions_in_slots_are_printed_only(session):
    import qt

    button, got = qt.QPushButton(), []
    button.connect("clicked(bool)", lambda a, b: None)
    button.connect("clicked(bool)", lambda: got.append(1))
    button.click()
    assert got == [1]
    assert "TypeError" in complaints.pop()


def test_wrapped_classes_do_not_derive_from_each_other(session):
    import qt

    button = qt.QPushButton()
    assert type(button) is qt.QPushButton and not isinstance(button, qt.QWidget)
    assert button.inherits("QWidget") and button.className() == "QPushButton"
    box = qt.QWidget()
    layout = qt.QVBoxLayout(box)
    layout.addWidget(button)
    assert button.parent() == box and isinstance(box.children(), tuple)
    button.delete()
    assert not button and button == None and button is not None  # noqa: E711
    with pytest.raises(ValueError, match="destroyed"):
        _ = button.text


def test_dynamic_properties(session):
    import qt

    button = qt.QPushButton()
    assert button.setProperty("SlicerParameterName", "abc") is False
    assert button.SlicerParameterName == "abc" == button.property("SlicerParameterName")
    assert button.property("other") is None
    button.name = "go"
    assert button.objectName == "go"


def test_node_combo_box(session, scene):
    combo = slicer.qMRMLNodeComboBox()
    assert not combo.enabled and combo.currentNode() is None
    combo.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    assert combo.nodeTypes == ("vtkMRMLScalarVolumeNode",)
    first = scene.volume(np.zeros((2, 2, 2), np.int16), lps_grid((1, 1, 1)))
    events = []
    combo.connect("currentNodeChanged(vtkMRMLNode*)", events.append)
    combo.setMRMLScene(scene.scene)
    assert combo.currentNode() is first and events == [first]
    second = scene.volume(np.zeros((2, 2, 2), np.int16), lps_grid((1, 1, 1)))
    assert combo.nodeCount() == 2 and combo.currentNode() is first
    scene.scene.RemoveNode(first)
    assert combo.currentNode() is second
    combo.setCurrentNode(None)
    assert combo.currentNode() is None
    with pytest.raises(TypeError, match="VTK object"):
        combo.setCurrentNode("CT")
    combo.setMRMLScene(None)


def test_ui_files_with_mistakes_are_complained_about(session, tmp_path):
    ui = (
        '<ui version="4.0"><class>A</class><widget class="QWidget" name="A"><widget class="QNoSuch" name="b"/>'
        '<widget class="QLabel" name="c"><property name="txet"><string>x</string></property></widget></widget>'
        "<connections><connection><sender>A</sender><signal>nosuch()</signal><receiver>c</receiver>"
        "<slot>clear()</slot></connection></connections></ui>"
    )
    (tmp_path / "a.ui").write_text(ui)
    slicer.util.loadUI(str(tmp_path / "a.ui"))
    assert len(complaints) == 3, complaints
    complaints.clear()
    (tmp_path / "b.ui").write_text("<ui")
    with pytest.raises(RuntimeError, match="Could not load"):
        slicer.util.loadUI(str(tmp_path / "b.ui"))
    with pytest.raises(RuntimeError, match="not found"):
        slicer.util.loadUI(str(tmp_path / "c.ui"))
    complaints.clear()


def test_parameter_node_checks_types(session):
    from DeepDosePredictLib.panel.parameter_node import Device, OutputGrid

    node = session.python.DeepDosePredictLogic().getParameterNode()
    assert node.device is Device.auto and node.outputGrid is OutputGrid.model and node.ct is None
    for name, value, error in (
        ("singlePass", 1, TypeError),
        ("device", "cpu", TypeError),
        ("model", None, ValueError),
        ("ct", slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode"), TypeError),
    ):
        with pytest.raises(error):
            setattr(node, name, value)
    with pytest.raises(ValueError, match="Cannot find a param"):
        node.connectParametersToGui({"nosuch": None})


def test_the_module_panel_follows_minimum_size_hints(session):
    """A wrapped label gets one line's height there, unless it insists on more."""
    import qt

    from qt_standins.module_panel import ModulePanel
    from qt_standins.pythonqt import unwrap

    area, box = ModulePanel(), qt.QWidget()
    layout = qt.QVBoxLayout(box)
    label, below = qt.QLabel("word " * 100), qt.QPushButton("Below")
    label.wordWrap = True
    label.setSizePolicy(qt.QSizePolicy.Ignored, qt.QSizePolicy.Preferred)
    layout.addWidget(label)
    layout.addWidget(below)
    area.setWidget(unwrap(box))
    area.resize(200, 60)
    area.show()
    session.app.processEvents()
    assert label.height < label.heightForWidth(label.width)
    label.minimumHeight = label.heightForWidth(label.width)
    session.app.processEvents()
    assert label.height >= label.heightForWidth(label.width)
    area.close()


def test_python_subclasses_may_filter_events(session):
    import qt

    class Filter(qt.QObject):
        def __init__(self):
            qt.QObject.__init__(self)
            self.seen = []

        def eventFilter(self, watched, event):
            self.seen.append((watched, event.type()))
            return False

    filter_, button = Filter(), qt.QPushButton()
    button.installEventFilter(filter_)
    button.resize(50, 50)
    button.show()
    session.app.processEvents()
    assert (button, qt.QEvent.Resize) in filter_.seen
    button.close()


def test_slices_stay_where_they_are_unless_fitted(session, scene):
    away = scene.volume(np.zeros((20, 30, 30), np.int16), lps_grid((3, 2, 2), (0, 0, -400)))
    slicer.util.setSliceViewerLayers(background=away)
    assert session.layout.black_views() == ["Red", "Yellow", "Green"]
    slicer.util.setSliceViewerLayers(background=away, fit=True)
    assert session.layout.black_views() == [] and session.layout.layers() == {(away, None)}
