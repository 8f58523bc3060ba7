"""Linear layers in int8: nearly the same outputs, and nothing else is touched."""

import sys
import warnings
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from trapline.errors import UsageError
from trapline.models.build import build_model, called_linear_layers, quantised, state_megabytes


class Little(nn.Module):
    """A convolution, a layer that is called, and one whose weight alone is used, as in Swin's attention."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 16, 4, stride=4)
        self.called = nn.Linear(16 * 16, 64)
        self.borrowed = nn.Linear(64, 4)

    def forward(self, images):
        features = self.called(self.convolution(images).flatten(1)).relu()
        return nn.functional.linear(features, self.borrowed.weight, self.borrowed.bias)


def little():
    torch.manual_seed(0)
    return Little().eval()


def test_the_layers_that_are_called_and_no_others_become_int8():
    model = little()
    assert called_linear_layers(model, 16) == ["called"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        converted = quantised(model, 16)
    assert type(converted.called) is not nn.Linear
    assert (type(converted.borrowed), type(converted.convolution)) == (nn.Linear, nn.Conv2d)
    assert type(model.called) is nn.Linear
    assert state_megabytes(converted) < 0.6 * state_megabytes(model)


@torch.inference_mode()
def test_outputs_change_a_little():
    model, images = little(), torch.randn(32, 3, 16, 16)
    before, after = model(images), quantised(model, 16)(images)
    assert 0 < (after - before).abs().max() < 0.1 * before.std()


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["swin_t", "vit_b_32", "convnext_tiny", "googlenet"])
@torch.inference_mode()
def test_architectures_run_in_int8(arch):
    model = build_model(arch, 5, image_size=64).eval()
    for head in ("heads", "head", "fc"):  # some begin at zero, which tells nothing
        if hasattr(model, head):
            nn.init.normal_(next(iter(getattr(model, head).parameters())), std=0.1)
    images = torch.randn(4, 3, 64, 64)
    before, after = model(images), quantised(model, 64)(images)
    assert (after - before).abs().max() < 0.2 * before.std()


def test_where_torch_has_it_no_more_it_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.ao.quantization", None)
    with pytest.raises(UsageError, match="has dynamic quantisation no more; use auto"):
        quantised(little(), 16)


def test_a_cpu_without_int8_is_named(monkeypatch):
    monkeypatch.setattr(torch.backends, "quantized", SimpleNamespace(engine="none"))
    with pytest.raises(UsageError, match="torch has no int8 arithmetic for this CPU; use auto, bf16 or fp32"):
        quantised(little(), 16)
