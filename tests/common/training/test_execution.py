import pytest
import torch
from torchvision.transforms import functional

from common.config import make_config
from common.errors import UsageError
from common.models.build import IMAGENET_NORMALISATION
from common.training import execution
from common.training.execution import Execution, choose_execution, cpu_has_bf16, seed_everything

on_cpu = pytest.mark.skipif(torch.cuda.is_available(), reason="speaks of a machine without a GPU")


@on_cpu
@pytest.mark.parametrize(("has_bf16", "expected"), [(True, ("bf16", True)), (False, ("fp32", False))])
def test_a_cpu_runs_in_bf16_and_channels_last_where_that_is_faster(monkeypatch, has_bf16, expected):
    monkeypatch.setattr(execution, "cpu_has_bf16", lambda: has_bf16)
    chosen = choose_execution(make_config({"arch": "resnet18"}))
    assert (chosen.precision, chosen.channels_last) == expected


@on_cpu
def test_what_is_asked_for_is_kept():
    chosen = choose_execution(make_config({"precision": "fp32", "channels_last": True}))
    assert (chosen.precision, chosen.channels_last) == ("fp32", True)


@on_cpu
def test_fp16_needs_a_gpu():
    with pytest.raises(UsageError, match="precision fp16: needs a GPU"):
        choose_execution(make_config({"precision": "fp16"}))


def test_bf16_is_looked_for_among_the_flags_of_the_cpu(monkeypatch, tmp_path):
    flags = tmp_path / "cpuinfo"
    monkeypatch.setattr(execution, "Path", lambda name: flags)
    assert not cpu_has_bf16()
    flags.write_text("flags : fpu avx512f avx512_bf16\n")
    assert cpu_has_bf16()
    flags.write_text("flags : fpu avx512f\n")
    assert not cpu_has_bf16()


@pytest.mark.parametrize("channels_last", [True, False])
def test_pixels_are_normalised_as_torchvision_does(channels_last):
    pixels = torch.randint(0, 256, (2, 5, 7, 3), dtype=torch.uint8, generator=torch.manual_seed(0))
    chosen = Execution(torch.device("cpu"), "fp32", channels_last)
    inputs = chosen.inputs(pixels, IMAGENET_NORMALISATION)
    mean, std = list(IMAGENET_NORMALISATION.mean), list(IMAGENET_NORMALISATION.std)
    expected = functional.normalize(pixels.permute(0, 3, 1, 2).float() / 255, mean, std)
    torch.testing.assert_close(inputs, expected, rtol=1e-5, atol=1e-5)
    wanted = torch.channels_last if channels_last else torch.contiguous_format
    assert inputs.is_contiguous(memory_format=wanted)


def test_deterministic_mode_and_benchmarking_exclude_each_other():
    before = torch.are_deterministic_algorithms_enabled()
    try:
        for deterministic in (True, False):
            seed_everything(0, deterministic)
            assert torch.are_deterministic_algorithms_enabled() is deterministic
            assert torch.backends.cudnn.benchmark is not deterministic
    finally:
        torch.use_deterministic_algorithms(before)


def test_memory_is_logged_at_a_named_point(capsys):
    execution.log_memory("model_built")
    line = capsys.readouterr().out
    assert line.startswith("[MEMORY] point=model_built rss_mb=")
    assert int(line.split("rss_mb=")[1].split()[0]) > 10
