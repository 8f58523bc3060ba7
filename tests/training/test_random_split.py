"""What a training says where its validation knows the cameras of train."""

import json
from types import SimpleNamespace

import pytest

from tests.support.leakage import gap, predictor
from trapline.data.leakage import IMAGE, PRIOR, SITE
from trapline.data.prepared import PreparedSet, open_prepared
from trapline.training.distributed import ALONE
from trapline.training.setup import note_known_cameras

LOOK = "Knowing only the look of an image, a guess is right for 50% on a random split, 30% at new cameras."


@pytest.fixture
def said(small_demo, capsys):
    """What is said of a set with this kind of split and this gap, which its folder's summary may hold."""
    description = open_prepared(small_demo, parts=[]).description

    def say(kind, leakage, folder=small_demo, ranks=ALONE, **changes):
        changes = {"kind": kind, "unseen_sites": kind == "site", **changes}
        split = description.split.model_copy(update=changes)
        described = description.model_copy(update={"split": split, "leakage": leakage})
        note_known_cameras(SimpleNamespace(prepared=PreparedSet(folder, described)), ranks)
        return capsys.readouterr().out

    return say


def leaking(look):
    """A gap in which only the predictor of the image gains much, `look` of accuracy."""
    predictors = {PRIOR: (0.3, 0.3), SITE: (0.32, 0.3), IMAGE: (0.3 + look, 0.3)}
    words = {IMAGE: LOOK}
    return gap({name: predictor(*both, words.get(name, "Else.")) for name, both in predictors.items()})


def test_a_large_gap_of_any_predictor_is_said_in_one_line_with_the_figures_and_the_way_out(said):
    line = said("random", leaking(0.2))
    assert line.startswith("note: the split is random")
    assert LOOK in line
    assert line.endswith("--split site\n")
    assert line.count("\n") == 1


def test_the_way_out_is_named_as_it_is_typed_where_a_launcher_started_the_job(said, monkeypatch):
    monkeypatch.setenv("SM_HPS", "{}")
    assert said("random", leaking(0.2)).endswith("--prepare split=site\n")


def test_five_points_are_large_and_four_are_not(said):
    assert LOOK in said("random", leaking(0.05))
    assert said("random", leaking(0.04)) == ""


def test_nothing_is_said_of_a_split_by_site_or_of_a_set_without_a_gap(said, tmp_path):
    assert said("site", leaking(0.2)) == ""
    assert said("random", None, tmp_path) == ""


def test_other_splits_whose_parts_share_cameras_are_named_as_what_they_are(said):
    assert said("group", leaking(0.2), group_by="sequence").startswith("note: the split is by 'sequence': ")
    assert said("given", leaking(0.2)).startswith("note: the split is the data set's own: ")
    assert said("given", leaking(0.2), unseen_sites=True) == ""


def test_one_of_several_processes_says_it(said):
    assert said("random", leaking(0.2), ranks=SimpleNamespace(is_main=False)) == ""


def test_a_set_of_before_the_gap_was_in_its_description_says_it_from_its_summary(said, tmp_path):
    content = {"leakage_gap": leaking(0.2).model_dump()}
    (tmp_path / "summary.json").write_text(json.dumps(content))
    assert LOOK in said("random", None, tmp_path)
