"""ResNet-50 on ImageNet and Tiny-ImageNet: what the launchers say, and that they run, from archives too."""

import json
import shutil
import tarfile

import pytest

from launch import imagenet_resnet50, tiny_imagenet_resnet50
from tests.conftest import write_jpeg
from tests.support.launching import Place, only_run, record, rows, tiny
from trapline.config import make_config
from trapline.errors import UsageError
from trapline.launching.flags import read_plan
from trapline.launching.local.sources import check_sources

EXPERIMENTS = [imagenet_resnet50.EXPERIMENT, tiny_imagenet_resnet50.EXPERIMENT]
CODES = ("n01443537", "n02123045")
TRIAL = tiny(batch_size=2, arch=None)


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.name)
def test_both_train_as_the_original_does(experiment):
    config = make_config(experiment.hyperparameters)
    assert (config.schedule, config.accumulation, config.gpu_memory_fraction) == ("onecycle", 4, 0.7)
    assert (config.best_metric, config.augment, config.eval_crop) == ("val_loss", "imagenet", "centre")
    assert config.weights == "none"


def test_each_has_the_stem_for_its_images():
    imagenet, small = (make_config(experiment.hyperparameters) for experiment in EXPERIMENTS)
    assert (imagenet.arch, imagenet.image_size) == ("resnet50_imagenet", 224)
    assert (small.arch, small.image_size) == ("resnet50_64px", 64)


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.name)
def test_the_docstrings_state_command_and_data(experiment):
    script = f"python launch/{experiment.name.replace('-', '_')}.py"
    assert f"{script} --data s3://" in experiment.description
    assert f"{script} --backend process --data " in experiment.description
    assert "Data: " in experiment.description


def checked(data):
    check_sources(read_plan(tiny_imagenet_resnet50.EXPERIMENT, ["--backend", "process", "--data", str(data)]))


def test_data_may_be_an_archive_but_no_other_file(tmp_path):
    for name in ("set.zip", "set.tar", "set.tar.gz", "set.tgz", "set.tar.bz2", "set.tar.xz"):
        (tmp_path / name).touch()
        checked(tmp_path / name)
    for name, message in (("set.rar", r"is a RAR archive, which is not read"),
                          ("set.txt", r"a file; give a folder, \.zip, \.tar")):  # fmt: skip
        (tmp_path / name).touch()
        with pytest.raises(UsageError, match=rf"--data .*{name}: {message}"):
            checked(tmp_path / name)
    with pytest.raises(UsageError, match=r"absent\.zip: no such folder"):
        checked(tmp_path / "absent.zip")


def drawn_tiny_imagenet(folder):
    """Two classes of 8 training and 2 validation images in Tiny-ImageNet's layout."""
    for label, code in enumerate(CODES):
        for number in range(8):
            write_jpeg(folder / "train" / code / "images" / f"{code}_{number}.JPEG", label * 8 + number, 36)
    lines = []
    for number in range(4):
        write_jpeg(folder / "val" / "images" / f"val_{number}.JPEG", 100 + number, 36)
        lines.append(f"val_{number}.JPEG\t{CODES[number % 2]}\t0\t0\t9\t9")
    (folder / "val" / "val_annotations.txt").write_text("\n".join(lines))
    (folder / "wnids.txt").write_text("\n".join(CODES))
    (folder / "words.txt").write_text("n01443537\tgoldfish\nn02123045\ttabby, tabby cat\n")
    return folder


@pytest.mark.slow
def test_tiny_imagenet_runs_from_an_archive(tmp_path):
    place = Place(tmp_path)
    folder = drawn_tiny_imagenet(tmp_path / "drawn" / "tiny-imagenet-200")
    shutil.make_archive(str(tmp_path / "drawn" / "tiny set"), "zip", folder.parent, folder.name)
    shutil.rmtree(folder)
    command = ["--backend", "process", "--data", "drawn/tiny set.zip", *TRIAL]
    done = place.run("tiny_imagenet_resnet50", *command)
    assert done.returncode == 0, done.stdout + done.stderr
    run = only_run(tmp_path, "tiny-imagenet-resnet50")
    assert record(run)["status"] == "Completed"
    described = json.loads(next(tmp_path.glob("runs/prepared/*/dataset.json")).read_text())
    assert (described["classes"], described["split"]["kind"]) == (["goldfish", "tabby"], "given")
    assert described["source"] == "drawn/tiny set.zip"
    with tarfile.open(run / "model.tar.gz") as archive:
        model = json.load(archive.extractfile("model.json"))
    assert (model["architecture"], model["eval_crop"]) == ("resnet50_64px", "centre")
    assert float(rows(run / "metrics.csv")[0]["val_loss"]) > 0
    assert place.leftovers() == []


@pytest.mark.long  # the launch is that of the archive above, the layout has its quick tests
def test_imagenets_folders_run(tmp_path):
    for part, count in (("train", 8), ("val", 2)):
        for code in CODES:
            for number in range(count):
                write_jpeg(tmp_path / "images" / part / code / f"{part}_{number}.JPEG", number, 48)
    smaller = tiny(batch_size=8, lr=1e-3)
    done = Place(tmp_path).run("imagenet_resnet50", "--backend", "process", "--data", "images", *smaller)
    assert done.returncode == 0, done.stdout + done.stderr
    run = only_run(tmp_path, "imagenet-resnet50")
    assert record(run)["status"] == "Completed"
    assert "split=given" in (run / "log.txt").read_text()
