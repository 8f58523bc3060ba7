"""Weights come from torchvision, a file or S3; whatever does not fit is refused with its reason."""

import argparse
import re
import urllib.error
from pathlib import Path

import boto3
import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from trapline.errors import TraplineError, UsageError
from trapline.models.build import build_model, build_on_meta, head_parameters
from trapline.models.weights import (
    CONTAINERS,
    PREFIXES,
    WeightsReport,
    load_weights,
    normalise_state_dict,
    read_tensors,
)
from trapline.storage import file_digest

ARCH = "shufflenet_v2_x0_5"
HEAD = head_parameters(ARCH)
BUCKET = "trapline-weights"


def seeded(seed: int, classes: int = 3, arch: str = ARCH) -> nn.Module:
    torch.manual_seed(seed)
    return build_model(arch, classes)


def load(model: nn.Module, weights: str | Path, cache: Path | None = None) -> WeightsReport:
    return load_weights(model, str(weights), arch=ARCH, head=HEAD, cache=cache)


def equal(model: nn.Module, tensors: dict[str, Tensor], names: set[str]) -> bool:
    return all(torch.equal(model.state_dict()[name], tensors[name]) for name in names)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A cache with what torchvision would download: 1000 classes, under the published file name."""
    cache = tmp_path_factory.mktemp("cache")
    tensors = seeded(1, 1000).state_dict()
    url = torchvision.models.get_model_weights(ARCH).DEFAULT.url
    torch.save(tensors, cache / url.rpartition("/")[2])
    return cache, tensors


@pytest.fixture
def offline(monkeypatch):
    def refuse(*_args, **_options):
        raise urllib.error.URLError("[Errno -2] Name or service not known")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)


def test_none_loads_nothing():
    model = seeded(0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    report = load(model, "none")
    assert equal(model, before, set(before))
    assert (report.loaded, report.new) == (0, tuple(before))


def test_imagenet_weights_in_the_cache_load_without_a_network_and_leave_the_head_new(published, offline):
    cache, tensors = published
    model = seeded(0)
    head = model.fc.weight.clone()
    report = load(model, "imagenet", cache)
    assert equal(model, tensors, tensors.keys() - HEAD)
    assert torch.equal(model.fc.weight, head)
    assert set(report.new) == HEAD
    assert report.identity == "ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1"


def test_an_imagenet_head_stays_new_even_where_it_would_fit(published, offline):
    cache, tensors = published
    model = seeded(0, 1000)
    assert set(load(model, "imagenet", cache).new) == HEAD
    assert not torch.equal(model.fc.weight, tensors["fc.weight"])


def written_as_published(arch, folder, **options):
    """torchvision's own model with 1000 classes in a file under the published name; its tensors."""
    tensors = torchvision.models.get_model(arch, weights=None, **options).state_dict()
    torch.save(tensors, folder / torchvision.models.get_model_weights(arch).DEFAULT.url.rpartition("/")[2])
    return tensors


def test_auxiliary_heads_are_filled_but_for_their_last_layers(offline, tmp_path):
    tensors = written_as_published("googlenet", tmp_path, init_weights=False)
    model = build_model("googlenet", 3, auxiliary=True)
    head = head_parameters("googlenet", auxiliary=True)
    report = load_weights(model, "imagenet", arch="googlenet", head=head, cache=tmp_path)
    assert set(report.new) == head
    assert {name for name in head if name.startswith("aux")} == {
        f"aux{number}.fc2.{kind}" for number in (1, 2) for kind in ("weight", "bias")
    }
    assert equal(model, tensors, tensors.keys() - head)


@pytest.mark.slow
@pytest.mark.parametrize(
    "arch",
    ["googlenet", "resnet50", "resnext50_32x4d", "shufflenet_v2_x2_0", "efficientnet_v2_s", "regnet_x_3_2gf"],
)
def test_the_multi_label_systems_models_take_their_weights_by_name(arch, offline, tmp_path):
    options = {"init_weights": False} if arch == "googlenet" else {}
    tensors, model = written_as_published(arch, tmp_path, **options), build_model(arch, 3)
    report = load_weights(model, "imagenet", arch=arch, head=head_parameters(arch), cache=tmp_path)
    assert set(report.new) == head_parameters(arch)
    assert equal(model, tensors, model.state_dict().keys() - head_parameters(arch))


def test_without_a_cache_folder_that_of_torch_hub_is_used(published, offline, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "checkpoints").symlink_to(published[0])
    assert load(seeded(0), "imagenet").loaded == len(published[1]) - len(HEAD)


def test_without_a_network_the_message_is_short_and_names_the_alternatives(offline, tmp_path):
    with pytest.raises(TraplineError) as caught:
        load(seeded(0), "imagenet", tmp_path)
    message = str(caught.value)
    assert f"ImageNet weights of {ARCH} could not be downloaded" in message
    assert "--weights FILE.safetensors|FILE.pth|s3://..." in message
    assert "--weights none" in message
    assert len(message.splitlines()) <= 2


def test_in_a_job_that_a_launcher_started_the_alternatives_are_the_launchers(offline, monkeypatch, tmp_path):
    monkeypatch.setenv("SM_HPS", "{}")
    with pytest.raises(TraplineError, match=r"use `--set weights=FILE.*` or `--set weights=none`"):
        load(seeded(0), "imagenet", tmp_path)


def test_a_damaged_download_is_named(offline, published, tmp_path):
    (cached,) = published[0].iterdir()
    (tmp_path / cached.name).write_bytes(cached.read_bytes()[:5000])
    with pytest.raises(TraplineError, match=rf"{cached.name}: damaged ImageNet weights .*delete the file"):
        load(seeded(0), "imagenet", tmp_path)


def test_an_architecture_without_published_weights_names_the_alternatives(monkeypatch):
    empty = torchvision.models.WeightsEnum("Empty", {})
    monkeypatch.setattr(torchvision.models, "get_model_weights", lambda _arch: empty)
    with pytest.raises(UsageError, match=rf"no ImageNet weights of {ARCH}; .*--weights none"):
        load(seeded(0), "imagenet")


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt"])
def test_a_file_is_loaded_whole_when_the_head_fits(tmp_path, suffix):
    source = seeded(1).state_dict()
    path = tmp_path / f"phase1{suffix}"
    save_file(source, path) if suffix == ".safetensors" else torch.save(source, path)
    model = seeded(0)
    report = load(model, path)
    assert equal(model, source, set(source))
    assert report == WeightsReport(str(path), file_digest(path), len(source), (), ())


def test_a_head_of_other_classes_stays_new(tmp_path):
    torch.save(seeded(1, classes=5).state_dict(), tmp_path / "five.pth")
    model = seeded(0)
    head = model.fc.weight.clone()
    assert set(load(model, tmp_path / "five.pth").new) == HEAD
    assert torch.equal(model.fc.weight, head)


def test_a_file_without_a_head_leaves_it_new(tmp_path):
    source = {name: tensor for name, tensor in seeded(1).state_dict().items() if name not in HEAD}
    save_file(source, tmp_path / "body.safetensors")
    assert set(load(seeded(0), tmp_path / "body.safetensors").new) == HEAD


def test_a_file_from_before_batch_counters_is_loaded(tmp_path):
    source = {name: t for name, t in seeded(1).state_dict().items() if "num_batches" not in name}
    save_file(source, tmp_path / "old.safetensors")
    report = load(seeded(0), tmp_path / "old.safetensors")
    assert (report.loaded, report.new) == (len(source), ())


def test_half_precision_weights_are_loaded_as_float32(tmp_path):
    source = {name: tensor.half() for name, tensor in seeded(1).state_dict().items()}
    save_file(source, tmp_path / "half.safetensors")
    model = seeded(0)
    load(model, tmp_path / "half.safetensors")
    assert model.fc.weight.dtype == torch.float32
    assert torch.equal(model.fc.weight, source["fc.weight"].float())


def test_mnasnet_is_loaded_though_its_own_loader_wants_metadata(tmp_path):
    source = seeded(1, arch="mnasnet0_5").state_dict()
    save_file(dict(source), tmp_path / "mnasnet.safetensors")
    model = seeded(0, arch="mnasnet0_5")
    head = head_parameters("mnasnet0_5")
    load_weights(model, str(tmp_path / "mnasnet.safetensors"), arch="mnasnet0_5", head=head, cache=None)
    assert equal(model, source, set(source))


def test_a_wrapped_training_checkpoint_with_auxiliary_heads_is_loaded(tmp_path):
    source = seeded(1).state_dict()
    wrapped = {f"module._orig_mod.{name}": tensor for name, tensor in source.items()}
    wrapped["module._orig_mod.aux1.fc.weight"] = torch.zeros(3)
    torch.save({"epoch": 3, "model_state_dict": wrapped, "optimizer": {}}, tmp_path / "run.pt")
    model = seeded(0)
    report = load(model, tmp_path / "run.pt")
    assert equal(model, source, set(source))
    assert report.unused == ("aux1.fc.weight",)


def test_missing_tensors_are_counted_named_and_explained(tmp_path):
    source = {name: tensor for name, tensor in seeded(1).state_dict().items() if "conv1" not in name}
    save_file(source, tmp_path / "partial.safetensors")
    model = seeded(0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(
        TraplineError, match=r"partial.* 5 of \d+ tensors are missing \(conv1.0.weight, .*arch"
    ):
        load(model, tmp_path / "partial.safetensors")
    assert equal(model, before, set(before))


def test_weights_of_another_architecture_are_refused(tmp_path):
    torch.save(seeded(1, arch="squeezenet1_1").state_dict(), tmp_path / "other.pth")
    with pytest.raises(TraplineError, match="probably made by another architecture"):
        load(seeded(0), tmp_path / "other.pth")


def test_weights_of_a_wider_variant_are_refused_with_both_shapes(tmp_path):
    source = seeded(1).state_dict() | {"conv5.0.weight": torch.zeros(2048, 192, 1, 1)}
    torch.save(source, tmp_path / "wide.pth")
    with pytest.raises(
        TraplineError, match=r"1 have another shape \(conv5.0.weight \[2048.* instead of \[1024"
    ):
        load(seeded(0), tmp_path / "wide.pth")


def test_a_vision_transformer_of_another_image_size_is_refused_with_that_reason(tmp_path):
    model = build_on_meta("vit_b_32", 3, image_size=64)
    zero = torch.zeros(())  # expanded, so that the file is small
    source = {name: zero.expand(tensor.shape) for name, tensor in model.state_dict().items()}
    source["encoder.pos_embedding"] = zero.expand(1, 50, 768)
    torch.save(source, tmp_path / "vit.pth")
    with pytest.raises(TraplineError, match="another image_size"):
        load_weights(
            model,
            str(tmp_path / "vit.pth"),
            arch="vit_b_32",
            head=head_parameters("vit_b_32", 64),
            cache=None,
        )


def test_a_file_that_needs_code_is_refused_and_the_code_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return Path.touch, (tmp_path / "sprung",)

    torch.save({"state_dict": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(TraplineError, match=r"trap.pth: would run code .* is refused"):
        read_tensors(tmp_path / "trap.pth")
    assert not (tmp_path / "sprung").exists()


def test_a_checkpoint_with_other_objects_beside_the_tensors_is_refused(tmp_path):
    torch.save({"state_dict": {"a": torch.zeros(1)}, "args": argparse.Namespace()}, tmp_path / "args.pth")
    with pytest.raises(TraplineError, match=r"argparse.Namespace.*save the weights alone"):
        read_tensors(tmp_path / "args.pth")


@pytest.mark.parametrize("content", [b"", b"hello world", b"\x80\x02junk", b"PK\x03\x04" + bytes(200)])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_damaged_file_is_refused_by_name(tmp_path, content, suffix):
    path = tmp_path / f"damaged{suffix}"
    path.write_bytes(content)
    with pytest.raises(TraplineError, match=rf"damaged{suffix}: .*fetch it again"):
        read_tensors(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(TraplineError, match=r"gone.pth: no such file"):
        load(seeded(0), tmp_path / "gone.pth")


@pytest.mark.parametrize("weights", ["imagenet21k", "model.onnx", "s3://bucket/model.tar.gz"])
def test_weights_of_an_unknown_kind_are_refused_before_anything_is_read(weights):
    with pytest.raises(UsageError, match=rf"weights: '{re.escape(weights)}' is neither"):
        load(seeded(0), weights)


@pytest.mark.parametrize("content", [[1, 2], {"state_dict": {"epoch": 3}}, {}])
def test_what_holds_no_named_tensors_is_refused(content):
    with pytest.raises(TraplineError, match="state dict"):
        normalise_state_dict(content)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    containers=st.lists(st.sampled_from(CONTAINERS), max_size=2),
    prefixes=st.lists(st.sampled_from(PREFIXES), max_size=3),
    names=st.sets(st.sampled_from(["conv1.weight", "fc.bias", "layers.0.model.weight"]), min_size=1),
)
def test_any_nesting_and_any_prefixes_are_taken_off(containers, prefixes, names):
    tensors = {name: torch.full((1,), float(index)) for index, name in enumerate(sorted(names))}
    content = {"".join(prefixes) + name: tensor for name, tensor in tensors.items()}
    for container in containers:
        content = {container: content, "epoch": 7}
    assert normalise_state_dict(content) == tensors


def test_a_prefix_that_only_some_names_bear_stays():
    tensors = {"module.a": torch.zeros(1), "b": torch.zeros(1)}
    assert set(normalise_state_dict(tensors)) == {"module.a", "b"}


@pytest.mark.parametrize(
    ("arch", "pattern", "former"),
    [
        ("densenet121", r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2"),
        ("vit_b_16", r"\.mlp\.0", ".mlp.linear_1"),
        ("vit_b_16", r"\.mlp\.3", ".mlp.linear_2"),
    ],
)
def test_the_names_in_torchvisions_older_files_are_translated(arch, pattern, former):
    names = list(build_on_meta(arch, 3).state_dict())
    published = {re.sub(pattern, former, name): torch.zeros(1) for name in names}
    assert set(published) != set(names)
    assert list(normalise_state_dict(published)) == names


def test_the_report_is_one_line():
    text = str(WeightsReport("a.pth", "0" * 64, 9, ("fc.weight", "fc.bias"), tuple("abcdef")))
    assert text.startswith(f"weights a.pth [{'0' * 40}]: 9 tensors loaded, ")
    assert text.endswith("2 new (fc.weight, fc.bias), 6 not used (a, b, c, d, ...)")


@pytest.fixture(scope="module")
def s3():
    """A client of a moto server on this machine, with a bucket."""
    pytest.importorskip("flask", reason="moto's server needs the extra moto[server]")
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_S3", f"http://{host}:{port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        client = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET)
        yield client
    server.stop()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_are_fetched_from_s3(s3, tmp_path, suffix):
    source = seeded(1).state_dict()
    path = tmp_path / f"model{suffix}"
    save_file(source, path) if suffix == ".safetensors" else torch.save(source, path)
    s3.upload_file(str(path), BUCKET, f"phase1/model{suffix}")
    model = seeded(0)
    report = load(model, f"s3://{BUCKET}/phase1/model{suffix}")
    assert equal(model, source, set(source))
    assert (report.source, report.identity) == (f"s3://{BUCKET}/phase1/model{suffix}", file_digest(path))


def test_an_object_that_is_missing_or_damaged_is_named_by_its_uri(s3):
    with pytest.raises(TraplineError, match=r"gone.pth: no such object"):
        load(seeded(0), f"s3://{BUCKET}/gone.pth")
    s3.put_object(Bucket=BUCKET, Key="bad.pth", Body=b"hello")
    with pytest.raises(TraplineError, match=rf"s3://{BUCKET}/bad.pth: .*damaged"):
        load(seeded(0), f"s3://{BUCKET}/bad.pth")
