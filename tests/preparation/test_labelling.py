"""What becomes of labels: corrections, a map of classes, several labels an image, rare classes."""

import hashlib
import itertools
from collections import Counter

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trapline.errors import TraplineError
from trapline.job_options import PrepareOptions
from trapline.preparation.label_changes import listed
from trapline.preparation.labelling import labelled
from trapline.preparation.listed_rows import label_columns
from trapline.preparation.listing import CAPTION, LABELS, UNLABELED, Source

CAT, DOG, LYNX = 0, 1, 2
CLASSES = ["cat", "dog", "lynx"]


def source_of(labels, classes=CLASSES, *, several=False, **facts):
    """A source of images i0, i1, ...; of each its label, None for none, or with `several` a tuple of them."""
    names = [f"i{number}" for number in range(len(labels))]
    images = pd.DataFrame(
        {
            "id": names,
            "filepath": [f"{name}.jpg" for name in names],
            "path": [f"/raw/{name}.jpg" for name in names],
            "label": [UNLABELED if label is None else label for label in labels],
            "site": None,
            "sequence": None,
        },
        dtype=object,
    )
    if several:
        columns = label_columns([own or () for own in labels], [own is None for own in labels])
        images = images.assign(**columns)
    return Source(images, list(classes), **facts)


def options(**given):
    return PrepareOptions(input=("raw",), output="prepared", **given)


@pytest.fixture
def change(tmp_path):
    """Label a source: (source, corrections' lines, classes' lines, options) -> source and record."""

    def run(source, corrections=None, classes=None, **given):
        files = {}
        for name, lines in (("corrections", corrections), ("classes", classes)):
            if lines is not None:
                files[name] = tmp_path / f"{name}.csv"
                files[name].write_text("\n".join(lines) + "\n", encoding="utf-8")
                given[name] = f"{name}.csv"
        return labelled(source, options(**given), files)

    return run


def labels(source):
    """For each id its labels by name, None for unlabelled images."""
    images = source.images
    lists = images[LABELS] if LABELS in images.columns else [(label,) for label in images["label"]]
    return {
        name: None if label == UNLABELED else sorted(source.classes[each] for each in own)
        for name, label, own in zip(images["id"], images["label"], lists, strict=True)
    }


def quarantined(source):
    return {row.id: row.reason for row in source.quarantined}


# --- nothing asked ------------------------------------------------------------------------------------------


def test_without_options_a_source_stays_as_it_is_and_its_labels_are_counted(change):
    for source in (source_of([CAT, DOG, None]), source_of([(CAT, DOG), ()], several=True)):
        found, record = change(source)
        assert found is source
        assert record["quarantined"] == {}
    assert record["found"] == {
        "cat": {"images": 1, "class": "cat"},
        "dog": {"images": 1, "class": "dog"},
        "lynx": {"images": 0, "class": "lynx"},
    }
    assert record["classes"] == {"cat": 1, "dog": 1, "lynx": 0}


# --- corrections --------------------------------------------------------------------------------------------


def test_a_correction_goes_before_a_label_and_labels_unlabelled_images(change, tmp_path):
    source, record = change(
        source_of([CAT, DOG, DOG, None, LYNX]), ["id,label", "i0,dog", "i2,Owl", "i3,LYNX", "i4,lynx"]
    )
    assert labels(source) == {"i0": ["dog"], "i1": ["dog"], "i2": ["Owl"], "i3": ["lynx"], "i4": ["lynx"]}
    assert source.classes == ["dog", "lynx", "Owl"]
    assert record["corrections"] == {
        "sha256": hashlib.sha256((tmp_path / "corrections.csv").read_bytes()).hexdigest(),
        "rows": 4, "images": 4, "changed": 3, "labelled": 1,
    }  # fmt: skip
    assert record["found"]["cat"] == {"images": 1, "class": None, "by": "corrections"}
    assert record["found"]["Owl"] == {"images": 0, "class": "Owl"}
    assert source.notes == [
        "corrections.csv: says the labels of 4 images: 1 had none, 2 had another",
        "corrections.csv: labels that are new: 'Owl'",
    ]


def test_corrections_may_name_images_by_their_path(change):
    source, _ = change(source_of([CAT, DOG, DOG]), ["Path;species", ".\\i2.jpg;cat"])
    assert labels(source)["i2"] == ["cat"]


def test_ids_that_a_spreadsheet_wrote_as_numbers_are_the_same(change):
    source = source_of([CAT, DOG])
    source.images["id"] = ["7", "8"]
    found, _ = change(source, ["id,label", "7.0,lynx"])
    assert labels(found)["7"] == ["lynx"]


def test_of_ids_that_differ_in_blanks_alone_a_row_means_the_one_that_it_spells(change):
    source = source_of([CAT, CAT, DOG])
    source.images["id"] = ["a b", "a  b", "c"]
    found, record = change(source, ["id,label", "a  b,dog"])
    assert labels(found) == {"a b": ["cat"], "a  b": ["dog"], "c": ["dog"]}
    assert record["corrections"]["images"] == 1


def test_rows_without_an_image_are_told_and_those_in_quarantine_stay_there(change):
    source, _ = change(source_of([CAT, DOG]), ["id,label", "i0,dog", "gone,dog", "i1,cat", "also gone,cat"])
    assert source.notes[1] == (
        "corrections.csv: 2 rows without an image of the set, the first in line 3 ('gone')"
    )
    first, _ = change(source_of([(CAT, DOG), (CAT,), (DOG,)], several=True, undecided=True))
    again, _ = change(first, ["id,label", "i0,cat", "i1,cat"])
    assert quarantined(again) == {"i0": "ambiguous_label"}
    assert again.notes[-1].endswith(
        "in line 2 ('i0'); 1 of these are in quarantine and stay there ('i0': ambiguous_label): mend what "
        "the data say of them"
    )


def test_a_correction_settles_which_of_several_labels_is_true(change):
    source, record = change(
        source_of([(CAT, DOG), (DOG,), (CAT, LYNX)], several=True, undecided=True),
        ["id,label", "i0,cat", "i2,lynx"],
    )
    assert labels(source) == {"i0": ["cat"], "i1": ["dog"], "i2": ["lynx"]}
    assert (source.task, source.undecided, source.quarantined) == ("multiclass", False, [])
    assert record["quarantined"] == {}


def test_where_images_have_several_labels_a_cell_may_hold_several_or_none(change):
    source = source_of([(CAT,), (DOG,), None, (CAT, DOG)], ["cat", "dog", "big cat"], several=True)
    found, _ = change(source, ["ImageID,Labels", "i0,big cat", "i1,cat|dog", "i2,dog|owl", "i3,"])
    assert labels(found) == {"i0": ["big cat"], "i1": ["cat", "dog"], "i2": ["dog", "owl"], "i3": []}
    assert found.classes == ["cat", "dog", "big cat", "owl"]


def test_where_a_set_becomes_one_of_several_labels_each_row_of_an_image_adds_one(change):
    source = source_of([(CAT, DOG), (DOG,), (CAT,)], several=True, undecided=True)
    found, _ = change(source, ["id,label", "i1,big cat", "i1,dog"], several="multilabel")
    assert labels(found) == {"i0": ["cat", "dog"], "i1": ["big cat", "dog"], "i2": ["cat"]}
    assert found.task == "multilabel"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ["id,label", "i0,cat", "i1,dog", "i0,dog"],
            "lines 2 and 4 contradict .*'i0' is 'cat' and 'dog'; keep",
        ),
        (["id,label", "i0,"], r"line 2: its label is empty; write the label, or remove the row; to leave"),
        (["id,label", ",cat"], "line 2: its id is empty; write the id of the image, or remove the row"),
        (["id,label", "x,cat", "y,cat"], r"none of its rows names an image of the set \('x' against 'i0'\)"),
        (
            ["name,label", "i0,cat"],
            r"no column id, nor filepath \(its columns: 'name', 'label'\); give it the columns id and",
        ),
        (["id,site", "i0,cat"], "no column label"),
        (["id,label"], "has a header and no row"),
        (["id,label", "i0,fox\x1b[31m"], r"line 2: the class 'fox\\x1b\[31m' holds U\+001B, a control"),
        (
            ["id,label", "i0,cat", "i1,cat"],
            "leaves only the class 'cat', and a classifier needs at least two",
        ),
        (["id,label", 'i0,"cat'], "not a readable CSV"),
    ],
)
def test_corrections_that_are_wrong_are_refused_by_name_and_line(change, lines, message):
    with pytest.raises(TraplineError, match=f"^corrections.csv: .*{message}"):
        change(source_of([CAT, DOG]), lines)


def test_two_equal_rows_of_an_image_contradict_nothing(change):
    source, record = change(source_of([CAT, DOG, CAT]), ["id,label", "i0,dog", "i0,Dog"])
    assert labels(source)["i0"] == ["dog"]
    assert (record["corrections"]["rows"], record["corrections"]["images"]) == (2, 1)


# --- the map of classes -------------------------------------------------------------------------------------


def test_a_map_renames_and_merges_and_an_empty_class_removes(change):
    source, record = change(
        source_of([CAT, DOG, LYNX, None, DOG], [*CLASSES[:2], "lynx"]),
        classes=["Label,Class", "CAT,felid", "lynx,felid", "dog,"],
        corrections=["id,label", "i4,fox"],
    )
    assert labels(source) == {"i0": ["felid"], "i2": ["felid"], "i3": None, "i4": ["fox"]}
    assert source.classes == ["felid", "fox"]
    assert quarantined(source) == {"i1": "class_removed"}
    assert source.quarantined[0].detail == "classes.csv leaves out 'dog'"
    assert record["found"] == {
        "cat": {"images": 1, "class": "felid", "by": "classes"},
        "dog": {"images": 2, "class": None, "by": "classes"},
        "lynx": {"images": 1, "class": "felid", "by": "classes"},
        "fox": {"images": 0, "class": "fox"},
    }
    assert record["map"]["rows"] == 3
    assert "classes.csv: labels without a row keep their names: 'fox'" in source.notes
    assert "classes.csv leaves out 'dog': 1 image in quarantine (class_removed)" in source.notes


def test_classes_come_in_the_order_of_their_first_labels(change):
    source, _ = change(source_of([CAT, DOG, LYNX]), classes=["label,class", "lynx,a", "dog,b", "cat,a"])
    assert source.classes == ["a", "b"]


def test_a_label_is_mapped_once_also_where_its_class_is_another_label(change):
    source, _ = change(
        source_of([CAT, DOG, LYNX]), classes=["label,class", "cat,dog", "dog,lynx", "lynx,cat"]
    )
    assert labels(source) == {"i0": ["dog"], "i1": ["lynx"], "i2": ["cat"]}


def test_of_several_labels_each_is_mapped_and_an_image_goes_only_with_all_of_them(change):
    source = source_of([(CAT, LYNX), (CAT, DOG), (DOG,), (), None, (LYNX,)], several=True)
    found, _ = change(source, classes=["label,class", "dog,", "cat,felid"])
    assert labels(found) == {"i0": ["felid", "lynx"], "i1": ["felid"], "i3": [], "i4": None, "i5": ["lynx"]}
    assert quarantined(found) == {"i2": "class_removed"}


def test_labels_of_one_class_in_one_image_are_one_label(change):
    source = source_of([(CAT, LYNX), (DOG,)], several=True, undecided=True)
    found, _ = change(source, classes=["label,class", "cat,felid", "lynx,felid"])
    assert (found.task, labels(found)) == ("multiclass", {"i0": ["felid"], "i1": ["dog"]})


def test_codes_are_labels_too_and_stay_only_where_no_name_changes(change):
    source = source_of([CAT, DOG, LYNX], class_codes=["n1", "n2", "n3"])
    removed, _ = change(source, classes=["label,class", "n2,"])
    assert (removed.classes, removed.class_codes) == (["cat", "lynx"], ["n1", "n3"])
    merged, _ = change(source, classes=["label,class", "n2,cat"])
    assert (merged.classes, merged.class_codes) == (["cat", "lynx"], None)


def test_the_column_of_labels_may_be_called_as_labels_are(change):
    source, _ = change(source_of([CAT, DOG, LYNX]), classes=["species\tclass", "cat\tdog"])
    assert source.classes == ["dog", "lynx"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["label,class", "cat,a", "dog,b", "Cat,b"], "lines 2 and 4 contradict .*'cat' is 'a' and 'b'; keep"),
        (["label,class", "cat,a", "cat,"], "lines 2 and 3 contradict each other: 'cat' is 'a' and ''"),
        (["label,class", "owl,a", "fox,"], r"names none of the set's labels \('fox', 'owl' against 'cat',"),
        (["label,class", ",a"], "line 2: its label is empty; write the label, or remove the row"),
        (["label,name", "cat,a"], "no column class"),
        (["class", "cat"], r"no column label \(its columns: 'class'\); give it the columns label and class"),
        (["label,class", "cat,x[METRICS]"], "line 2: the class .* holds the mark of a line that is read"),
        (["label,class", "cat,a", "dog,a", "lynx,a"], "leaves only the class 'a', and a classifier needs at"),
        (["label,class", "cat,", "dog,", "lynx,"], "leaves no class, and a classifier needs at least two"),
    ],
)  # fmt: skip
def test_maps_that_are_wrong_are_refused_by_name_and_line(change, lines, message):
    with pytest.raises(TraplineError, match=f"^(.*/)?classes.csv: .*{message}"):
        change(source_of([CAT, DOG, LYNX]), classes=lines)


def test_labels_of_a_map_that_no_image_has_are_told(change):
    source, _ = change(source_of([CAT, DOG, LYNX]), classes=["label,class", "cat,a", "owl,b"])
    assert source.notes == [
        "classes.csv: labels without a row keep their names: 'dog', 'lynx'",
        "classes.csv: labels that no image has: 'owl'",
    ]


# --- several labels in an image -----------------------------------------------------------------------------


def test_images_of_several_labels_go_to_quarantine_unless_asked_otherwise(change):
    source, record = change(
        source_of([(CAT, DOG), (DOG,), (CAT,), None, (LYNX, CAT)], several=True, undecided=True)
    )
    assert labels(source) == {"i1": ["dog"], "i2": ["cat"], "i3": None}
    assert (source.task, source.classes) == ("multiclass", ["cat", "dog"])
    assert quarantined(source) == {"i0": "ambiguous_label", "i4": "ambiguous_label"}
    assert (
        source.quarantined[0].detail == "several labels: 'cat', 'dog'; --several multilabel or class keeps it"
    )
    assert record["found"]["lynx"] == {"images": 1, "class": None, "by": "several"}


def test_they_may_be_classes_of_their_own(change):
    source, record = change(
        source_of([(DOG, CAT), (DOG,), (CAT,), (CAT, DOG)], several=True, undecided=True), several="class"
    )
    assert labels(source) == {"i0": ["cat+dog"], "i1": ["dog"], "i2": ["cat"], "i3": ["cat+dog"]}
    assert source.classes == ["cat", "dog", "lynx", "cat+dog"]
    assert record["together"] == {"cat+dog": {"images": 2, "class": "cat+dog"}}
    assert CAPTION not in source.images.columns


def test_a_class_of_two_that_is_there_already_takes_them(change):
    source = source_of([(0, 1), (0,), (1,), (2,)], ["cat", "dog", "Cat+Dog"], several=True, undecided=True)
    found, _ = change(source, several="class")
    assert labels(found)["i0"] == labels(found)["i3"] == ["Cat+Dog"]
    assert found.classes == ["cat", "dog", "Cat+Dog"]


def test_the_set_may_become_one_of_several_labels(change):
    source = source_of([(CAT, DOG), (DOG,), None, (LYNX,)], several=True, undecided=True)
    found, _ = change(source, several="multilabel")
    assert (found.task, found.undecided) == ("multilabel", False)
    assert labels(found) == {"i0": ["cat", "dog"], "i1": ["dog"], "i2": None, "i3": ["lynx"]}


def test_a_set_of_several_labels_by_its_layout_becomes_one_of_one_label_if_asked(change):
    source = source_of([(CAT, DOG), (DOG,), (), (CAT,), None], several=True)
    kept, _ = change(source, several="multilabel")
    assert kept is source
    single, _ = change(source, several="class")
    assert labels(single) == {"i0": ["cat+dog"], "i1": ["dog"], "i3": ["cat"], "i4": None}
    assert quarantined(single) == {"i2": "unknown_label"}
    assert single.task == "multiclass"


def test_captions_stay_with_their_images(change):
    source = source_of([(CAT,), (DOG,), (LYNX, DOG)], several=True)
    source = Source(source.images.assign(**{CAPTION: ["a", "b", "c"]}), source.classes)
    found, _ = change(source, classes=["label,class", "cat,"])
    assert found.images[CAPTION].tolist() == ["b", "c"]


def test_a_set_in_which_every_image_has_several_labels_is_refused_with_the_way_out(change):
    with pytest.raises(TraplineError, match=r"--several quarantine: leaves no class, .*; use multilabel"):
        change(source_of([(CAT, DOG), (DOG, LYNX), (CAT, LYNX)], several=True, undecided=True))


# --- rare classes -------------------------------------------------------------------------------------------


def test_rare_classes_become_other(change):
    source, record = change(source_of([CAT, CAT, DOG, LYNX, None]), min_images=2)
    assert labels(source) == {"i0": ["cat"], "i1": ["cat"], "i2": ["other"], "i3": ["other"], "i4": None}
    assert source.classes == ["cat", "other"]
    assert record["found"]["dog"] == {"images": 1, "class": "other", "by": "min_images"}
    assert source.notes == ["--min-images 2 makes 'other' of 'dog' (1), 'lynx' (1)"]


def test_a_class_other_takes_rare_ones_and_is_not_moved_itself(change):
    source, _ = change(source_of([0, 0, 1, 2], ["cat", "Other", "lynx"]), min_images=2)
    assert source.classes == ["cat", "Other"]
    assert labels(source)["i3"] == ["Other"]


def test_rare_classes_may_be_removed(change):
    source, record = change(source_of([CAT, CAT, DOG, DOG, LYNX]), min_images=2, rare="remove")
    assert (source.classes, quarantined(source)) == (["cat", "dog"], {"i4": "class_removed"})
    assert record["quarantined"] == {"class_removed": 1}
    assert source.quarantined[0].detail == "--min-images 2 and --rare remove leave out 'lynx'"


def test_what_is_rare_is_counted_after_the_map_and_of_each_label(change):
    source = source_of([(CAT, DOG), (LYNX, DOG), (DOG,), (3,)], [*CLASSES, "owl"], several=True)
    found, _ = change(source, classes=["label,class", "cat,felid", "lynx,felid"], min_images=2, rare="remove")
    assert labels(found) == {"i0": ["dog", "felid"], "i1": ["dog", "felid"], "i2": ["dog"]}
    assert quarantined(found) == {"i3": "class_removed"}


def test_a_class_of_several_labels_may_be_rare(change):
    source = source_of([(CAT, DOG), (CAT,), (CAT,), (DOG,), (DOG,)], several=True, undecided=True)
    found, record = change(source, several="class", min_images=2)
    assert labels(found)["i0"] == ["other"]
    assert record["together"] == {"cat+dog": {"images": 1, "class": "other", "by": "min_images"}}


def test_a_bound_that_leaves_fewer_than_two_classes_is_refused(change):
    for rare in ("other", "remove"):
        with pytest.raises(
            TraplineError, match=r"--min-images 9: leaves .*, and a classifier needs at least"
        ):
            change(source_of([CAT, DOG, LYNX]), min_images=9, rare=rare)


# --- whatever the tables ------------------------------------------------------------------------------------

NAMES = [*CLASSES, "owl"]
HEADERS = {"corrections": "id,label", "classes": "label,class"}
MAPPED = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(["felid", "dog", "other", ""]), max_size=4)
IMAGES = st.lists(
    st.none() | st.sets(st.integers(0, len(NAMES) - 1), max_size=3).map(lambda own: tuple(sorted(own))),
    min_size=1, max_size=12,
)  # fmt: skip


def each(state, decide):
    """The state after `decide` made of each set of labels another one, or a reason in quarantine."""
    return [decide(own) if isinstance(own, set) else own for own in state]


def decided(state, several):
    """The state in which no image has several labels, or none."""

    def decide(own):
        if len(own) > 1:
            return {"+".join(sorted(own))} if several == "class" else "ambiguous_label"
        return own or "unknown_label"

    return each(state, decide)


def without_rare(state, least, rare):
    every = [label for own in state if isinstance(own, set) for label in own]
    few = {label for label in every if every.count(label) < least} - ({"other"} if rare == "other" else set())
    other = {"other"} if rare == "other" else set()
    return each(
        state, lambda own: own - few | (other if own & few else set()) or ("class_removed" if own else own)
    )


def expected(images, corrections, mapped, several, by_layout, least, rare):
    """For each image the names of its labels, one by one: None for unlabelled, a reason in quarantine."""
    state = [None if own is None else {NAMES[label] for label in own} for own in images]
    for number, label in corrections.items():
        state[number] = {label}
    state = each(
        state,
        lambda own: {mapped.get(label, label) for label in own} - {""} or ("class_removed" if own else own),
    )
    if several != "multilabel" and (by_layout or any(isinstance(own, set) and len(own) > 1 for own in state)):
        state = decided(state, several)
    return state if least is None else without_rare(state, least, rare)


def attempt(change, *arguments, **given):
    """What `change` gives, or the message of its refusal."""
    try:
        return change(*arguments, **given)
    except TraplineError as error:
        return str(error)


REFUSED = "a classifier needs at least two", "none of the set's labels"


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    images=IMAGES,
    corrections=st.dictionaries(st.integers(0, 11), st.sampled_from([*NAMES, "fox"]), max_size=4),
    mapped=MAPPED,
    several=st.sampled_from(["multilabel", "class", "quarantine"]),
    by_layout=st.booleans(),
    least=st.none() | st.integers(1, 4),
    rare=st.sampled_from(["other", "remove"]),
)
def test_every_image_is_in_the_source_or_in_quarantine_once_with_the_labels_that_the_rules_say(
    change, images, corrections, mapped, several, by_layout, least, rare
):
    corrections = {number: label for number, label in corrections.items() if number < len(images)}
    if not by_layout:
        images = [own or None for own in images]
    rare = "other" if least is None else rare
    tables = {
        "corrections": [f"i{number},{label}" for number, label in corrections.items()],
        "classes": [f"{label},{name}" for label, name in mapped.items()],
    }
    found = attempt(
        change,
        source_of(images, NAMES, several=True, undecided=not by_layout),
        **{name: [HEADERS[name], *rows] for name, rows in tables.items() if rows},
        several=several, min_images=least, rare=rare,
    )  # fmt: skip
    if isinstance(found, str):
        assert any(said in found for said in REFUSED)
        return
    source, record = found
    state = expected(images, corrections, mapped, several, by_layout, least, rare)
    kept = {f"i{number}": own and sorted(own) for number, own in enumerate(state) if not isinstance(own, str)}
    kept |= {name: [] for name, own in kept.items() if own == set()}
    assert labels(source) == kept
    assert quarantined(source) == {
        f"i{number}": own for number, own in enumerate(state) if isinstance(own, str)
    }
    assert len(source.images) + len(source.quarantined) == len(images)
    counted = Counter(label for own in kept.values() for label in own or ())
    assert {name: count for name, count in record["classes"].items() if count} == counted
    assert list(record["classes"]) == source.classes
    assert not source.undecided


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(images=IMAGES, targets=st.lists(st.sampled_from(["felid", "dog", ""]), min_size=4, max_size=4))
def test_a_map_whose_classes_map_to_themselves_changes_nothing_the_second_time(change, images, targets):
    mapped = {**dict(zip(NAMES, targets, strict=True)), "felid": "felid", "dog": "dog"}
    rows = [HEADERS["classes"], *(f"{label},{name}" for label, name in mapped.items())]
    first = attempt(change, source_of(images, NAMES, several=True), classes=rows)
    if isinstance(first, str):
        assert REFUSED[0] in first
        return
    once, _ = first
    twice, record = change(once, classes=rows)
    assert (labels(twice), twice.classes, quarantined(twice)) == (
        labels(once),
        once.classes,
        quarantined(once),
    )
    assert record["quarantined"] == {}


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cells=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), max_size=5),
    name=st.sampled_from(["corrections", "classes"]),
)
def test_whatever_a_table_holds_the_answer_is_a_source_or_a_message(change, cells, name):
    quoted = ['"{}"'.format(cell.replace('"', '""')) for cell in cells]
    lines = [HEADERS[name], "i0,dog" if name == "corrections" else "cat,felid"]
    lines += [f"{one},{other}" for one, other in itertools.pairwise(quoted)]
    found = attempt(change, source_of([CAT, DOG, LYNX, DOG]), **{name: lines})
    if isinstance(found, str):
        assert found.startswith(f"{name}.csv")
    else:
        assert len(found[0].images) + len(found[0].quarantined) == 4


def test_many_names_are_shown_as_a_few_and_a_count():
    assert listed([f"n{number}" for number in range(7)]) == "'n0', 'n1', 'n2', 'n3', 'n4' and 2 more"
