"""The report page, asserted on the Figure where possible; the patients are made of boxes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.image import imread

from DeepDosePredictLib import report
from DeepDosePredictLib.errors import CaseError
from DeepDosePredictLib.patient.assignment import Assignment, ContourUse
from DeepDosePredictLib.patient.case import Case
from DeepDosePredictLib.patient.roi_mask import RoiMask
from DeepDosePredictLib.patient.rois import ROIS
from DeepDosePredictLib.report import page, planes
from DeepDosePredictLib.report.account import draw_account

SHAPE = (32, 48, 48)
SPACING = (2.5, 4.0, 3.0)


def box(k: tuple[int, int], j: tuple[int, int], i: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[slice(*k), slice(*j), slice(*i)] = True
    return mask


TARGET = box((10, 20), (15, 25), (10, 22))
ORGANS = {name: box((4 + n, 12 + n), (28, 36), (4 + 5 * n, 9 + 5 * n)) for n, name in enumerate(ROIS[:7])}


def make_case(masks: dict[str, np.ndarray] | None = None, name: str = "patient") -> Case:
    masks = {"PTV70": TARGET} if masks is None else masks
    ct = np.where(box((0, 32), (4, 44), (4, 44)), 40, -1000).astype(np.int16)
    return Case(name, ct, RoiMask.encode(masks), box((6, 26), (4, 44), (4, 44)), SPACING)


def make_dose(case: Case, centre: tuple[int, int, int] = (15, 20, 16)) -> np.ndarray:
    distance = np.linalg.norm(np.moveaxis(np.indices(SHAPE), 0, -1) - centre, axis=-1)
    return (75 * np.exp(-((distance / 14) ** 4)) * case.dose_mask).astype(np.float32)


def figure_of(case: Case, *, with_reference: bool = True, **keywords) -> Figure:
    reference = make_dose(case) if with_reference else None
    return report.make_figure(case, make_dose(case, (15, 20, 18)), reference=reference, model="model", **keywords)


def planes_of(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if len(axes.images) == 2]


def dvh_of(figure: Figure) -> Axes:
    return next(axes for axes in figure.axes if axes.get_xlabel() == "Dose [Gy]")


def words_of(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def check_layout(figure: Figure) -> None:
    """No word leaves the page or touches another one."""
    FigureCanvasAgg(figure).draw()
    boxes = [(text.get_text(), text.get_window_extent()) for text in figure.texts if text.get_text()]
    for n, (word, one) in enumerate(boxes):
        assert one.x0 >= 0 and one.y0 >= 0 and one.x1 <= page.WIDTH and one.y1 <= page.HEIGHT, word
        for other_word, other in boxes[:n]:
            apart = one.x1 <= other.x0 or other.x1 <= one.x0 or one.y1 - 4 <= other.y0 or other.y1 - 4 <= one.y0
            assert apart, (word, other_word)


@pytest.mark.slow
@pytest.mark.parametrize("with_reference", [True, False])
def test_png_has_the_promised_width_and_the_account_below(tmp_path: Path, with_reference: bool) -> None:
    case = make_case(ORGANS | {"PTV70": TARGET})
    path = tmp_path / "new" / "report.png"
    report.write_report(path, case, make_dose(case), reference=make_dose(case) if with_reference else None, model="m")
    image = imread(path)
    assert image.shape[1] == page.WIDTH and image.shape[0] > page.HEIGHT
    assert image[..., :3].std() > 0.1
    assert [file.name for file in path.parent.iterdir()] == ["report.png"]


def account_of(n_used: int, n_left_out: int) -> Assignment:
    """With names up to 60 characters, notes of all lengths, and doubts among both."""
    used = [
        ContourUse(f"PTV 70 {'long ' * (n % 12)}{n}", str(n), f"PTV{70 - n}", "RTPLAN dose reference without contour",
                   "its prescription was taken from afar; " * (n % 7), n % 7 > 0)
        for n in range(n_used)
    ]  # fmt: skip
    left_out = [
        ContourUse(f"Contour {n}", f"x{n}", "", "", ("", "no input of the model", "may be a target")[n % 3], n % 3 == 2)
        for n in range(n_left_out)
    ]
    return Assignment((*used, *left_out))


@pytest.mark.parametrize(("n_used", "n_left_out"), [(1, 0), (8, 30), (40, 300), (0, 1)])
def test_the_account_tells_of_every_contour_and_nothing_overlaps(n_used: int, n_left_out: int) -> None:
    account = account_of(n_used, n_left_out)
    pages = list(draw_account(account, ["Warning: one"]))
    words = " ".join(word for figure, _ in pages for word in words_of(figure)).replace("\xa0", " ")
    for figure, used in pages:
        check_layout(figure)
        assert min(text.get_window_extent().y0 for text in figure.texts) >= page.HEIGHT - used
    assert all(use.contour in words for use in account.left_out) and "Warning: one" in words
    numbers = [f"{use.role} ({use.prescription_gy:g} Gy)" for use in account.used]
    assert all(number in words for number in numbers)
    assert words.count("its prescription was taken from afar;") >= sum(n % 7 for n in range(n_used)) * 0.5
    assert list(draw_account(Assignment())) == []


@pytest.mark.slow
def test_the_picture_grows_by_account_and_warnings_that_find_no_room(tmp_path: Path) -> None:
    case = replace(make_case(), assignment=account_of(3, 5))
    heights = []
    for warnings in ([], [f"warning {n}" for n in range(5)], [f"warning {n}" for n in range(6)]):
        report.write_report(tmp_path / "r.png", case, make_dose(case), reference=None, model="m", warnings=warnings)
        heights.append(imread(tmp_path / "r.png").shape[0])
    assert page.HEIGHT < heights[0] == heights[1] < heights[2]


def test_failure_leaves_the_old_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.png"
    path.write_bytes(b"old")
    case = make_case()

    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(report, "imsave", fail)
    with pytest.raises(OSError, match="disk full"):
        report.write_report(path, case, make_dose(case), reference=None, model="m")
    assert path.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


def test_reference_is_solid_and_prediction_dashed_in_the_same_colour() -> None:
    figure = figure_of(make_case(ORGANS | {"PTV70": TARGET}))
    lines = dvh_of(figure).lines
    solid = {line.get_color() for line in lines if line.get_linestyle() == "-" and line.get_label() == "Reference"}
    dashed = {line.get_color() for line in lines if line.get_linestyle() == "--" and line.get_label() == "Prediction"}
    assert solid == dashed == {page.COLOURS[name] for name in (*ORGANS, "PTV70")}
    assert len(lines) == 16
    assert dvh_of(figure).get_xlim() == (0, 80)


def test_without_reference_only_the_prediction() -> None:
    figure = figure_of(make_case(), with_reference=False)
    assert len(planes_of(figure)) == 3
    assert {line.get_linestyle() for line in dvh_of(figure).lines} == {"--"}
    assert not {"Reference", "Difference", "Dose error", "Mean DVH error"} & set(words_of(figure))
    assert planes_of(figure)[0].bbox.width > planes_of(figure_of(make_case()))[0].bbox.width


def test_difference_is_prediction_minus_reference_around_zero() -> None:
    case = make_case()
    predicted, reference = make_dose(case, (15, 20, 18)), make_dose(case)
    figure = report.make_figure(case, predicted, reference=reference, model="m")
    image = planes_of(figure)[2].images[1]  # the planes come column by column; this is the last of the axial ones
    k = planes.target_planes(TARGET)[0].index
    np.testing.assert_allclose(image.get_array(), predicted[k] - reference[k], atol=1e-5)
    low, high = image.get_clim()
    assert low == -high < 0


def test_orientation_and_physical_aspect() -> None:
    for axes, letters in zip(
        planes_of(figure_of(make_case(), with_reference=False)), ("RLAP", "APSI", "RLSI"), strict=True
    ):
        place = {text.get_text(): text.get_position() for text in axes.texts}
        left, right, upper, lower = (place[letter] for letter in letters)
        assert left[0] < 0.5 < right[0] and lower[1] < 0.5 < upper[1]
        (x0, x1), (y0, y1) = axes.get_xlim(), axes.get_ylim()
        assert x0 < x1  # to patient Left, or to Posterior
        assert (y0 > y1) == (letters == "RLAP")  # Posterior is down; Superior is up
        assert abs((x1 - x0) / axes.bbox.width) == pytest.approx(abs((y1 - y0) / axes.bbox.height))
    extent = planes_of(figure_of(make_case()))[0].images[0].get_extent()
    assert (extent[1] - extent[0], extent[3] - extent[2]) == (48 * 3.0, 48 * 4.0)


def test_planes_cut_a_target_with_an_empty_centroid() -> None:
    two = box((10, 20), (15, 25), (4, 12)) | box((10, 20), (15, 25), (34, 44))
    for plane in planes.target_planes(two):
        assert plane.cut(two).any()
    assert [plane.index for plane in planes.target_planes(TARGET)] == pytest.approx([14.5, 15.5, 19.5], abs=0.5)


def test_contours_have_the_colours_of_the_structures() -> None:
    figure = figure_of(make_case({"PTV63": TARGET, "Larynx": TARGET}))
    colours = {to_hex(colour) for drawn in planes_of(figure)[0].collections for colour in drawn.get_edgecolor()}
    assert {page.COLOURS["PTV63"], page.COLOURS["Larynx"]} <= colours


def test_isodoses_and_dvh_follow_the_highest_prescription() -> None:
    figure = figure_of(make_case({"PTV56": TARGET}))
    labels = [tick.get_text() for axes in figure.axes for tick in axes.get_yticklabels()]
    assert "56.0 Gy · 100 %" in labels and "58.8 Gy · 105 %" in labels
    assert dvh_of(figure).get_xlim()[1] == pytest.approx(75, abs=0.5)  # this dose exceeds 114 % of 56 Gy


def test_large_differences_are_emphasised() -> None:
    case = make_case()
    reference = (60 * case.dose_mask).astype(np.float32)
    for shift, bold in ((2.9, False), (3.1, True)):
        figure = report.make_figure(case, reference + shift * case.dose_mask, reference=reference, model="m")
        cells = [text for text in figure.texts if text.get_text() == f"{shift:+.1f}"]
        assert len(cells) == 3  # D99, D95 and D1 of the PTV
        assert {cell.get_weight() == "bold" for cell in cells} == {bold}
        assert f"{shift:.2f} Gy" in words_of(figure)


def test_header_says_what_it_must() -> None:
    figure = figure_of(make_case(), warnings=["No PTV56.", "long words " * 200])
    words = words_of(figure)
    assert "patient" in words and report.DISCLAIMER in words and "Warning: No PTV56." in words
    assert any("model model" in word for word in words)
    check_layout(figure)


ALL = ORGANS | {"PTV56": box((20, 24), (15, 25), (10, 22)), "PTV63": box((6, 10), (15, 25), (10, 22)), "PTV70": TARGET}
MANY = {f"OAR {n}": TARGET for n in range(50)} | {"PTV70": TARGET}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("masks", "with_reference"),
    [
        ({"PTV70": TARGET}, True),
        (ALL, True),
        (ALL, False),
        ({"PTV70": box((28, 32), (0, 3), (45, 48))}, True),
        ({"PTV70": box((0, 1), (0, 1), (0, 1)), "Larynx": box((31, 32), (47, 48), (47, 48))}, False),
        (
            {
                "PTV_66.5": TARGET,
                "_hidden": TARGET,
                "$x_{2": TARGET,
                "two\nlines": TARGET,
                "Dünndarm, 5 % & <b>": TARGET,
                "an extremely long name of a structure that no one needs": TARGET,
                "": TARGET,
            },
            True,
        ),
        (MANY, True),
        (MANY, False),
        ({f"PTV{n}": TARGET for n in range(50, 70)}, True),
    ],
    ids=["PTV70", "all", "all-alone", "corner", "voxels", "names", "many", "many-alone", "targets"],
)
def test_layout_holds(masks: dict[str, np.ndarray], with_reference: bool) -> None:
    check_layout(figure_of(make_case(masks, "a_name-" * 20), with_reference=with_reference, warnings=["One."]))


def test_what_does_not_fit_is_counted() -> None:
    figure = figure_of(make_case(MANY))
    names = {text for text in words_of(figure) if text.startswith("OAR ")}
    assert f"{50 - len(names)} more structures are not shown" in words_of(figure)
    assert "PTV70" in words_of(figure)


def test_zero_dose() -> None:
    case = make_case()
    zero = np.zeros(SHAPE, np.float32)
    check_layout(report.make_figure(case, zero, reference=zero, model="m"))


def test_wrong_grid_is_refused() -> None:
    with pytest.raises(CaseError, match="predicted dose has shape"):
        report.make_figure(make_case(), np.zeros((2, 3, 4), np.float32), reference=None, model="m")


def test_other_names_get_colours_of_their_own() -> None:
    colours = page.structure_colours(["PTV70", "one", "two", "Larynx"])
    assert len(set(colours.values())) == 4
    assert colours["PTV70"] == page.COLOURS["PTV70"]
    everything = [*page.COLOURS.values(), *page.OTHER_COLOURS]
    assert len(set(everything)) == len(everything)


def test_pyplot_knows_nothing_of_it() -> None:
    assert figure_of(make_case(), with_reference=False).canvas.manager is None


def test_names_stay_different_when_shortened() -> None:
    names = [f"Gland_Submandibular_Left_reduced_by_{n}mm_copy" for n in range(15)]
    for length in (12, 16, 34):
        short = page.short_names([*names, "PTV70"], length)
        assert len({*short}) == 16 and max(map(len, short)) <= length and short[-1] == "PTV70"
    assert page.short_names(["left lung", "left lung copy of the copy"], 12)[0] == "left lung"
    assert len({*page.short_names(["one and the same name"] * 3, 12)}) == 3


def test_long_names_keep_keys_apart() -> None:
    names = [f"an extremely long name of gland {n}" for n in range(14)]
    words = words_of(figure_of(make_case(dict.fromkeys(names, TARGET) | {"PTV70": TARGET})))
    shown = [word for word in words if word.startswith("an e")]
    assert len(shown) == 2 * 14 and len({*shown}) == 2 * 14  # in the key and, longer, in the table


def test_what_no_font_can_write_is_no_empty_box(monkeypatch: pytest.MonkeyPatch) -> None:
    assert page.drawable("Müller Ω\t±") == "Müller Ω\t±"
    monkeypatch.setattr(page, "_can_write", lambda character: character < "\u4e00")
    figure = figure_of(make_case({"PTV70": TARGET, "腮腺": TARGET, "喉头": TARGET}, "王"))
    words = words_of(figure)
    assert "?" in words and {"??", "?? (3)"} <= {*words}
    check_layout(figure)


@pytest.mark.filterwarnings("error:Glyph")
def test_chinese_names_where_a_font_has_them() -> None:
    figure = figure_of(make_case({"PTV70": TARGET, "腮腺": TARGET}), warnings=["腮腺"])
    check_layout(figure)
    written = "腮腺" if page._can_write("腮") and page._can_write("腺") else "?" * 2
    assert f"Warning: {written}" in words_of(figure)


@pytest.mark.parametrize("letter", ["W", "漢"])
def test_wide_letters_stay_in_their_place(letter: str) -> None:
    """200 of them, in every name and warning."""
    masks = {"PTV70": TARGET, **{f"{n}{letter * 200}{n}": TARGET for n in range(5)}}
    figure = figure_of(make_case(masks, letter * 200), warnings=[letter * 200, f"{letter * 9} " * 20])
    check_layout(figure)
    assert len([text for text in figure.texts if letter * 4 in text.get_text()]) > 10


@pytest.mark.parametrize(
    ("prescription", "limit", "words"), [(70, 3.0, "3 Gy"), (60, 3.0, "3 Gy"), (50, 2.5, "2.5 Gy"), (14, 0.7, "0.7 Gy")]
)
def test_what_is_large_depends_on_the_prescription(prescription: float, limit: float, words: str) -> None:
    assert page.large_difference(prescription) == limit and page.large_words(limit).endswith(f"more than {words}")
    for sign in (-1, 1):
        assert not page.is_large(sign * (limit + 0.04), limit), "it is shown as the limit itself"
        assert page.is_large(sign * (limit + 0.06), limit)


def test_a_low_prescription_is_drawn_to_its_own_scale() -> None:
    case = make_case({"PTV14": TARGET})
    reference = (12.0 * case.dose_mask).astype(np.float32)
    figure = report.make_figure(case, reference - 1.7 * case.dose_mask, reference=reference, model="m")
    cells = [text for text in figure.texts if text.get_text() == "-1.7"]
    assert len(cells) == 3 and {cell.get_weight() for cell in cells} == {"bold"}
    assert planes_of(figure)[2].images[1].get_clim() == (-2, 2)
    wash = planes_of(figure)[0].images[1]
    assert wash.get_clim() == pytest.approx((0, 16)) and wash.cmap(2 / 16)[3] > 0.2, "seen from 2 Gy on, not from 5"


@pytest.mark.parametrize(("spread", "limit"), [(0.2, 5), (5.1, 10), (40, 20)])
def test_range_of_the_difference(spread: float, limit: float) -> None:
    case = make_case()
    row = planes.difference_row(case, np.full(SHAPE, spread), np.zeros(SHAPE))
    assert row.limits == (-limit, limit)
