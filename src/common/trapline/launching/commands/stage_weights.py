"""Put torchvision's ImageNet weights where jobs without internet find them: in S3, or in a folder.

Each file is checked against the hash in its name; weights.json beside the files holds their SHA-256, against
which a job checks what it loads. What is there already is not copied again. Jobs take the place as --weights.
"""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trapline.console import ArgumentParser
from trapline.errors import TraplineError, refuse_any
from trapline.launching.aws.errors import explained, suppressed
from trapline.s3 import is_s3, split_uri
from trapline.storage import atomic_file, write_json

if TYPE_CHECKING:  # needs torch, which takes seconds
    from trapline.models.staged import Published, StagedFile

MANIFEST = "weights.json"
EXAMPLES = """examples:
  python launch/stage_weights.py swin_t resnet18 --to s3://BUCKET/weights
  python launch/stage_weights.py resnet18 --from resnet18-f37072fd.pth --to s3://BUCKET/weights
  python launch/swin_stage1.py --weights s3://BUCKET/weights --network-isolation ...
"""


def parser() -> ArgumentParser:
    """The command line."""
    arguments = ArgumentParser(description=__doc__, epilog=EXAMPLES)
    add = arguments.add_argument
    add("arch", nargs="+", metavar="ARCH", help="torchvision architectures, as in swin_t")
    add("--to", metavar="URI|DIR", required=True, help="gets the files and weights.json")
    add("--from", dest="source", metavar="FILE", type=Path,
        help="a file that is here already, in place of a download; with one ARCH")  # fmt: skip
    return arguments


def main() -> None:
    """Fetch what is missing, check it, put it there."""
    flags = parser().parse_args()
    architectures = list(dict.fromkeys(flags.arch))
    given = flags.source is not None
    refuse_any([
        (given and len(architectures) > 1, "--from: is the file of one architecture; give one ARCH"),
        (given and not flags.source.is_file(), f"--from {flags.source}: no such file"),
    ])  # fmt: skip
    if is_s3(flags.to):
        with explained(
            f"staging weights to {flags.to}", hint="--to DIR stages into a folder, without an account"
        ):
            stage(architectures, Bucket(flags.to), flags.source)
    else:
        stage(architectures, Folder(Path(flags.to)), flags.source)


@dataclass(frozen=True)
class Folder:
    """A folder as the place of staged weights."""

    path: Path

    @property
    def shown(self) -> str:
        """The place as messages call it."""
        return str(self.path)

    def manifest(self) -> Path | None:
        """Where weights.json can be read; None where there is none yet."""
        return None if self.size(MANIFEST) is None else self.path / MANIFEST

    def size(self, name: str) -> int | None:
        """The bytes of a file; None where it is not there."""
        path = self.path / name
        return path.stat().st_size if path.is_file() else None

    def put(self, source: Path, name: str) -> None:
        """Copy a file there, whole or not at all."""
        with source.open("rb") as reading, atomic_file(self.path / name) as writing:
            shutil.copyfileobj(reading, writing)


class Bucket:
    """A prefix in S3 as the place of staged weights."""

    def __init__(self, uri: str) -> None:
        from trapline.launching.aws.account import make_session
        from trapline.launching.settings import use_region

        self.shown = uri.rstrip("/")
        self.bucket, key = split_uri(self.shown)
        self.prefix = f"{key}/" if key else ""
        use_region()
        self.client: Any = make_session().client("s3")
        self.folder = tempfile.TemporaryDirectory(prefix="trapline-weights-")

    def manifest(self) -> Path | None:
        """A copy of weights.json; None where there is none yet."""
        if self.size(MANIFEST) is None:
            return None
        path = Path(self.folder.name) / MANIFEST
        self.client.download_file(self.bucket, self.prefix + MANIFEST, str(path))
        return path

    def size(self, name: str) -> int | None:
        """The bytes of an object; None where it is not there."""
        with suppressed("404", "NoSuchKey"):
            return int(self.client.head_object(Bucket=self.bucket, Key=self.prefix + name)["ContentLength"])
        return None

    def put(self, source: Path, name: str) -> None:
        """Upload a file; S3 checks what it gets."""
        self.client.upload_file(
            str(source), self.bucket, self.prefix + name, ExtraArgs={"ChecksumAlgorithm": "SHA256"}
        )


def stage(architectures: list[str], place: Folder | Bucket, given: Path | None) -> None:
    """Stage the weights of `architectures`; `given` is the file of the only one, in place of a download.

    Raises UsageError for an unknown architecture, TraplineError where a file cannot be had or is damaged.
    """
    from trapline.models.staged import describe, manifest, published, read_manifest

    sources = [published(arch) for arch in architectures]  # a typing error before any download
    there = place.manifest()
    files = read_manifest(there, f"{place.shown}/{MANIFEST}") if there else {}
    for source in sources:
        known = files.get(source.arch)
        if given is None and known and known.weights == source.weights and _is_there(known, place):
            continue
        path = given or downloaded(source)
        entry = describe(source.arch, path, source)
        _check_fits(source.arch, path)
        if known != entry or not _is_there(entry, place):
            place.put(path, entry.file)
            said = f"({entry.bytes / 1e6:.1f} MB, sha256 {entry.sha256})"
            print(f"{source.arch}: {place.shown}/{entry.file} {said}")
            print(f"{source.arch}: licence: {entry.licence}", flush=True)
        files[source.arch] = entry
        with tempfile.TemporaryDirectory() as folder:
            write_json(Path(folder) / MANIFEST, manifest(files))
            place.put(Path(folder) / MANIFEST, MANIFEST)
    print(f"staged weights: {place.shown} (--weights takes it)", flush=True)


def _is_there(entry: "StagedFile", place: Folder | Bucket) -> bool:
    """Whether a file need not be copied again; says so."""
    there = place.size(entry.file) == entry.bytes
    if there:
        print(f"{entry.arch}: {place.shown}/{entry.file} is there (sha256 {entry.sha256})", flush=True)
    return there


def downloaded(source: "Published") -> Path:
    """torchvision's file in torch.hub's cache, downloaded and checked where it is not there yet."""
    import torch

    path = Path(torch.hub.get_dir()) / "checkpoints" / source.file
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    named = torch.hub.HASH_REGEX.search(source.file)
    try:
        torch.hub.download_url_to_file(
            source.url, str(path), hash_prefix=named.group(1) if named else None, progress=False
        )
    except Exception as error:  # a network fails in many ways
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
        raise TraplineError(
            f"the ImageNet weights of {source.arch} could not be downloaded ({reason})\n"
            f"fetch {source.url} on another machine and give it with --from {source.file}"
        ) from error
    return path


def _check_fits(arch: str, path: Path) -> None:
    """Refuse a file here that every job would refuse."""
    from trapline.models.build import build_on_meta, head_parameters
    from trapline.models.weights import name_some, read_tensors

    there = {*read_tensors(path), *head_parameters(arch)}
    missing = [
        name
        for name in build_on_meta(arch, 1000).state_dict()
        if name not in there and not name.endswith("num_batches_tracked")
    ]
    if missing:
        raise TraplineError(f"{path}: lacks tensors of {arch} ({name_some(missing)}); is it another model's?")
