"""torch.compile: only where it is asked for and works, and never seen in a model's names."""

import pytest
import torch
from torch import nn

from trapline.config import make_config
from trapline.training import execution
from trapline.training.execution import Compiled, Execution, compiled, compiling_pays

CPU = Execution(torch.device("cpu"), "fp32", channels_last=False)


def test_it_is_off_unless_asked_for():
    assert compiled(make_config({}), nn.Linear(2, 2), CPU, 10_000) is None


def test_auto_leaves_a_cpu_alone():
    assert compiled(make_config({"compile": "auto"}), nn.Linear(2, 2), CPU, 10_000) is None


@pytest.mark.parametrize(
    ("precision", "steps", "capability", "pays"),
    [
        ("bf16", 10_000, (8, 0), True),
        ("fp16", 1000, (7, 0), True),
        ("fp16", 10_000, (6, 1), False),
        ("bf16", 999, (8, 0), False),
        ("fp32", 10_000, (8, 0), False),
    ],
)
def test_on_a_gpu_it_is_known_to_pay_in_mixed_precision_over_many_steps(
    precision, steps, capability, pays, monkeypatch
):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert compiling_pays(Execution(torch.device("cuda"), precision, True), steps) is pays


def test_without_a_compiler_one_line_says_so_and_training_goes_on(monkeypatch, capsys):
    def refuse(device):
        raise RuntimeError("\nno C++ compiler: set CXX\nmore")

    monkeypatch.setattr(execution, "_compile_a_trifle", refuse)
    assert compiled(make_config({"compile": "true"}), nn.Linear(2, 2), CPU, 1) is None
    said = capsys.readouterr().out
    assert said == "compile: not possible here, going on without it (no C++ compiler: set CXX)\n"


def test_a_model_that_cannot_be_compiled_trains_uncompiled_from_the_first_call_on(capsys):
    calls = []

    def refuse(images):
        calls.append(len(images))
        raise RuntimeError("unsupported operator")

    model = Compiled(refuse, nn.Flatten())
    for _ in range(3):
        assert model(torch.zeros(2, 3, 4)).shape == (2, 12)
    assert calls == [2]
    assert capsys.readouterr().out.count("going on without it (unsupported operator)") == 1


def test_too_little_memory_is_no_reason_to_give_up_compiling():
    calls = []

    def greedy(images):
        calls.append(len(images))
        if len(images) > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return images

    model = Compiled(greedy, nn.Flatten())
    with pytest.raises(torch.cuda.OutOfMemoryError):
        model(torch.zeros(4))
    assert len(model(torch.zeros(2))) == 2
    assert calls == [4, 2]


def test_what_fails_later_is_no_matter_of_compiling():
    seen = []

    def works_once(images):
        seen.append(images)
        if len(seen) > 1:
            raise RuntimeError("out of memory")
        return images

    model = Compiled(works_once, nn.Identity())
    model(torch.zeros(1))
    with pytest.raises(RuntimeError, match="out of memory"):
        model(torch.zeros(1))


@pytest.mark.slow
def test_a_compiled_model_trains_like_the_plain_one_under_the_same_names(capsys):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    names = list(model.state_dict())
    fast = compiled(make_config({"compile": "true"}), model, CPU, 1)
    said = capsys.readouterr().out
    if fast is None:
        assert "going on without it" in said
        pytest.skip("nothing can be compiled here")
    images = torch.rand(6, 4)
    fast(images).square().sum().backward()
    found = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    model(images).square().sum().backward()
    for one, parameter in zip(found, model.parameters(), strict=True):
        torch.testing.assert_close(one, parameter.grad)
    assert list(model.state_dict()) == names
