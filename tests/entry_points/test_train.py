import json
import math
import re
import shutil
import subprocess
import sys

import pytest
import torch

from tests.conftest import ENTRY_POINTS
from tests.support.entry_jobs import QUICK, history, same, same_trained, tensors
from trapline import metrics
from trapline.models.artefact import load_model


def test_the_artefact_holds_best_and_last_weights_and_can_be_loaded(trained):
    folder, _ = trained
    model, description = load_model(folder / "model")
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 8)
    assert description.classes[0] == "antelope_duiker"
    assert description.epochs == 3
    assert description.weights == {
        "source": "none",
        "identity": "",
        "loaded": 0,
        "new": len(tensors(folder)),
        "unused": 0,
    }
    assert description.metrics["best"]["val_loss"] == min(
        row["val_loss"] for row in description.metrics.values()
    )
    assert (folder / "model" / "code" / "trapline" / "images" / "canonical.py").exists()
    assert not list((folder / "model").rglob("__pycache__"))
    best_is_last = description.best_epoch == description.epochs
    assert same(tensors(folder), tensors(folder, "last")) is best_is_last


def test_the_best_epoch_has_the_lowest_validation_log_loss(trained):
    folder, _ = trained
    losses = [row["val_loss"] for row in history(folder)]
    best = json.loads((folder / "model" / "model.json").read_text())["best_epoch"]
    assert best == 1 + losses.index(min(losses))


def test_what_the_regexes_read_from_the_log_is_what_the_csv_holds(trained):
    folder, log = trained
    lines = [line for line in log.splitlines() if line.startswith(metrics.START)]
    assert [metrics.read_values(line) for line in lines] == history(folder)
    assert len(lines) == 3
    assert all(math.isfinite(value) for row in history(folder) for value in row.values())


def test_memory_is_logged_at_every_point(trained):
    _, log = trained
    points = re.findall(r"\[MEMORY\] point=(\w+) rss_mb=\d+ gpu_mb=\d+", log)
    expected = ["start", "data_loaded", "model_built", "model_on_device"]
    expected += [f"epoch_{epoch}_{moment}" for epoch in (1, 2, 3) for moment in ("start", "end")]
    assert points == expected


def test_the_profile_is_printed(trained):
    _, log = trained
    assert "[PROFILE] arch=shufflenet_v2_x0_5 weights=none image_size=32" in log
    assert re.search(r"\[PROFILE\] device=\w+ runs_in=\w+ .* train_images=\d+", log)


def test_too_few_steps_for_batch_normalisation_are_said(trained):
    _, said = trained
    steps = int(re.search(r"note: (\d+) steps leave the running statistics", said)[1])
    images = int(re.search(r"train_images=(\d+)", said)[1])
    assert steps == 3 * math.ceil(images / 8)


def test_no_checkpoint_is_left_and_none_is_in_the_model(trained):
    folder, _ = trained
    assert list((folder / "checkpoints").iterdir()) == []
    assert not list((folder / "model").rglob("*.pt"))


def test_state_dicts_are_written_when_asked(small_demo, tmp_path, call_script):
    done = call_script(
        "train.py", "--prepared", small_demo, "--output", tmp_path, *QUICK, "--epochs", "1", "--export-pth"
    )
    assert done.returncode == 0, done.stderr
    for name in ("model", "last"):
        state = torch.load(tmp_path / "model" / f"{name}.pth", weights_only=True)
        assert same(state, tensors(tmp_path, name))


def test_a_second_job_starts_from_the_first_ones_weights(trained, small_demo, tmp_path, call_script):
    weights = trained[0] / "model" / "model.safetensors"
    flags = [*QUICK, "--weights", weights, "--epochs", "1", "--lr", "1e-9"]
    done = call_script("train.py", "--prepared", small_demo, "--output", tmp_path, *flags)
    assert done.returncode == 0, done.stderr
    assert same_trained(tensors(tmp_path), tensors(trained[0]))
    assert not same_trained(tensors(trained[0]), tensors(trained[0], "last"))


@pytest.mark.slow
def test_patience_ends_the_job_early(small_demo, tmp_path, call_script):
    flags = [*QUICK, "--epochs", "9", "--patience", "1", "--min-delta", "50"]
    done = call_script("train.py", "--prepared", small_demo, "--output", tmp_path, *flags)
    assert "stopped: no better val_loss in 1 validations" in done.stdout
    assert len(history(tmp_path)) == 2


def test_a_loss_that_is_no_number_ends_the_job(small_demo, tmp_path, call_script):
    flags = [*QUICK, "--epochs", "3", "--optimizer", "sgd", "--lr", "100"]
    done = call_script("train.py", "--prepared", small_demo, "--output", tmp_path, *flags)
    assert done.returncode == 1
    assert re.fullmatch(
        r"error: the (training loss became|model's outputs are) .* epoch \d.*: lower lr.*\n", done.stderr
    )
    assert not (tmp_path / "model" / "model.json").exists()


WRONG_USAGE = {
    "no data": [],
    "no such data": ["--prepared", "absent"],
    "a flag without value": ["--lr"],
    "an unknown flag": ["--learning-rate", "1"],
    "a hyperparameter out of range": ["--lr", "-1"],
    "a hyperparameter of another type": ["--epochs", "two"],
    "an unknown choice": ["--optimizer", "lion"],
    "an unknown architecture": ["--arch", "resnet19"],
    "an image size that the architecture refuses": ["--arch", "vit_b_16", "--image-size", "33"],
    "stochastic depth without residual branches": ["--arch", "vgg11", "--stochastic-depth", "0.1"],
    "fp16 on a CPU": ["--precision", "fp16"],
    "an image size above the packed one": ["--image-size", "96"],
    "weights of an unknown kind": ["--weights", "model.h5"],
}


@pytest.mark.parametrize("flags", WRONG_USAGE.values(), ids=WRONG_USAGE)
def test_wrong_usage_ends_with_2_and_at_most_two_lines(flags, small_demo, tmp_path, call_script):
    if "fp16" in flags and torch.cuda.is_available():
        pytest.skip("speaks of a machine without a GPU")
    data = [] if not flags or "--prepared" in flags else ["--prepared", small_demo]
    done = call_script(
        "train.py", *data, "--output", tmp_path, "--weights", "none", "--image-size", "32", *flags
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ")
    assert 1 <= len(done.stderr.splitlines()) <= 2


def test_the_way_out_of_a_packed_size_that_is_too_small_is_a_command(small_demo, tmp_path, call_script):
    done = call_script("train.py", "--prepared", small_demo, "--output", tmp_path, "--image-size", 96)
    expected = f"python entry_points/prepare.py --input demo --output {small_demo} --short-side 96"
    assert done.stderr.splitlines()[1].strip() == expected


def test_a_damaged_set_and_an_output_that_is_a_file_end_with_1(small_demo, tmp_path, call_script):
    copy = shutil.copytree(small_demo, tmp_path / "prepared")
    next((copy / "train").iterdir()).write_bytes(b"damaged")
    done = call_script("train.py", "--prepared", copy, "--output", tmp_path / "out", *QUICK)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "prepare the data again" in done.stderr
    (tmp_path / "file").touch()
    done = call_script("train.py", "--prepared", small_demo, "--output", tmp_path / "file", *QUICK)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)


@pytest.mark.slow
def test_a_damaged_image_is_named_without_a_traceback(small_demo, tmp_path, call_script):
    copy = shutil.copytree(small_demo, tmp_path / "prepared")
    path = next((copy / "train").iterdir())
    content = bytearray(path.read_bytes())
    content[content.index(b"\xff\xd8\xff")] = 0
    path.write_bytes(content)
    done = call_script(
        "train.py", "--prepared", copy, "--output", tmp_path / "out", *QUICK, "--num-workers", "1"
    )
    assert done.returncode == 1
    assert re.fullmatch(r"error: .*train: image ZJ\d+ is damaged \(.*\); prepare again\n", done.stderr)


def test_help_and_a_typing_error_need_no_torch():
    script = (
        f"import sys; sys.argv = ['train.py', '--epoch', '3']; sys.path.insert(0, {str(ENTRY_POINTS)!r})\n"
    )
    script += "import train\ntry:\n    train.main()\nexcept SystemExit:\n    pass\n"
    script += "print({'torch', 'pandas', 'cv2', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
