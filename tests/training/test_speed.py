"""The choice of precision and memory format: measured with the job's own model, kept, said."""

import contextlib
import dataclasses
import json

import pytest
import torch
from torch import nn

from trapline.models.build import IMAGENET_NORMALISATION
from trapline.training import speed
from trapline.training.execution import Execution, possible_executions
from trapline.training.speed import Result, Work, choose_speed, read_speed

CPU = torch.device("cpu")
WAYS = [
    Execution(CPU, precision, channels_last)
    for precision in ("fp32", "bf16")
    for channels_last in (False, True)
]
WORK = Work("training", "tiny", size=16, batch=8)


@pytest.fixture(autouse=True)
def kept(monkeypatch, tmp_path):
    monkeypatch.setenv("TRAPLINE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "speed"


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Dropout(0.5),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2),
    )  # fmt: skip


def choose(model, ways=WAYS, work=WORK, **options):
    return choose_speed(ways, work, model, IMAGENET_NORMALISATION, **options)


def test_every_way_is_tried_with_the_model_itself_and_the_figures_are_said(model):
    found = choose(model)
    assert found.source == "measured"
    assert {(trial.precision, trial.channels_last) for trial in found.trials} == {
        (way.precision, way.channels_last) for way in WAYS
    }
    assert f"runs_in={found.precision} channels_last={found.channels_last}" in str(found)
    assert str(found).count("fp32") >= 2
    assert "bf16 channels_last" in str(found)


@pytest.mark.parametrize("kind", ["training", "inference"])
def test_measuring_leaves_model_and_random_numbers_as_they_were(model, kind):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    mode, random = model.training, torch.get_rng_state()
    choose(model, work=dataclasses.replace(WORK, kind=kind))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), random)
    assert model.training is mode


def test_of_several_gpus_only_the_jobs_own_is_touched_for_its_random_numbers(model, monkeypatch):
    kept = []
    monkeypatch.setattr(
        torch.random, "fork_rng", lambda devices: kept.append(devices) or contextlib.nullcontext()
    )
    monkeypatch.setattr(speed, "_measured", lambda ways, *_: Result(ways[0], short=True))
    monkeypatch.setattr(speed, "_name_of", str)
    for device in (CPU, torch.device("cuda", 1)):
        choose(model, ways=[Execution(device, precision, False) for precision in ("fp32", "bf16")])
    assert kept == [[], [torch.device("cuda", 1)]]


def test_what_is_asked_for_is_taken_without_a_look(model, kept):
    found = choose(model, ways=possible_executions(CPU, "bf16", True))
    assert (found.source, found.precision, found.channels_last) == ("asked", "bf16", True)
    assert not kept.exists()


def test_a_short_job_runs_as_the_plain_loop_does_and_nothing_is_kept(model, kept):
    found = choose(model, work=dataclasses.replace(WORK, images=16))
    assert (found.source, found.precision, found.channels_last) == ("short", "fp32", False)
    assert not kept.exists()


def test_the_next_job_of_the_kind_takes_what_was_kept(model):
    first, second = choose(model), choose(model)
    assert second == dataclasses.replace(first, source="kept")


def test_anew_means_that_what_was_kept_does_not_count(model):
    choose(model)
    assert choose(model, anew=True).source == "measured"


@pytest.mark.parametrize(
    "other",
    [{"kind": "inference"}, {"architecture": "other"}, {"size": 24}, {"batch": 4}, {"ranks": 2}],
    ids=lambda other: next(iter(other)),
)
def test_another_kind_of_work_is_measured_by_itself(model, other):
    choose(model)
    assert choose(model, work=dataclasses.replace(WORK, **other)).source == "measured"


def test_another_version_or_processor_or_number_of_threads_is_measured_by_itself(model, monkeypatch):
    choose(model)
    for name, value in (("versions", lambda *names: {"torch": "9"}), ("processor", lambda: "another")):
        with monkeypatch.context() as patch:
            patch.setattr(speed, name, value)
            assert choose(model).source == "measured"
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    assert choose(model).source == "measured"


def test_a_damaged_file_of_what_was_kept_is_said_and_measured_anew(model, kept, capsys):
    choose(model)
    (path,) = kept.iterdir()
    for content in ("no json", "{}", json.dumps({"device": "cpu", "trials": [1]})):
        path.write_text(content)
        assert choose(model).source == "measured"
        assert f"{path}: cannot be read" in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_costs_no_job(model, kept, capsys):
    kept.parent.parent.mkdir(exist_ok=True)
    kept.parent.write_text("a file")
    assert choose(model).source == "measured"
    assert "not kept for the next job" in capsys.readouterr().out


def test_what_was_measured_beside_other_work_holds_for_that_job_alone(model, kept, monkeypatch, capsys):
    monkeypatch.setattr(speed.OtherWork, "share", lambda self: 0.4)
    assert choose(model).source == "measured"
    assert "other programs took 40% of the processors while speed was measured" in capsys.readouterr().out
    assert not kept.exists()
    assert choose(model).source == "measured"


def test_without_a_home_nothing_is_kept(model, monkeypatch):
    monkeypatch.setattr(speed, "cache_folder", lambda: None)
    assert [choose(model).source, choose(model).source] == ["measured", "measured"]


def test_where_there_was_no_time_for_every_way_nothing_is_kept(model, kept, monkeypatch):
    monkeypatch.setattr(speed, "SECONDS", 0.0)
    found = choose(model)
    assert found.precision == "fp32"
    assert not kept.exists()


class Refuses(nn.Module):
    """A layer that lower precisions cannot do, or one that takes too much memory."""

    def __init__(self, message, in_fp32=False):
        super().__init__()
        self.message, self.in_fp32 = message, in_fp32

    def forward(self, images):
        if self.in_fp32 or torch.is_autocast_enabled("cpu"):
            raise RuntimeError(self.message)
        return images


def test_a_way_that_the_model_cannot_run_is_left_out_and_said(model, capsys):
    found = choose(nn.Sequential(Refuses("not implemented for BFloat16"), model))
    assert found.precision == "fp32"
    assert "not implemented for BFloat16" in capsys.readouterr().out


def test_a_lack_of_memory_is_left_for_the_job_to_deal_with(model):
    found = choose(nn.Sequential(Refuses("DefaultCPUAllocator: can't allocate memory", in_fp32=True), model))
    assert (found.precision, found.channels_last) == ("fp32", False)


def test_a_fault_of_the_model_itself_is_no_matter_of_speed(model):
    with pytest.raises(RuntimeError, match="a fault"):
        choose(nn.Sequential(Refuses("a fault", in_fp32=True), model))


def test_a_model_with_several_outputs_is_measured(model):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, images):
            return self.model(images), self.model(images)

    assert choose(Two()).source == "measured"


def test_a_record_is_read_as_it_was_written(model, tmp_path):
    found = choose(model)
    (tmp_path / "speed.json").write_text(json.dumps(dataclasses.asdict(found)))
    assert read_speed(tmp_path / "speed.json") == found
    assert read_speed(tmp_path / "none.json") is None
