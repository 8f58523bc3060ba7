"""Small runs as launchers and SageMaker leave them, and archives that nobody should trust."""

import csv
import io
import json
import tarfile

import boto3
import torch

from trapline.models.artefact import ModelDescription, write_artefact
from trapline.models.build import IMAGENET_NORMALISATION, build_model, count_parameters

ARCH = "shufflenet_v2_x0_5"
REGION = "eu-west-1"


def history(losses, **changes):
    """Rows of metrics, one for each validation log loss."""
    fixed = {"train_loss": 1.0, "train_acc": 0.9, "train_macro_f1": 0.8, "val_macro_f1": 0.5, "lr": 0.001}
    machine = {"images_per_s": 10.0, "data_wait": 0.1, "rss_mb": 700.0, "gpu_mb": 0.0}
    return [
        {"epoch": epoch, **fixed, "val_loss": loss, "val_acc": 1 - loss / 4, "epoch_s": 2.0 * epoch}
        | machine
        | changes
        for epoch, loss in enumerate(losses, 1)
    ]


def write_model(folder, rows, classes=("blank", "hog", "leopard"), arch=ARCH, split=None):
    """A whole artefact, as a training job writes it."""
    torch.manual_seed(0)
    model = build_model(arch, len(classes))
    best = min(range(len(rows)), key=lambda index: rows[index]["val_loss"])
    description = ModelDescription(
        architecture=arch,
        classes=list(classes),
        image_size=64,
        normalisation=IMAGENET_NORMALISATION,
        pixels={"short_side": 256},
        task="multiclass",
        split=split,
        configuration={"epochs": len(rows)},
        data_fingerprint="abc",
        versions={"torch": torch.__version__},
        metrics={"best": rows[best], "last": rows[-1]},
        best_epoch=best + 1,
        epochs=len(rows),
        parameters=count_parameters(model),
        weights={"source": "none"},
    )
    folder.parent.mkdir(parents=True, exist_ok=True)
    script = folder.parent / "inference.py"
    script.write_text("# serves it")
    write_artefact(
        folder, description, model.state_dict(), model.state_dict(), [("inference.py", script)], pth=False
    )
    script.unlink()
    return folder


def write_history(path, rows):
    """A metrics.csv."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def pack(path, folder):
    """A tar.gz of a folder's contents, as SageMaker packs them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for item in sorted(folder.iterdir()):
            archive.add(item, item.name)
    return path


def write_run(folder, model, rows, **record):
    """The folder of a launcher's run."""
    pack(folder / "model.tar.gz", model)
    write_history(folder / "metrics.csv", rows)
    (folder / "job.json").write_text(json.dumps({"job_name": folder.name, "status": "Completed"} | record))
    return folder


def archive_of(path, *members):
    """A tar.gz of (name or TarInfo, content) pairs, whatever they are."""
    with tarfile.open(path, "w:gz") as archive:
        for member, content in members:
            entry = member if isinstance(member, tarfile.TarInfo) else tarfile.TarInfo(member)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def special(name, kind, target=""):
    """A member that is no plain file."""
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry, b""


def aws_test_settings(monkeypatch):
    """Credentials that are none, and a region."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": REGION,
    }.items():
        monkeypatch.setenv(name, value)


def make_bucket(name="bucket"):
    """A bucket of moto's; return the S3 client."""
    client = boto3.client("s3")
    client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    return client
