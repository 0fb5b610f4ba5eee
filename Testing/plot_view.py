"""A chart node drawn by VTK's charts, as Slicer's plot view draws it."""

from __future__ import annotations

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy


class PlotView:
    """Draws a vtkMRMLPlotChartNode off the screen, `size` pixels wide and high."""

    def __init__(self, chart_node, size: tuple[int, int]):
        self.view = vtk.vtkContextView()
        window = self.view.GetRenderWindow()
        window.SetOffScreenRendering(1)
        window.SetMultiSamples(0)
        window.SetSize(*size)
        self.chart = vtk.vtkChartXY()
        self.view.GetScene().AddItem(self.chart)
        for n in range(chart_node.GetNumberOfPlotSeriesNodes()):
            self._add(chart_node.GetNthPlotSeriesNode(n))
        self.chart.SetTitle(chart_node.GetTitle())
        self.chart.GetTitleProperties().SetFontSize(chart_node.GetTitleFontSize())
        self.chart.SetShowLegend(chart_node.GetLegendVisibility())
        self.chart.GetLegend().SetLabelSize(chart_node.GetLegendFontSize())
        titles = {vtk.vtkAxis.BOTTOM: chart_node.GetXAxisTitle(), vtk.vtkAxis.LEFT: chart_node.GetYAxisTitle()}
        for place, title in titles.items():
            axis = self.chart.GetAxis(place)
            axis.SetTitle(title)
            axis.GetTitleProperties().SetFontSize(chart_node.GetAxisTitleFontSize())
            axis.GetLabelProperties().SetFontSize(chart_node.GetAxisLabelFontSize())
        if not chart_node.GetXAxisRangeAuto():
            axis = self.chart.GetAxis(vtk.vtkAxis.BOTTOM)
            axis.SetBehavior(vtk.vtkAxis.FIXED)
            axis.SetRange(*chart_node.GetXAxisRange())
        window.Render()

    def _add(self, series) -> None:
        table = series.GetTableNode().GetTable()
        plot = self.chart.AddPlot(vtk.vtkChart.LINE)
        plot.SetInputData(table, series.GetXColumnName(), series.GetYColumnName())
        plot.SetLabel(series.GetName())
        plot.SetColorF(*series.GetColor())
        plot.SetWidth(series.GetLineWidth())
        kind, pen = slicer.vtkMRMLPlotSeriesNode, vtk.vtkPen
        styles = {kind.LineStyleNone: pen.NO_PEN, kind.LineStyleDash: pen.DASH_LINE, kind.LineStyleDot: pen.DOT_LINE}
        markers = {kind.MarkerStyleCircle: vtk.vtkPlotPoints.CIRCLE, kind.MarkerStyleDiamond: vtk.vtkPlotPoints.DIAMOND}
        plot.SetMarkerStyle(markers.get(series.GetMarkerStyle(), vtk.vtkPlotPoints.NONE))
        plot.SetMarkerSize(series.GetMarkerSize())
        plot.GetPen().SetLineType(styles.get(series.GetLineStyle(), pen.SOLID_LINE))

    @property
    def plot_area(self) -> tuple[float, float, float, float]:
        """Left, bottom, right and top in pixels."""
        return (*self.chart.GetPoint1(), *self.chart.GetPoint2())

    @property
    def legend(self) -> tuple[float, float, float, float] | None:
        """Left, bottom, right and top in pixels; None without one."""
        if not self.chart.GetShowLegend():
            return None
        rect = self.chart.GetLegend().GetBoundingRect(self.view.GetContext())
        left, bottom = rect.GetX(), rect.GetY()
        return left, bottom, left + rect.GetWidth(), bottom + rect.GetHeight()

    def x_of(self, dose: float) -> float:
        """Where a dose lies in pixels from the left."""
        left, _, right, _ = self.plot_area
        axis = self.chart.GetAxis(vtk.vtkAxis.BOTTOM)
        low, high = axis.GetMinimum(), axis.GetMaximum()
        return left + (right - left) * (dose - low) / (high - low)

    def image(self) -> np.ndarray:
        """(height, width, 3) uint8, the top first."""
        grab = vtk.vtkWindowToImageFilter()
        grab.SetInput(self.view.GetRenderWindow())
        grab.Update()
        width, height, _ = grab.GetOutput().GetDimensions()
        colors = vtk_to_numpy(grab.GetOutput().GetPointData().GetScalars()).reshape(height, width, -1)
        return np.ascontiguousarray(colors[::-1, :, :3])
