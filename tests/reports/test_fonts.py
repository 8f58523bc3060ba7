"""Names in any script are legible in every figure: in a font that has them or by number, never as boxes."""

import subprocess
import sys
import warnings

import cv2
import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from hypothesis import given
from hypothesis import strategies as some
from matplotlib import font_manager

from trapline.reports import fonts
from trapline.reports.curves import draw_runs, write_curves
from trapline.reports.figures import class_figure, confusion_figure, site_figure
from trapline.reports.fonts import drawn, followed, shortened, why
from trapline.reports.run_logs import Curves

IN_DEJAVU = {
    "Cyrillic": "Ёлка",
    "Greek": "Ωμέγα",
    "accents": "éléphant",
    "decomposed": "e\u0301le\u0301phant",
    "a lone mark": "\u0301abc",
}
NOT_THERE = {
    "Chinese": "鹿",
    "Thai": "ไก่ป่า",
    "Hindi": "हिरण",
    "an emoji": "🦊",
    "private use": "\ue000",
    "mixed": "鹿 deer",
    "no character": "\U0010ffff",
    "a flag": "\U0001f1f9\U0001f1ed",
}
HIDDEN = {
    "NUL": ("c\x00at", "cat"),
    "a tab": ("wild\tcat", "wild cat"),
    "a line end": ("wild\ncat", "wild cat"),
    "no width": ("c\u200bat\u2060", "cat"),
    "an override": ("\u202ecat", "cat"),
    "bytes that are no text": ("c\udcfft", "c\\udcfft"),
}
EPOCHS = tuple({"epoch": float(n), "train_loss": 1.0 / n, "val_loss": 1.0 / n} for n in (1, 2, 3))


def forget():
    for cached in (fonts._fonts_for, fonts._letters_of, fonts._default_letters):
        cached.cache_clear()


@pytest.fixture(autouse=True)
def only_dejavu(monkeypatch):
    """No font but matplotlib's own; what was found in another test is forgotten."""
    monkeypatch.setattr(fonts, "_families", dict)
    monkeypatch.setattr(font_manager.fontManager, "ttflist", list(font_manager.fontManager.ttflist))
    forget()
    yield
    forget()


def build_font(path, letters, *, blank=False):
    """Write a font in which each of the letters is a square, or nothing."""
    pen = TTGlyphPen(None)
    if not blank:
        for number, corner in enumerate([(0, 0), (0, 700), (700, 700), (700, 0)]):
            (pen.lineTo if number else pen.moveTo)(corner)
        pen.closePath()
    names = [f"letter{number}" for number in range(len(letters))]
    builder = FontBuilder(1000)
    builder.setupGlyphOrder([".notdef", *names])
    builder.setupCharacterMap(dict(zip(map(ord, letters), names, strict=True)))
    builder.setupGlyf(dict.fromkeys([".notdef", *names], pen.glyph()))
    builder.setupHorizontalMetrics(dict.fromkeys([".notdef", *names], (800, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": path.stem, "styleName": "Regular"})
    builder.setupOS2(usWeightClass=400)
    builder.setupPost()
    builder.save(path)
    return path


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install fonts that this test makes: family -> the letters in it."""

    def fonts_of(blank=False, **letters_of):
        for family, letters in letters_of.items():
            font_manager.fontManager.addfont(build_font(tmp_path / f"{family}.ttf", letters, blank=blank))
        entries = {each.name: each for each in font_manager.fontManager.ttflist if each.name in letters_of}
        monkeypatch.setattr(fonts, "_families", lambda: {name: entries[name] for name in sorted(entries)})
        forget()

    return fonts_of


def draw_all(names, folder):
    """Every figure with the names in it, the learning curves with the last one."""
    rows = [
        {"class": name, "site": name, "f1": 0.5, "average_precision": 0.5, "support": 3, "images": 3,
         "log_loss": 1.0}
        for name in names
    ]  # fmt: skip
    draw_runs([Curves(name, EPOCHS) for name in names], folder / "runs.png")
    write_curves(EPOCHS, folder / "curves.png", title=names[-1])
    return [
        confusion_figure(np.eye(len(names), dtype=int).tolist(), names),
        class_figure(rows),
        class_figure(rows, "average_precision", "average precision"),
        site_figure(rows, 1.0),
        (folder / "runs.png").read_bytes(),
        (folder / "curves.png").read_bytes(),
    ]


@pytest.mark.parametrize("name", [*IN_DEJAVU.values(), "قط بري", "קיפוד"])
def test_what_the_default_font_has_is_drawn_in_it(name):
    found = drawn(["cat", name], "class")
    assert found.families is None
    assert found.replaced == {}
    assert found.texts[1].isprintable()


@pytest.mark.parametrize("name", NOT_THERE.values(), ids=NOT_THERE)
def test_what_no_font_has_is_a_number(name):
    found = drawn(["cat", name], "class")
    assert found.texts == ["cat", "class 2"]
    assert found.replaced == {"class 2": name}
    assert found.families is None


@pytest.mark.parametrize(("name", "shown"), HIDDEN.values(), ids=HIDDEN)
def test_what_shows_nothing_is_left_out(name, shown):
    assert drawn([name], "class").texts == [shown]


def test_a_name_of_which_nothing_shows_is_a_number():
    assert drawn(["\u200b", ""], "site").texts == ["site 1", "site 2"]


def test_no_figure_warns_of_any_name(tmp_path, caplog):
    hidden = [name for name, _ in HIDDEN.values()]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures = draw_all([*IN_DEJAVU.values(), *NOT_THERE.values(), "قط بري", "$x_$", *hidden], tmp_path)
    assert caplog.records == []
    for figure in figures:
        assert min(cv2.imdecode(np.frombuffer(figure, np.uint8), cv2.IMREAD_COLOR).shape[:2]) > 50


@given(some.text(max_size=12))
def test_matplotlib_has_a_sign_for_all_that_is_to_be_drawn(name):
    found = drawn([name], "class")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for text in (found.texts[0], shortened(found.texts[0], 4), followed(found.texts[0])):
            fonts._fonts(tuple(found.families or fonts._default_families())).set_text(text, 0.0)


def test_a_font_that_has_the_characters_is_used(install, tmp_path):
    install(Deer="鹿", Fox="🦊狐", Other="犬")
    found = drawn(["cat", "鹿", "🦊", "犭"], "class")
    assert found.texts == ["cat", "鹿", "🦊", "class 4"]
    assert found.families == ["sans-serif", "Deer", "Fox"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures = draw_all(["cat", "鹿", "🦊"], tmp_path)
    plain = draw_all(["cat", "class 2", "class 3"], tmp_path)
    assert all(figure != other for figure, other in zip(figures, plain, strict=True))


def test_one_font_for_a_whole_name_comes_before_two(install):
    install(AFirst="鹿", BSecond="鹿狐")
    assert drawn(["鹿狐"], "class").families == ["sans-serif", "BSecond"]
    assert drawn(["鹿"], "class").families == ["sans-serif", "AFirst"]


def test_a_font_that_is_blank_there_is_not_used(install):
    install(Coloured="🦊", blank=True)
    assert drawn(["🦊"], "class").texts == ["class 1"]


def test_private_characters_are_not_drawn_though_a_font_has_signs_for_them(install):
    install(Icons="\ue000")
    assert drawn(["\ue000"], "class").texts == ["class 1"]


def test_a_font_that_was_installed_since_matplotlib_looked_is_found(monkeypatch, tmp_path):
    path = build_font(tmp_path / "Fresh.ttf", "鹿")
    broken = tmp_path / "broken.ttf"
    broken.write_bytes(b"no font")
    monkeypatch.undo()
    monkeypatch.setattr(font_manager.fontManager, "ttflist", list(font_manager.fontManager.ttflist))
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [str(path), str(broken)])
    fonts._families.cache_clear()
    assert "Fresh" in fonts._families()
    fonts._families.cache_clear()


def test_matplotlibs_own_fonts_for_formulas_are_not_used(monkeypatch):
    monkeypatch.undo()
    assert not [name for name in fonts._families() if name.startswith(("cm", "STIX", "Last Resort"))]


def test_a_number_that_is_the_name_of_another_class_is_told_apart():
    assert drawn(["class 2", "鹿"], "class").texts == ["class 2", "(class 2)"]


def test_why_names_are_numbered_is_said_with_the_names():
    replaced = drawn(["cat", "鹿", "\ue000"], "class").replaced
    assert why(replaced).endswith("is missing there): class 2 is '鹿'; class 3 is '\\ue000'")
    assert why({}) == ""
    assert why({f"site {number}": "x" for number in range(25)}).endswith("; and 5 more")


def test_a_site_is_numbered_by_its_row_though_others_are_drawn_first(monkeypatch):
    shown = []
    monkeypatch.setattr("trapline.reports.figures._bars", lambda names, *others: shown.extend(names.texts))
    site_figure(
        [
            {"site": name, "images": images, "log_loss": loss}
            for name, images, loss in (("S1", 5, 0.1), ("鹿", 7, 0.9), ("狐", 6, 0.5))
        ],
        0.5,
    )
    assert shown == ["site 2 (7)", "site 3 (6)", "S1 (5)"]


def test_a_long_name_is_cut_with_all_marks_of_its_last_letter():
    assert shortened("lion", 4) == "lion"
    assert shortened("lions", 4) == "lio…"
    assert shortened("ab\u0301cdef", 3) == "a…"
    assert shortened("\u0301" * 9, 4) == "\u0301…"


def test_what_follows_a_name_that_is_read_from_the_right_stands_to_its_right():
    assert followed("lion") == "lion"
    assert followed("قط") == "\u200eقط\u200e"


def test_plain_names_cost_nothing():
    script = (
        "import sys\nfrom trapline.reports.fonts import drawn\n"
        "assert drawn(['wild cat', 'x-1'], 'class').texts == ['wild cat', 'x-1']\n"
        "assert 'matplotlib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
