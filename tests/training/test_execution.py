import pytest
import torch
from torchvision.transforms import functional

from trapline.errors import UsageError
from trapline.models.build import IMAGENET_NORMALISATION
from trapline.training import execution
from trapline.training.execution import (
    Execution,
    cpu_has_bf16,
    possible_executions,
    seed_everything,
)

on_cpu = pytest.mark.skipif(torch.cuda.is_available(), reason="speaks of a machine without a GPU")


CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def names(ways):
    return [(way.precision, way.channels_last) for way in ways]


@pytest.mark.parametrize("has_bf16", [True, False])
def test_what_is_left_open_is_every_way_that_a_cpu_can_run_the_plain_one_first(monkeypatch, has_bf16):
    monkeypatch.setattr(execution, "cpu_has_bf16", lambda: has_bf16)
    fp32, bf16 = [("fp32", False), ("fp32", True)], [("bf16", False), ("bf16", True)]
    assert names(possible_executions(CPU)) == fp32 + bf16 * has_bf16


@pytest.mark.parametrize(("capability", "lower"), [((7, 5), "fp16"), ((8, 0), "bf16"), ((9, 0), "bf16")])
def test_on_a_gpu_the_lower_precision_is_the_one_in_its_hardware(monkeypatch, capability, lower):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert {precision for precision, _ in names(possible_executions(CUDA))} == {"fp32", lower}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("channels_last", [True, False])
def test_what_is_asked_for_is_the_only_way(precision, channels_last):
    assert names(possible_executions(CPU, precision, channels_last)) == [(precision, channels_last)]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_precision_that_is_asked_for_leaves_the_memory_format_open(precision):
    assert names(possible_executions(CPU, precision)) == [(precision, False), (precision, True)]


@on_cpu
def test_the_plain_execution_is_what_is_asked_for_and_fp32_row_major_else():
    assert names(possible_executions(CPU))[0] == ("fp32", False)
    assert names(possible_executions(CPU, channels_last=True))[0] == ("fp32", True)


def test_fp16_needs_a_gpu():
    with pytest.raises(UsageError, match="precision fp16: needs a GPU"):
        possible_executions(CPU, "fp16")


def test_bf16_is_looked_for_among_the_flags_of_the_cpu(monkeypatch, tmp_path):
    flags = tmp_path / "cpuinfo"
    monkeypatch.setattr(execution, "Path", lambda name: flags)
    assert not cpu_has_bf16()
    flags.write_text("flags : fpu avx512f avx512_bf16\n")
    assert cpu_has_bf16()
    flags.write_text("Features : fp asimd bf16\n")
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


def test_what_is_reserved_on_a_gpu_is_logged_beside_what_tensors_take(monkeypatch, capsys):
    execution.log_memory("start")
    execution.log_memory("start", torch.device("cpu"))
    assert capsys.readouterr().out.count(" gpu_mb=0 gpu_reserved_mb=0\n") == 2
    asked = []
    for name, size in (("memory_allocated", 300 << 20), ("memory_reserved", 512 << 20)):
        monkeypatch.setattr(torch.cuda, name, lambda device, size=size: asked.append(device) or size)
    device = torch.device("cuda", 1)
    execution.log_memory("data_loaded", device)
    assert capsys.readouterr().out.endswith(" gpu_mb=300 gpu_reserved_mb=512\n")
    assert asked == [device, device]
