import contextlib
import json
import logging
import sys
from pathlib import Path

import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

from DeepDosePredictLib.errors import DeepDoseError
from DeepDosePredictLib.io.site_names import remember_name
from DeepDosePredictLib.mrml import exploration, fingerprint, inputs, installed, patients, prediction, slice_views
from DeepDosePredictLib.mrml.results import FINGERPRINT
from DeepDosePredictLib.panel import model_files
from DeepDosePredictLib.panel.dependencies import ensure_dependencies
from DeepDosePredictLib.panel.explore_section import ExploreSection
from DeepDosePredictLib.panel.input_watch import InputWatch
from DeepDosePredictLib.panel.key_combo import KeyCombo
from DeepDosePredictLib.panel.parameter_node import DeepDosePredictParameterNode, DvhSource
from DeepDosePredictLib.panel.readiness import readiness
from DeepDosePredictLib.panel.results_section import ResultsSection, bullets
from DeepDosePredictLib.panel.structure_table import StructureTable
from DeepDosePredictLib.panel.wrapped_label import WrappedLabel
from DeepDosePredictLib.patient import site_names
from DeepDosePredictLib.patient.assignment import summary
from DeepDosePredictLib.patient.roles import roles_to_json
from DeepDosePredictLib.planner.gantry_angles import parse_gantry_angles


class DeepDosePredict(ScriptedLoadableModule):
    """Title, category, help and sample data of the module."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Deep Dose Predict")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Radiotherapy")]
        parent.dependencies = []  # SlicerRT and PyTorch are looked for when they are needed
        parent.contributors = ["DeepDosePredict authors"]
        parent.helpText = _(
            "Predicts the radiotherapy dose of a head-and-neck patient from the CT and the contours, and compares it"
            " with a reference dose: dose volume, DVHs, metrics, differences."
            "<p><b>Research use only. Not for clinical use.</b></p>"
            "<p>Select a CT and a segmentation, check which segment feeds which model input, and press Predict."
            ' Sample data: "DeepDosePredictPhantom".</p>'
        )
        parent.acknowledgementText = _(
            "Network and loss: M. H. Soomro et al., DeepDoseNet, arXiv:2111.00077 (2021). Data and scores: A. Babier et"
            " al., OpenKBP, Med. Phys. 48 (2021) 5549. DVHs by SlicerRT (C. Pinter et al., Med. Phys. 39 (2012) 6332)"
            " where it is installed."
        )
        slicer.app.connect("startupCompleted()", registerSampleData)


def loadSamplePatient():
    """The phantom's CT, structures and plan dose, shown in the slice views; [] where it could not be made."""
    from DeepDosePredictLib.mrml.sample_data import loadPhantom

    with slicer.util.tryWithErrorDisplay(_("The phantom could not be made."), waitCursor=True):
        if not ensure_dependencies():
            return []
        ct, segmentation, dose = loadPhantom()
        slice_views.outline(segmentation)
        slice_views.showLayers(ct)
        return [ct, segmentation, dose]


def registerSampleData():
    """Add the phantom to the Sample Data module."""
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="Radiotherapy",
        sampleName="DeepDosePredictPhantom",
        uris=[],
        fileNames=[],
        nodeNames=[],
        customDownloader=lambda source: loadSamplePatient(),
        thumbnailFileName=str(Path(__file__).parent / "Resources" / "Icons" / "DeepDosePredict.png"),
    )


class PredictionStopped(Exception):
    """The user cancelled a prediction or closed the scene meanwhile; the text says so."""


class DeepDosePredictWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel. What it shows stands in the parameter node; its parts are in DeepDosePredictLib.panel."""

    def __init__(self, parent=None):
        self.logic = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None
        self._isPredicting = False
        self._isRefreshing = False
        self._isOutOfDate = False
        self._whyStopped = ""
        self._notFollowed = ""
        self._ct = None
        self._added = []
        VTKObservationMixin.__init__(self)
        ScriptedLoadableModuleWidget.__init__(self, parent)

    # --- life of the panel

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/DeepDosePredict.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        uiWidget.connect("destroyed(QObject*)", self.cleanup)  # before its children are, where nobody called cleanup
        self.logic = DeepDosePredictLogic()
        self.structures = StructureTable(
            self.ui.structureTable,
            lambda name: self.resourcePath(f"Icons/{name}"),
            self.onStructuresEdited,
            self.showStatus,
        )
        self.models = KeyCombo(self.ui.modelComboBox, self.onModelChosen)
        self.goals = KeyCombo(self.ui.goalsComboBox, self.onGoalsChosen)
        self.labels = {
            name: WrappedLabel(getattr(self.ui, f"{name}Label"))
            for name in (
                *("researchUse", "welcome", "noSegmentation", "accountSummary", "account"),
                *("warnings", "reason", "status"),
            )
        }
        self.results = ResultsSection(self.ui, lambda: self.structures.roles, self.showStatus)
        self.exploring = ExploreSection(self.ui, self.results, self.showResults, self.showStatus)
        self.guard = slice_views.PatientGuard()
        self.watch = InputWatch(self.onInputsChanged)
        self.ui.sampleButton.connect("clicked(bool)", self.onSampleButton)
        self.ui.addTargetButton.connect("clicked(bool)", self.structures.add_target)
        self.ui.rematchButton.connect("clicked(bool)", self.onRematchButton)
        self.ui.rememberButton.connect("clicked(bool)", self.onRememberButton)
        self.ui.predictButton.connect("clicked(bool)", self.onPredictButton)
        self.ui.openModelFolderButton.connect("clicked(bool)", model_files.open_folder)
        self.ui.removeModelButton.connect("clicked(bool)", self.onRemoveModelButton)
        scene = slicer.vtkMRMLScene
        self.addObserver(slicer.mrmlScene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, scene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, scene.EndImportEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, scene.NodeAddedEvent, self.onNodeAdded)
        self.addObserver(slicer.mrmlScene, scene.NodeAboutToBeRemovedEvent, self.onNodeAboutToBeRemoved)
        self.showStatus("")
        self.ui.progressBar.visible = False
        self.initializeParameterNode()

    def cleanup(self):
        self._releaseParameterNode()
        self.guard.removeObservers()
        self.removeObservers()

    @property
    def isEntered(self):
        """Whether the module is shown, which a reload does not say by `enter`; a window of its own always is."""
        shown = getattr(self.parent, "isEntered", True)
        return shown() if callable(shown) else shown

    @property
    def isDestroyed(self):
        """Whether the widgets are gone without `cleanup`; then the scene is no longer followed."""
        if not self.parent:
            self.cleanup()
        return not self.parent

    def onReload(self):
        """Developers' Reload button: Slicer reloads this file only, so let the library be imported anew, too."""
        for name in [name for name in sys.modules if name.startswith("DeepDosePredictLib")]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def enter(self):
        self.initializeParameterNode()

    def exit(self):
        """Goes on following the scene where edits are followed, which are made in the Segment Editor."""
        if self._parameterNode is None or not self._parameterNode.followEdits:
            self._releaseParameterNode()

    def onSceneStartClose(self, caller, event):
        if self._isPredicting:
            self._whyStopped = _("The scene was closed; nothing was predicted.")
        self._added = []
        if not self.isDestroyed:
            self.setParameterNode(None)

    def onSceneEndClose(self, caller, event):
        if not self.isDestroyed and self.isEntered and not self._isPredicting:
            self.initializeParameterNode()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeAdded(self, caller, event, node):
        """Loaded data may be what an empty selector waits for, or make a question of the dose that is selected.

        A scene brings its selection with it.
        """
        isInput = node.IsA("vtkMRMLScalarVolumeNode") or node.IsA("vtkMRMLSegmentationNode")
        if isInput and not self.isDestroyed and not self._isPredicting and not slicer.mrmlScene.IsImporting():
            self._added.append(node.GetID())
            if self._parameterNode is not None:
                self.watch.soon()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeAboutToBeRemoved(self, caller, event, node):
        """A selector whose node goes would pick any other volume as input: leave it empty instead."""
        parameters = self._parameterNode
        if parameters is None or self.isDestroyed:
            return
        for name in ("ct", "segmentation", "referenceDose"):
            if getattr(parameters, name) is node:
                setattr(parameters, name, None)
        if self.results.results and any(node is result for result in self.results.results.nodes):
            self.watch.soon()

    def initializeParameterNode(self):
        parameters = self.logic.getParameterNode()
        if parameters.ct is None and parameters.segmentation is None:
            parameters.ct, parameters.segmentation, parameters.referenceDose = patients.defaultInputs(slicer.mrmlScene)
        self.setParameterNode(parameters)

    def _releaseParameterNode(self):
        """Stop following the scene; leaves the widgets alone, which may be about to be destroyed."""
        if self._parameterNode is not None:
            with contextlib.suppress(ValueError):  # of widgets that are destroyed already
                self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParametersModified)
            self.watch.stop()
        self._parameterNode = None
        self._isOutOfDate = False

    def setParameterNode(self, parameters):
        self._releaseParameterNode()
        self._parameterNode = parameters
        if parameters is not None:
            self._ct = parameters.ct
            self._parameterNodeGuiTag = parameters.connectGui(self.ui)
            self.addObserver(parameters, vtk.vtkCommand.ModifiedEvent, self.onParametersModified)
        self.refresh()
        if parameters is not None:
            self.onInputsChanged()

    # --- showing what is

    def onParametersModified(self, caller=None, event=None):
        parameters = self._parameterNode
        if parameters.ct is not self._ct:
            self._ct = parameters.ct
            if self._ct is not None:  # another patient's brings its structures and dose with it
                with slicer.util.NodeModify(parameters):
                    chosen = patients.fitting(self._ct, parameters.segmentation, parameters.referenceDose)
                    parameters.segmentation, parameters.referenceDose = chosen
        self.refresh()
        self.watch.soon()

    def onInputsChanged(self):
        """Compare the inputs with those of the results; called a moment after a change."""
        parameters = self._parameterNode
        if parameters is None or self._isPredicting or self.isDestroyed:
            return
        if self._added:
            chosen = parameters.ct, parameters.segmentation, parameters.referenceDose
            added = filter(None, map(slicer.mrmlScene.GetNodeByID, self._added))
            with slicer.util.NodeModify(parameters):
                parameters.ct, parameters.segmentation, parameters.referenceDose = patients.completed(chosen, added)
            self._added = []
        self.compare()
        if self._isOutOfDate and parameters.followEdits:
            self.followEdit()

    def compare(self):
        """Show whether the results are out of date."""
        self.refresh()
        results = self.results.results
        self._isOutOfDate = results is not None and self.fingerprint() != results.text(FINGERPRINT)
        self.showResults()
        if results is not None:
            results.mark(self._isOutOfDate)

    def refresh(self):
        """Show the parameter node."""
        if self._isRefreshing:
            return
        self._isRefreshing = True
        try:
            self.results.follow(self._parameterNode)
            self._showInputs()
            self._showReadiness()
            self.showResults()
        finally:
            self._isRefreshing = False

    def showResults(self):
        self.exploring.show(self._isOutOfDate)
        self.results.show(self._isOutOfDate)

    def _showInputs(self):
        parameters = self._parameterNode
        segmentation = parameters.segmentation if parameters else None
        matches, names, edits = [], {}, {}
        if segmentation is not None:
            with contextlib.suppress(DeepDoseError):  # of a damaged file of names, which the line under Predict tells
                matches = self.logic.matchRoles(segmentation, parameters.referenceDose)
                names = self.logic.segmentNames(segmentation)
            if parameters.rolesSegmentation is segmentation and names:
                edits = self.structures.read_edits(parameters.roles)
        self.structures.show(matches, names, edits)
        self.ui.welcomeFrame.visible = parameters is None or (parameters.ct is None and segmentation is None)
        self.ui.structuresWidget.visible = segmentation is not None
        self.ui.noSegmentationLabel.visible = segmentation is None
        self.ui.rematchButton.enabled = bool(edits)
        self.ui.rememberButton.enabled = bool(edits and self.structures.learnable)
        self.models.show(installed.installedModels(), parameters.model if parameters else "")
        self.ui.removeModelButton.enabled = model_files.is_removable(self.models.key)
        self.goals.show([*installed.goalTemplates(), ("", _("None"))], parameters.goals if parameters else "")
        if parameters is not None:
            self.watch.watch([parameters.ct, segmentation, parameters.referenceDose])

    def _showReadiness(self):
        check = readiness(self._parameterNode, self.structures, self.models.key)
        self.ui.predictButton.enabled = not check.problem or self._isPredicting
        self.labels["reason"].show("" if self._isPredicting else check.problem)
        self.labels["warnings"].show(bullets(check.warnings))
        self.labels["account"].show("\n".join(check.account))
        self.labels["accountSummary"].show(summary(check.account))
        self.ui.accountCollapsibleButton.visible = bool(check.account)

    def showStatus(self, text):
        self.labels["status"].show(text)

    def _inputs(self):
        """ct, segmentation, reference dose, roles, model: as the logic takes them."""
        parameters = self._parameterNode
        return (
            parameters.ct,
            parameters.segmentation,
            parameters.referenceDose,
            inputs.withSelectedDose(self.structures.answers, parameters.referenceDose),
            self.models.key or None,
        )

    def fingerprint(self):
        """Of all that results depend on; "" where there is nothing to predict from."""
        parameters = self._parameterNode
        if parameters.ct is None or parameters.segmentation is None:
            return ""
        try:
            inputs = self.logic.inputFingerprint(*self._inputs())
        except DeepDoseError:
            return ""
        settings = [
            parameters.singlePass,
            parameters.outputGrid.name,
            parameters.goals,
            parameters.extraMetrics.strip(),
            parameters.gantryAngles.strip(),
            parameters.dvhSource.name,
        ]
        return f"{inputs} {json.dumps(settings)}"

    # --- what the user does

    def onStructuresEdited(self, edits):
        if self._parameterNode is None:  # an editor that was open when the module was left
            return
        with slicer.util.NodeModify(self._parameterNode):
            self._parameterNode.rolesSegmentation = self._parameterNode.segmentation
            self._parameterNode.roles = roles_to_json(edits)
        self.showStatus("")

    def onSampleButton(self):
        self.ui.sampleButton.enabled = False
        self.showStatus(_("Making the sample patient"))
        slicer.app.processEvents()  # it takes seconds
        try:
            loadSamplePatient()
        finally:
            self.showStatus("")
            self.ui.sampleButton.enabled = True

    def onRematchButton(self):
        self._parameterNode.roles = ""

    def onRememberButton(self):
        """Add the answers of the table to the names that this computer's user has taught the program."""
        names = self.structures.learnable
        question = _(
            "Read these names so for all patients from now on?\n\n{names}\n\nPrescriptions are not remembered: they are"
            " asked where a name states none."
        ).format(names="\n".join(f"{name} → {meaning}" for name, meaning in names.items()))
        if not slicer.util.confirmOkCancelDisplay(question):
            return
        with slicer.util.tryWithErrorDisplay(_("The names could not be remembered.")):
            for name, meaning in names.items():
                remember_name(name, meaning)
            self.refresh()
            self.showStatus(_("Remembered in {path}").format(path=site_names.SITE_FILE))

    def onModelChosen(self, key):
        self._parameterNode.model = key

    def onGoalsChosen(self, key):
        self._parameterNode.goals = key

    def onRemoveModelButton(self):
        with slicer.util.tryWithErrorDisplay(_("The model could not be removed.")):
            if model_files.remove(self.models.key, self.ui.modelComboBox.currentText):
                self._parameterNode.model = ""
                self.refresh()

    def onPredictButton(self):
        if self._isPredicting:
            self._whyStopped = _("Cancelled; the scene is as it was.")
            return
        self.refresh()  # of what changed a moment ago
        if not self.ui.predictButton.enabled:
            return
        with slicer.util.tryWithErrorDisplay(_("The dose was not predicted."), waitCursor=True):
            self.predict()

    def followEdit(self):
        """Predict what is out of date again; what goes wrong is told in words, for a hand that is drawing."""
        if not self.ui.predictButton.enabled or self.fingerprint() == self._notFollowed:
            return
        self._notFollowed = self.fingerprint()  # once: what failed is not tried again until the next edit
        try:
            self.predict(follows=True)
        except Exception as error:
            logging.exception("Following an edit")
            self.showStatus(_("The edit was not followed: {error}").format(error=error))
        slicer.util.showStatusMessage(self.ui.statusLabel.text or self.ui.followLabel.text, 5000)

    def predict(self, follows=False):
        parameters = self._parameterNode
        self._whyStopped, result = "", None
        self._setPredicting(True)
        try:
            fingerprint = self.fingerprint()
            ct, segmentation, reference, roles, model = self._inputs()
            self.onProgress(0, _("Loading PyTorch"))
            if not ensure_dependencies():
                self.showStatus(_("Not predicted: the packages it needs were not installed."))
                return
            result = self.logic.predict(
                ct,
                segmentation,
                reference,
                roles=roles,
                model=model,
                device=parameters.device.value,
                singlePass=parameters.singlePass,
                outputGrid=parameters.outputGrid.value,
                goals=parameters.goals or None,
                metrics=parameters.extraMetrics,
                gantryAngles=parse_gantry_angles(parameters.gantryAngles),
                progress=self.onProgress,
                dvhs=prediction.BUILT_IN,
            )
            self.exploring.forget()
            self.results.take(result, fingerprint, follows)
            self.exploring.take(result)
            self.ui.resultsCollapsibleButton.collapsed = False
            self.showStatus("")
            if parameters.dvhSource is DvhSource.slicerrt:
                self.useSlicerRt(result)
        except PredictionStopped as stopped:
            self.showStatus(str(stopped))
        except Exception:
            done = _("The dose was predicted, but not all of it can be shown.")
            self.showStatus(done if result else _("The prediction failed; the scene is as it was."))
            raise
        finally:
            self._setPredicting(False)
            if self._parameterNode is None and self.isEntered:  # the scene was closed meanwhile
                self.initializeParameterNode()
            self.refresh()
            if follows and self._parameterNode is not None and not self.isDestroyed:
                self.compare()
                self.watch.soon()  # of what was drawn meanwhile
            else:
                self.onInputsChanged()

    def useSlicerRt(self, result):
        """SlicerRT's DVHs follow the built-in ones, which are on the screen meanwhile."""
        self.refresh()
        try:
            result.useSlicerRt(self.onProgress)
            self.showStatus("")
        except PredictionStopped:
            if result.doseNode.GetScene() is None:
                raise
            self.showStatus(_("Cancelled; the DVHs are the built-in ones."))
        except Exception as error:
            logging.exception("SlicerRT's DVHs")
            self.showStatus(_("SlicerRT's DVHs failed ({error}); the built-in ones are shown.").format(error=error))

    def onProgress(self, fraction, text):
        self.ui.progressBar.value = round(100 * fraction)
        self.showStatus(text)
        slicer.app.processEvents()
        if self._whyStopped:
            raise PredictionStopped(self._whyStopped)

    def _setPredicting(self, isPredicting):
        self._isPredicting = isPredicting
        self.ui.progressBar.value = 0
        self.ui.progressBar.visible = isPredicting
        self.ui.predictButton.text = _("Cancel") if isPredicting else _("Predict dose")
        for section in (
            self.ui.inputsCollapsibleButton,
            self.ui.structuresCollapsibleButton,
            self.ui.advancedCollapsibleButton,
        ):
            section.enabled = not isPredicting


class DeepDosePredictLogic(ScriptedLoadableModuleLogic):
    """What a script calls. No method opens a dialog or needs a window; errors (DeepDoseError) say what to do."""

    def getParameterNode(self):
        return DeepDosePredictParameterNode(super().getParameterNode())

    predict = staticmethod(prediction.predictDose)
    explore = staticmethod(exploration.exploreDose)
    tradeOff = staticmethod(exploration.exploreTradeOff)
    objectives = staticmethod(exploration.objectivesOf)
    matchRoles = staticmethod(inputs.matchRoles)
    checkInputs = staticmethod(inputs.checkInputs)
    inputFingerprint = staticmethod(fingerprint.inputFingerprint)
    segmentNames = staticmethod(inputs.segmentNames)


class DeepDosePredictTest(ScriptedLoadableModuleTest):
    """For Slicer's test runner; the tests of the library are in Testing/."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        for test in (self.test_Predict, self.test_FailureLeavesScene):
            self.setUp()
            test()

    def test_Predict(self):
        from DeepDosePredictLib.mrml.sample_data import loadPhantom

        self.delayDisplay("Predicting the phantom")
        ctNode, segmentationNode, doseNode = loadPhantom()
        result = DeepDosePredictLogic().predict(ctNode, segmentationNode, doseNode, device="cpu")
        low, high = result.doseNode.GetImageData().GetScalarRange()
        self.assertGreaterEqual(low, 0)
        self.assertGreater(high, 50)
        self.assertGreater(result.metricsTableNode.GetNumberOfRows(), 0)
        self.assertGreater(result.chartNode.GetNumberOfPlotSeriesNodes(), 0)
        self.assertIsNotNone(result.differenceNode)
        self.assertLess(result.doseScore, 10)
        self.delayDisplay("Predicted")

    def test_FailureLeavesScene(self):
        from DeepDosePredictLib.mrml.sample_data import loadPhantom

        ctNode, segmentationNode, doseNode = loadPhantom()
        before = slicer.mrmlScene.GetNumberOfNodes()
        with self.assertRaises(DeepDoseError):
            DeepDosePredictLogic().predict(ctNode, segmentationNode, doseNode, model="no such model")
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), before)
        self.delayDisplay("A failed prediction left the scene as it was")
