"""Weights for a model: torchvision's of ImageNet, staged or downloaded, or a file, local or in S3."""

import pickle
import re
import tempfile
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import torchvision
from torch import Tensor, nn

from trapline.errors import TraplineError, UsageError
from trapline.job_contract import hyperparameter
from trapline.models.build import imagenet_source
from trapline.models.staged import checked_file
from trapline.pickle_checks import check_pickled_file
from trapline.s3 import fetch, is_s3
from trapline.storage import file_digest

IMAGENET = "imagenet"
SUFFIXES = (".safetensors", ".pth", ".pt")
FILES = "FILE.safetensors|FILE.pth|s3://..."
CONTAINERS = ("state_dict", "model_state_dict", "model")
PREFIXES = ("module.", "model.", "_orig_mod.")  # DataParallel, Lightning and the like, torch.compile
# torchvision has renamed layers since it published its files for DenseNet and for ViT.
FORMER_NAMES = (
    (re.compile(r"(\.denselayer\d+\.(?:norm|relu|conv))\.(?=[12]\.)"), r"\1"),
    (re.compile(r"(\.mlp)\.linear_1\."), r"\1.0."),
    (re.compile(r"(\.mlp)\.linear_2\."), r"\1.3."),
)
METADATA = "_metadata"  # the attribute of torch's state dicts with the versions of their modules


@dataclass(frozen=True)
class WeightsReport:
    """What a model's tensors were filled from.

    `identity` is the file's SHA-256, or the name of torchvision's weights; empty when nothing was loaded.
    `new` names the model's tensors that keep their random start, `unused` the source's that found no place.
    """

    source: str
    identity: str
    loaded: int
    new: tuple[str, ...]
    unused: tuple[str, ...]

    def summary(self) -> dict[str, Any]:
        """What model.json keeps: the source, and counts instead of names."""
        return {
            "source": self.source,
            "identity": self.identity,
            "loaded": self.loaded,
            "new": len(self.new),
            "unused": len(self.unused),
        }

    def __str__(self) -> str:
        """One line for the log."""
        parts = [f"{self.loaded} tensors loaded"]
        parts += [f"{len(self.new)} new ({name_some(self.new)})"] if self.new else []
        parts += [f"{len(self.unused)} not used ({name_some(self.unused)})"] if self.unused else []
        identity = f" [{self.identity[:40]}]" if self.identity else ""
        return f"weights {self.source}{identity}: {', '.join(parts)}"


@dataclass(frozen=True)
class Match:
    """How a model's tensors and a file's agree: names; in `different` each name, with it and both shapes in
    words."""

    fitting: tuple[str, ...]
    missing: tuple[str, ...]
    different: Mapping[str, str]
    unused: tuple[str, ...]


def name_some(names: Iterable[str]) -> str:
    """The first few of `names`, for a message of one line."""
    listed = list(names)
    return ", ".join(listed[:4]) + (", ..." if len(listed) > 4 else "")


def load_weights(
    model: nn.Module,
    weights: str,
    *,
    arch: str,
    head: frozenset[str],
    cache: Path | None,
    staged: Path | None = None,
) -> WeightsReport:
    """Fill `model`, of architecture `arch`, with `weights` in place, and report what was done.

    `weights` is `imagenet` (the head stays new), `none`, or a path or S3 URI of a .safetensors, .pth or .pt
    file. From a file, head tensors that fit are loaded, the others stay new; all other tensors must be there.
    `cache` is the folder for torchvision's downloads; None means torch.hub's own. With `staged`, a folder of
    staged weights, `imagenet` is read from there and nothing is downloaded.

    Raises UsageError when `weights` names nothing that can be loaded, TraplineError when it cannot be read or
    does not fit the model.
    """
    if weights == "none":
        return WeightsReport("none", "", 0, tuple(model.state_dict()), ())
    if weights == IMAGENET:
        if staged:
            path, identity = checked_file(staged, arch)
            tensors = read_tensors(path)
        else:
            tensors, identity = _imagenet_tensors(arch, cache)
        tensors = {name: tensor for name, tensor in tensors.items() if name not in head}
    else:
        tensors, identity = _file_tensors(weights)
    own = model.state_dict()
    match = match_tensors(own, tensors)
    # Files from before torch 0.4.1 lack the batch counter, which nothing reads unless momentum is None.
    absent = [name for name in match.missing if not name.endswith("num_batches_tracked")]
    missing = [name for name in absent if name not in head]
    different = {name: shapes for name, shapes in match.different.items() if name not in head}
    if missing or different:
        raise TraplineError(_misfit(weights, arch, len(own), missing, different))
    copy_tensors(model, {name: tensors[name] for name in match.fitting})
    return WeightsReport(weights, identity, len(match.fitting), (*absent, *match.different), match.unused)


def _misfit(source: str, arch: str, total: int, missing: list[str], different: dict[str, str]) -> str:
    parts = [f"{len(missing)} of {total} tensors are missing ({name_some(missing)})"] if missing else []
    if different:
        parts.append(f"{len(different)} have another shape ({name_some(different.values())})")
    cause = (
        "they were made at another image_size; train at that size, or take other weights"
        if not missing and all("pos_embedding" in name for name in different)
        else "they were probably made by another architecture or variant; check `arch` and `weights`"
    )
    return f"weights {source} do not fit {arch}: {'; '.join(parts)}; {cause}"


def match_tensors(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> Match:
    """Compare a model's state dict `own` with `tensors` from a file, by name and shape."""
    shared = [name for name in own if name in tensors]
    return Match(
        fitting=tuple(name for name in shared if own[name].shape == tensors[name].shape),
        missing=tuple(name for name in own if name not in tensors),
        different={
            name: f"{name} {list(tensors[name].shape)} instead of {list(own[name].shape)}"
            for name in shared
            if own[name].shape != tensors[name].shape
        },
        unused=tuple(name for name in tensors if name not in own),
    )


def copied_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A copy of a state dict, or of tensors by name, on the CPU and row-major; it shares no memory with it.

    The versions that torch keeps in an attribute of a state dict come along: MNASNet's load_state_dict
    refuses one that lacks them.
    """
    copy: OrderedDict[str, Tensor] = OrderedDict(
        (name, tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format))
        for name, tensor in state.items()
    )
    if hasattr(state, METADATA):
        setattr(copy, METADATA, getattr(state, METADATA))
    return copy


def copy_tensors(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy `tensors`, which must fit, into the model's tensors of the same names.

    Not load_state_dict: MNASNet refuses state dicts without torch's metadata, which safetensors cannot hold.
    """
    own = model.state_dict()
    with torch.no_grad():
        for name, tensor in tensors.items():
            own[name].copy_(tensor)


def _imagenet_tensors(arch: str, cache: Path | None) -> tuple[dict[str, Tensor], str]:
    source = imagenet_source(arch)
    alternatives = f"use `{hyperparameter('weights', FILES)}` or `{hyperparameter('weights', 'none')}`"
    if source is None:
        raise UsageError(f"weights: torchvision has no ImageNet weights of {arch}; {alternatives}")
    available = torchvision.models.get_model_weights(source)
    path = (cache or Path(torch.hub.get_dir()) / "checkpoints") / available.DEFAULT.url.rpartition("/")[2]
    try:
        content = available.DEFAULT.get_state_dict(
            model_dir=str(path.parent), progress=False, check_hash=True, map_location="cpu", weights_only=True
        )
    except Exception as error:  # a network fails in many ways, and see read_tensors
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
        failure = (
            f"{path}: damaged ImageNet weights ({reason}); delete the file to download it again"
            if path.exists()
            else f"the ImageNet weights of {arch} could not be downloaded ({reason})"
        )
        raise TraplineError(
            f"{failure}\n{alternatives}, or stage them where there is internet: "
            f"launch/stage_weights.py {arch} --to URI"
        ) from error
    return normalise_state_dict(content), str(available.DEFAULT)


def _file_tensors(weights: str) -> tuple[dict[str, Tensor], str]:
    if not weights.endswith(SUFFIXES):
        raise UsageError(
            f"weights: {weights!r} is neither `imagenet`, `none` nor a file or S3 URI ending in"
            f" {', '.join(SUFFIXES)}"
        )
    if not is_s3(weights):
        return read_tensors(Path(weights)), file_digest(Path(weights))
    with tempfile.TemporaryDirectory() as folder:
        path = fetch(weights, Path(folder) / f"weights{Path(weights).suffix}")
        return read_tensors(path, weights), file_digest(path)


def read_tensors(path: Path, shown_as: str | None = None) -> dict[str, Tensor]:
    """Read a .safetensors, .pth or .pt file into CPU tensors under the model's own names; no code is run.

    Messages call the file `shown_as`. Raises TraplineError when it is missing, damaged, or no state dict.
    """
    shown = shown_as or str(path)
    if not path.is_file():
        raise TraplineError(f"{shown}: no such file of weights; check `weights`")
    try:
        if path.suffix == ".safetensors":
            return normalise_state_dict(safetensors.torch.load_file(path))
        check_pickled_file(path)
        return normalise_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except TraplineError as error:
        raise TraplineError(f"{shown}: {error}") from None
    except Exception as error:  # on damaged bytes torch's unpickler raises whatever it trips over
        raise TraplineError(f"{shown}: {_reading_failure(error)}") from error


def _reading_failure(error: Exception) -> str:
    refused = re.search(r"GLOBAL ([\w.]+)", str(error)) if isinstance(error, pickle.UnpicklingError) else None
    if refused:
        return (
            f"would run code to build a {refused[1]}, and is refused; save the weights alone, with"
            " torch.save(model.state_dict(), ...) or safetensors"
        )
    reason = (str(error).splitlines() or [""])[0][:120]
    return f"cannot be read as weights, probably damaged ({type(error).__name__}: {reason}); fetch it again"


def normalise_state_dict(content: Any) -> dict[str, Tensor]:
    """The tensors of a checkpoint under a model's own names.

    Unpacks {"state_dict": ...}, {"model_state_dict": ...} and {"model": ...}, drops what is not a tensor,
    removes prefixes that all names share (`module.`, `model.`, `_orig_mod.`, also one after another) and
    translates the former names of torchvision's DenseNet and ViT layers. Raises TraplineError when there is
    no tensor.
    """
    while isinstance(content, Mapping):
        inner = [content[key] for key in CONTAINERS if isinstance(content.get(key), Mapping)]
        if not inner:
            break
        content = inner[0]
    if not isinstance(content, Mapping):
        raise TraplineError(f"holds a {type(content).__name__}, not a state dict of named tensors")
    tensors = {str(name): tensor for name, tensor in content.items() if isinstance(tensor, Tensor)}
    if not tensors:
        raise TraplineError("holds no tensors; a state dict of named tensors is needed")
    return {_current_name(name): tensor for name, tensor in _without_prefixes(tensors).items()}


def _without_prefixes(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in tensors):
            return _without_prefixes({name.removeprefix(prefix): tensor for name, tensor in tensors.items()})
    return tensors


def _current_name(name: str) -> str:
    for pattern, replacement in FORMER_NAMES:
        name = pattern.sub(replacement, name)
    return name
