"""The web pages: what they say, that they stand alone, and that no name becomes markup."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from DeepDosePredictLib.patient.assignment import Assignment, ContourUse
from DeepDosePredictLib.report import DISCLAIMER, Pictures
from DeepDosePredictLib.report import cohort as cohort_plots
from DeepDosePredictLib.report.cohort import MIN_PATIENTS, Distribution, metrics, scores
from DeepDosePredictLib.report.html import cohort_page, patient_page
from DeepDosePredictLib.report.result import MetricValue, Result

EVIL = '"><script>alert(1)</script>&<img src=x onerror=alert(2)>$x_{'


def result(
    name: str = "pt_1",
    shift: float = 0.0,
    *,
    reference: bool = True,
    structure: str = "Larynx",
    warnings: tuple[str, ...] = (),
) -> Result:
    values = [
        MetricValue(structure, "mean", "Gy", 40.0 if reference else None, 40.0 + shift),
        MetricValue("PTV70", "D95%", "Gy", 66.5 if reference else None, 66.0 + shift / 10),
    ]
    errors = (2.0 + abs(shift), 1.0 + abs(shift)) if reference else (None, None)
    return Result(
        name,
        "key",
        "model 3",
        "ab" * 32,
        "0.1.0",
        "2026-01-01T00:00:00+00:00",
        0.5,
        "cpu",
        warnings,
        *errors,
        values,
        {"dose.nrrd": 1, "report.html": 2},
    )


class Page(HTMLParser):
    """The elements and words of a page; fails where tags do not match."""

    def __init__(self, text: str):
        super().__init__()
        self.words, self.links, self.pictures, self.tags, self.open = "", [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)
        attributes = dict(attributes)
        assert not [name for name in attributes if name.startswith("on")]
        self.links += [attributes["href"]] if "href" in attributes else []
        self.pictures += [attributes["src"]] if "src" in attributes else []

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += data


def cohort(results: list[Result], **failures: str) -> Page:
    return Page(cohort_page("Cohort", {one.patient: one for one in results}, failures))


def test_patient_page():
    page = Page(patient_page(result(shift=4.0, warnings=("No PTV56.",)), Pictures(b"jpeg", b"png"), in_cohort=True))
    for words in ("pt_1", "Predicted dose", "model 3", DISCLAIMER, "No PTV56.", "6.00 Gy", "66.5", "+4.0", "ab" * 32):
        assert words in page.words
    assert page.links == ["../report.html", "./dose.nrrd", "./result.json"]
    assert [source.partition(",")[0] for source in page.pictures] == ["data:image/jpeg;base64", "data:image/png;base64"]


def test_without_reference_nothing_is_compared():
    page = Page(patient_page(result(reference=False), Pictures(b"", b""), in_cohort=False))
    assert "../report.html" not in page.links and "no reference dose" in page.words
    assert not [words for words in ("Difference", "dose error", "Reference") if words in page.words]
    page = cohort([result(f"pt_{n}", n, reference=False) for n in range(6)])
    assert "no reference doses" in page.words and "Dose error" not in page.words and len(page.pictures) == 1


def test_cohort_page_names_outliers_and_failures():
    results = [result(f"pt_{n}", 0.1 * n) for n in range(9)] + [result("odd one", 30.0, warnings=("Odd.",))]
    page = cohort(results, bad="its CT is missing")
    for words in ("10predicted", "1failed", "its CT is missing", "Odd.", DISCLAIMER, "model 3", "Larynx mean 30.0 Gy"):
        assert words in page.words
    assert page.links.count("./odd%20one/report.html") == 2 and page.links.count("./pt_3/report.html") == 1
    assert len(page.pictures) == 2 and all(source.startswith("data:image/svg+xml;base64") for source in page.pictures)


@pytest.mark.parametrize("results", [[], [result()], [result("a"), result("b", reference=False)]])
def test_small_cohorts(results):
    page = cohort(results, bad="words")
    assert "Outliers" not in page.words.replace("OutliersSeconds", "") and "words" in page.words


def test_names_are_words():
    evil = replace(result(EVIL, structure=EVIL, warnings=(EVIL,)), model=EVIL, device=EVIL, files={EVIL: 1})
    pages = [Page(patient_page(evil, Pictures(b"", b""), in_cohort=True)), cohort([evil] * 6, **{EVIL: EVIL})]
    for page in pages:
        assert EVIL in page.words and "script" not in page.tags and page.links
        assert all(link.startswith((".", "..")) and "<" not in link and '"' not in link for link in page.links)
        assert all(source.startswith("data:") for source in page.pictures)


def test_pages_load_nothing_from_elsewhere():
    text = cohort_page("Cohort", {"pt_1": result()}, {}) + patient_page(result(), Pictures(b"", b""), in_cohort=True)
    assert "http" not in text and "url(" not in text and "@import" not in text


def test_fences():
    values = np.array([1.0, 2, 3, 4, 5, 100])
    distribution = Distribution("x", tuple("abcdef"), values)
    assert distribution.fences() == (2.25 - 3 * 2.5, 4.75 + 3 * 2.5)
    assert [outlier.patient for outlier in distribution.outliers()] == ["f"]
    assert replace(distribution, least=0.0).fences() == (0.0, 4.75 + 3 * 2.5), "no usual error is below zero"
    few = Distribution("x", tuple("abcd"), np.array([1.0, 1, 1, 100]))
    assert len(few.values) < MIN_PATIENTS and not few.outliers()


def normal_cohort(n: int) -> list[Result]:
    """Of patients of whom none stands out: differences are normally distributed, errors are skewed."""
    random = np.random.default_rng(1)
    structures = [f"OAR {number}" for number in range(12)]
    cohort = []
    for name in (f"HN_patient_{number:03d}" for number in range(n)):
        values = [MetricValue(one, "mean", "Gy", 40.0, 40 + random.normal(0, 1.5)) for one in structures]
        errors = np.exp(random.normal((0.9, 0.3), 0.3))
        cohort.append(replace(result(name), metrics=tuple(values), dose_error=errors[0], dvh_error=errors[1]))
    return cohort


def test_few_of_a_usual_cohort_of_300_are_outliers():
    results = normal_cohort(300)
    found = [outlier for one in (*scores(results), *metrics(results)) for outlier in one.outliers()]
    assert len({outlier.patient for outlier in found}) <= 6
    assert all(outlier.low >= 0 for one in scores(results) for outlier in one.outliers())


def test_the_list_of_outliers_ends():
    results = normal_cohort(300)
    odd = [replace(one, dose_error=20.0 + n) for n, one in enumerate(results[:30])]
    page = cohort([*odd, *results[30:]])
    table = page.words.partition("Outliers")[2].partition("Patients")[0]
    assert table.count("usual") >= 20 and "and 1" in table and "more patients" in table


def boxes_of(axes: Axes) -> list[Bbox]:
    """Of the names in a plot."""
    canvas = FigureCanvasAgg(axes.figure)
    canvas.draw()
    return [Text.get_window_extent(text) for text in axes.texts]  # without the leader


def test_names_of_outliers_do_not_cover_one_another(monkeypatch):
    """Not even of patients with nearly the same error."""
    values = np.array([*np.linspace(1, 2, 90), *np.linspace(9, 9.1, 6), -7.0])
    names = tuple(f"HN_patient_{n:03d}" for n in range(97))
    drawn = []
    monkeypatch.setattr(cohort_plots, "_svg", lambda figure: drawn.append(figure) or b"")
    cohort_plots.draw_scores([Distribution("Dose error", names, values)])
    cohort_plots.draw_metrics([Distribution(f"OAR {n} mean", names, values, f"OAR {n}") for n in range(8)], "Gy")
    for figure in drawn:
        axes = figure.axes[0]
        boxes = boxes_of(axes)
        assert len(boxes) >= 6
        for n, one in enumerate(boxes):
            assert not any(one.overlaps(other) for other in boxes[:n])
            assert axes.bbox.x0 <= one.x0 and one.x1 <= axes.bbox.x1
        for n, text in enumerate(axes.texts):
            if text.arrow_patch:  # its leader crosses no other name
                leader = text.arrow_patch.get_transform().transform_path(text.arrow_patch.get_path())
                assert not any(leader.intersects_bbox(box, filled=False) for box in boxes[:n] + boxes[n + 1 :])


def test_large_differences_follow_the_prescription():
    low = replace(
        result(),
        metrics=(
            MetricValue("PTV14", "D95%", "Gy", 13.0, 11.3),
            MetricValue("Larynx", "mean", "Gy", 2.0, 2.7),
        ),
    )
    text = patient_page(low, Pictures(b"", b""), in_cohort=False)
    assert '<span class="alarm-text">-1.7</span>' in text and '"alarm-text">+0.7' not in text
    assert "more than 0.7 Gy" in text


def test_long_names_are_no_headlines():
    for length, kind in ((48, "<h1>"), (49, "<h1 class=long>")):
        text = patient_page(result("x" * length), Pictures(b"", b""), in_cohort=False)
        assert f"{kind}{'x' * length}</h1>" in text


def test_metrics_and_footer_stay_on_one_sheet():
    """A sheet of its own where they do not fit on the last one, and never one with the footer alone."""
    one = result()
    one = replace(one, metrics=(*one.metrics, MetricValue("PTV70", "D1%", "Gy", 70.0, 71.0)))
    text = patient_page(one, Pictures(b"", b""), in_cohort=False)
    section = text.partition('<section class="together">')[2].partition("</section>")[0]
    assert section.count("<h2>") == 1 and "Metrics" in section and "</footer>" in section
    assert ".together { break-inside: avoid; }" in text.partition("@media print")[2]
    assert '<td rowspan="2"><span class="chip"' in section, "a long name takes the room of its rows"


def test_differences_where_there_are_references():
    results = [result("a", 1.0), result("b", 2.0), result("c", reference=False)]
    ptv, larynx = metrics(results)
    assert (ptv.what, larynx.what) == ("PTV70 D95%", "Larynx mean")
    assert larynx.patients == ("a", "b") and larynx.values.tolist() == [1.0, 2.0]
    assert [one.what for one in scores(results)] == ["Dose error", "DVH error"]
    assert metrics(results[2:])[1].values.tolist() == [40.0] and scores(results[2:]) == []


def test_the_page_shows_every_contour_and_marks_what_is_doubted():
    account = Assignment(
        (
            ContourUse("PTV_High", "1", "PTV70", "reference dose", f"{EVIL} confirm it", True),
            ContourUse(EVIL, "2", "Larynx", "name"),
            ContourUse("PTV old", "3", "", "", "made for planning by its name (old)"),
        )
    )
    page = Page(patient_page(replace(result(), assignment=account), Pictures(b"", b""), in_cohort=False))
    for words in ("PTV_High", "reference dose", "70", "left out", "made for planning by its name (old)", EVIL):
        assert words in page.words
    assert "script" not in page.tags
