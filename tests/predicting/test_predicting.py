"""The pass over images: the same answers as elsewhere, whatever ends it in between."""

import json
import shutil

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.support.predicting import answers, journalled, options, put_pictures
from tests.support.predicting import small_model as small_model
from tests.support.small_models import write_small_model
from trapline.errors import UsageError
from trapline.inference.answers import predict
from trapline.inference.predictor import load_predictor
from trapline.input_options import InputOptions
from trapline.predicting import predicting, streaming
from trapline.predicting.predicting import predicted
from trapline.predicting.writing import predict_and_write

NAMES = [f"cam{number // 5}/IMG_{number:03d}.jpg" for number in range(13)]


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch):
    for module in (streaming, predicting):
        monkeypatch.setattr(module, "SHARD", 4)


@pytest.fixture
def photos(tmp_path):
    return put_pictures(tmp_path / "photos", [*NAMES, "cam0/damaged.jpg"])


def test_the_answers_are_those_of_the_server(tmp_path, small_model, photos):
    found, _ = answers(small_model, options(tmp_path / "out", photos))
    predictor = load_predictor(small_model, precision="fp32")
    for name, answer in zip(NAMES, predict(predictor, [photos / name for name in NAMES]), strict=True):
        np.testing.assert_allclose(found["given"][name], answer.probabilities, atol=1e-5)
        assert predictor.classes[found["label"][name]] == answer.label
    damaged = found.loc["cam0/damaged.jpg"]
    assert (damaged["status"], damaged["reason"], damaged["label"]) == ("failed", "not_an_image", -1)
    assert np.isnan(damaged["given"]).all()


def test_views_of_the_command_go_before_the_models(tmp_path, small_model, photos):
    plain, _ = answers(small_model, options(tmp_path / "one", photos))
    flipped, _ = answers(small_model, options(tmp_path / "two", photos, views="flip"))
    predictor = load_predictor(small_model, precision="fp32", views=("plain", "horizontal_flip"))
    expected = predict(predictor, [photos / NAMES[0]])[0].probabilities
    np.testing.assert_allclose(flipped["given"][NAMES[0]], expected, atol=1e-5)
    assert plain["given"][NAMES[0]] != flipped["given"][NAMES[0]]


@pytest.mark.parametrize("done", [0, 1, 3])
def test_a_pass_that_was_ended_goes_on_and_ends_alike(tmp_path, small_model, photos, monkeypatch, done):
    whole, _ = answers(small_model, options(tmp_path / "whole", photos))
    end_after(done, monkeypatch)
    chosen = options(tmp_path / "out", photos)
    with pytest.raises(KeyboardInterrupt):
        answers(small_model, chosen)
    monkeypatch.undo()
    assert done == 0 or len(journalled(tmp_path / "out")) == done
    decoded = counted(monkeypatch)
    found, _ = answers(small_model, chosen)
    np.testing.assert_array_equal(np.array(found["given"].tolist()), np.array(whole["given"].tolist()))
    assert len(decoded) == len(NAMES) + 1 - 4 * done


def end_after(shards, monkeypatch):
    """Let a pass be interrupted when so many shards are kept."""
    monkeypatch.setattr(streaming, "SHARD", 4)
    monkeypatch.setattr(predicting, "SHARD", 4)
    make, made = streaming._predicted, []

    def stop(*given):
        if len(made) == shards:
            raise KeyboardInterrupt
        made.append(make(*given))
        return made[-1]

    monkeypatch.setattr(streaming, "_predicted", stop)


def counted(monkeypatch):
    """The items that are handed to processes for decoding."""
    for module in (streaming, predicting):
        monkeypatch.setattr(module, "SHARD", 4)
    handed, mapped = [], streaming.mapped

    def note(function, items, *rest):
        handed.extend(items)
        return mapped(function, items, *rest)

    monkeypatch.setattr(streaming, "mapped", note)
    return handed


def test_nothing_is_predicted_twice_and_only_what_changed_anew(tmp_path, small_model, photos, monkeypatch):
    chosen = options(tmp_path / "out", photos)
    before, _ = answers(small_model, chosen)
    decoded = counted(monkeypatch)
    again = answers(small_model, chosen)[0]
    np.testing.assert_array_equal(np.array(again["given"].tolist()), np.array(before["given"].tolist()))
    assert decoded == []
    (photos / NAMES[-1]).write_bytes((photos / NAMES[0]).read_bytes())
    after, _ = answers(small_model, chosen)
    assert 0 < len(decoded) <= 4
    np.testing.assert_allclose(after["given"][NAMES[-1]], before["given"][NAMES[0]], atol=1e-5)


@pytest.mark.parametrize(
    ("name", "kind"), [("card.txz", "xztar"), pytest.param("card.zip", "zip", marks=pytest.mark.slow)]
)
def test_what_was_unpacked_again_is_known_by_its_bytes(tmp_path, small_model, monkeypatch, name, kind):
    pictures = {f"{number}.bmp": np.full((24, 24, 3), 10 * number, dtype=np.uint8) for number in range(6)}

    def pack():
        shutil.rmtree(tmp_path / "card", ignore_errors=True)
        (tmp_path / "card").mkdir()
        for file, pixels in pictures.items():
            cv2.imwrite(str(tmp_path / "card" / file), pixels)
        made = shutil.make_archive(str(tmp_path / "made"), kind, tmp_path / "card")
        shutil.move(made, tmp_path / name)

    pack()
    chosen = options(tmp_path / "out", tmp_path / name)
    before, _ = answers(small_model, chosen)
    decoded = counted(monkeypatch)
    pack()
    answers(small_model, chosen)
    assert decoded == []
    pictures["5.bmp"] = pictures["0.bmp"]  # another picture of the same size in bytes
    pack()
    after, _ = answers(small_model, chosen)
    assert len(decoded) == 2  # of the last shard
    np.testing.assert_allclose(after["given"]["5.bmp"], before["given"]["0.bmp"], atol=1e-5)


@pytest.mark.slow
def test_the_demo_is_predicted_twice_and_leaves_no_copies(tmp_path, small_model, monkeypatch):
    monkeypatch.setattr(predicting.PredictOptions, "input_fields", small_demo_fields)
    chosen = options(tmp_path / "out", "demo")
    first, _ = answers(small_model, chosen)
    assert not (tmp_path / "out" / ".predicting" / "copies").exists()
    (tmp_path / "out" / ".predicting" / "copies" / "raw").mkdir(parents=True)
    (tmp_path / "out" / ".predicting" / "copies" / "raw" / "left.txt").write_text("of a run that was killed")
    decoded = counted(monkeypatch)
    second, _ = answers(small_model, chosen)
    assert decoded == []
    assert second["given"].equals(first["given"])
    assert len(first) > 20


def small_demo_fields(self):
    """Of the demo a small one."""
    own = {name: getattr(self, name) for name in InputOptions.model_fields}
    return {**own, "demo_images": 24, "demo_unlabeled": 12, "demo_sites": 3}


def test_files_of_an_earlier_run_are_named_where_they_are_not_written_anew(
    tmp_path, small_model, photos, capsys
):
    for formats, earlier in (
        (["csv", "coco"], []),
        (["parquet"], ["predictions.csv, coco.json"]),
        (["csv"], ["predictions.parquet, coco.json"]),
    ):
        predict_and_write(options(tmp_path / "out", photos, formats=formats), small_model, "small")
        notes = [line for line in capsys.readouterr().out.splitlines() if "of an earlier run" in line]
        assert [line.partition("not written anew: ")[2] for line in notes] == earlier


def test_a_shard_that_is_damaged_on_disk_is_made_again(tmp_path, small_model, photos, monkeypatch):
    chosen = options(tmp_path / "out", photos)
    before, _ = answers(small_model, chosen)
    shard = tmp_path / "out" / ".predicting" / "shards" / "000001.arrow"
    shard.write_bytes(shard.read_bytes()[:-40])
    decoded = counted(monkeypatch)
    after, _ = answers(small_model, chosen)
    assert len(decoded) == 4
    np.testing.assert_array_equal(np.array(after["given"].tolist()), np.array(before["given"].tolist()))


def test_a_journal_that_a_kill_cut_short_loses_no_other_line(tmp_path, small_model, photos, monkeypatch):
    chosen = options(tmp_path / "out", photos)
    answers(small_model, chosen)
    journal = tmp_path / "out" / ".predicting" / "shards.jsonl"
    journal.write_bytes(journal.read_bytes()[:-10])
    decoded = counted(monkeypatch)
    answers(small_model, chosen)
    assert len(decoded) == 2  # of the last shard
    answers(small_model, chosen)
    assert len(decoded) == 2


def test_another_model_in_the_same_folder_predicts_all_anew(tmp_path, small_model, photos, capsys):
    first, _ = answers(small_model, options(tmp_path / "out", photos))
    other = write_small_model(tmp_path / "other", temperature=3.0)
    second, _ = answers(other, options(tmp_path / "out", photos))
    assert "all is predicted anew" in capsys.readouterr().out
    assert max(second["given"][NAMES[0]]) < max(first["given"][NAMES[0]])


def test_the_choice_of_precision_and_the_time_are_those_of_the_first_start(tmp_path, small_model, photos):
    chosen = options(tmp_path / "out", photos, precision="auto")
    with predicted(chosen, small_model, "small") as (first, _):
        created = first.predictions.created
    state = tmp_path / "out" / ".predicting"
    speed = json.loads((state / "speed.json").read_text())
    shutil.rmtree(state / "shards")
    with predicted(chosen, small_model, "small") as (second, _):
        assert second.predictions.created == created
    assert json.loads((state / "speed.json").read_text()) == speed


def test_a_smaller_input_leaves_no_answers_of_a_larger_one(tmp_path, small_model, photos):
    answers(small_model, options(tmp_path / "out", photos))
    shutil.rmtree(photos / "cam2")
    found, _ = answers(small_model, options(tmp_path / "out", photos))
    assert len(found) == len(NAMES) + 1 - 3
    assert len(list((tmp_path / "out" / ".predicting" / "shards").iterdir())) == 3


def test_below_the_threshold_an_image_has_no_label_and_keeps_its_numbers(tmp_path, small_model, photos):
    with predicted(options(tmp_path / "out", photos, threshold=1.0), small_model, "small") as (found, _):
        predictions = found.predictions
        assert not predictions.labels_of(slice(0, len(predictions))).any()
        assert predictions.needs_review().all()
        assert predictions.rows["confidence"].max() < 1


def test_models_of_several_labels_have_those_above_their_thresholds(tmp_path, photos):
    model = write_small_model(tmp_path / "several", task="multilabel", thresholds=[0.2, 0.9, 0.5])
    with predicted(options(tmp_path / "out", photos), model, "several") as (found, _):
        predictions, usable = found.predictions, found.predictions.rows["status"] == "ok"
        expected = predictions.probabilities >= np.array([0.2, 0.9, 0.5])
        np.testing.assert_array_equal(predictions.labels_of(slice(0, len(predictions))), expected)
        assert predictions.task == "multilabel"
        assert expected[usable].any()


def test_a_model_that_pools_gives_the_images_of_a_sequence_one_answer(tmp_path, photos):
    table = ["path,sequence", *(f"{name},{name[:4]}" for name in NAMES)]
    (photos / "images.csv").write_text("\n".join(table) + "\n")
    model = write_small_model(tmp_path / "pooling", pool_sequences=True)
    with predicted(options(tmp_path / "out", photos), model, "pooling") as (found, _):
        given = dict(zip(found.predictions.rows["file"], found.predictions.probabilities, strict=True))
        assert found.pooled == len(NAMES)
    plain, _ = answers(write_small_model(tmp_path / "plain"), options(tmp_path / "two", photos))
    np.testing.assert_allclose(given[NAMES[0]], given[NAMES[4]])
    own = np.log([plain["given"][name] for name in NAMES[:5]]).mean(axis=0)
    np.testing.assert_allclose(given[NAMES[0]], np.exp(own) / np.exp(own).sum(), rtol=1e-6)


@pytest.mark.parametrize("with_time", [(0,), (12,), (3, 4)])
def test_images_of_which_some_have_exif_are_predicted_with_their_times(
    tmp_path, small_model, photos, with_time
):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = "2024:05:11 14:02:10"
    for number in with_time:
        with Image.open(photos / NAMES[number]) as image:
            image.save(photos / NAMES[number], exif=exif)
    found, _ = answers(small_model, options(tmp_path / "out", photos))
    known = found["time"][found["time"].notna()].to_dict()
    assert known == {NAMES[number]: "2024-05-11T14:02:10" for number in with_time}
    assert (found["status"] == "ok").sum() == len(NAMES)


def test_sequences_that_each_site_counts_from_one_are_not_pooled_across_sites(tmp_path, photos):
    numbers = [number % 5 // 3 for number in range(len(NAMES))]  # 0, 0, 0, 1, 1 at each site
    table = [
        "path,site,sequence",
        *(f"{name},{name[:4]},{own}" for name, own in zip(NAMES, numbers, strict=True)),
    ]
    (photos / "images.csv").write_text("\n".join(table) + "\n")
    model = write_small_model(tmp_path / "pooling", pool_sequences=True)
    with predicted(options(tmp_path / "out", photos), model, "pooling") as (found, _):
        given = dict(zip(found.predictions.rows["file"], found.predictions.probabilities, strict=True))
        assert "each counts its own" in " ".join(found.notes)
        sequences = dict(zip(found.predictions.rows["file"], found.predictions.rows["sequence"], strict=True))
    plain, _ = answers(write_small_model(tmp_path / "plain"), options(tmp_path / "two", photos))
    own = np.log([plain["given"][name] for name in NAMES[:3]]).mean(axis=0)
    np.testing.assert_allclose(given[NAMES[0]], np.exp(own) / np.exp(own).sum(), rtol=1e-6)
    assert sequences[NAMES[0]] == "cam0:0"
    assert sequences[NAMES[9]] == "cam1:1"


def test_a_class_to_drop_that_the_model_has_not_is_refused_before_anything_is_predicted(
    tmp_path, small_model, photos
):
    with pytest.raises(UsageError, match="--drop-classes person: the model has no such class; it has bird"):
        answers(small_model, options(tmp_path / "out", photos, drop_classes=("person",)))
    assert not (tmp_path / "out" / ".predicting" / "shards.jsonl").exists()
