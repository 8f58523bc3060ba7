"""The options of every entry point but the hyperparameters: one frozen, typed object each.

They make the command lines of entry_points/ and are checked by launchers and pipelines before a job starts.
A place may be a folder or file here, or an s3:// URI.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Literal

from trapline.augmentation import AUTO_VIEWS
from trapline.config import DEFAULT_THRESHOLD
from trapline.format_options import FILE, FormatOptions
from trapline.input_options import FOLDER, InputOptions
from trapline.option_values import (
    Cap,
    Column,
    Inputs,
    Levels,
    Name,
    Place,
    Quality,
    Seed,
    Share,
    Shares,
    Views,
)
from trapline.options import Options, option

MODEL = "DIR|model.tar.gz|s3://..."
SET = "prepared data set"
DEMO_UNLABELED_SITES = 12


class PrepareOptions(InputOptions):
    """What prepare.py can be told: where raw images lie, how they are divided and packed."""

    input: Inputs = option(
        ...,
        "raw images, a folder, .zip, .tar, .tar.gz, .tar.bz2 or .tar.xz, or the table or JSON that names "
        "them; several are one set; demo: draw some",
        metavar="DIR|FILE|s3://...|demo",
        place="own",
    )
    output: Place = option(..., "gets the prepared data set", metavar=FOLDER, place="output")
    columns: tuple[Column, ...] = option(
        (),
        "what a table calls its columns, as in path=filename label=species; label may come several times, "
        "labels is a column of several labels a cell (default: the usual names)",
        metavar="NAME=COLUMN",
    )
    folders: Levels | None = option(
        None,
        "what the folders above an image are, as in site/label or label/site (default: by what repeats)",
        metavar="LEVEL/...",
    )
    label_tag: Name | None = option(
        None,
        "labels are tags in the images below this one, as Species in Species|Leopard Cat (default: none)",
        metavar="TAG",
    )
    machine_labels: bool = option(
        False, "take labels that a machine gave for true ones", metavar="true|false"
    )
    classes: str | None = option(
        None,
        "CSV with label and class, which renames and merges labels; an empty class removes (default: none)",
        metavar=FILE,
        place="own",
    )
    corrections: str | None = option(
        None, "CSV with id and label, which goes before all labels (default: none)", metavar=FILE, place="own"
    )
    several: Literal["multilabel", "class", "quarantine"] | None = option(
        None,
        "what images with several labels make: a set of several labels an image, classes of their own (a+b), "
        "or rows of quarantine.csv (default: quarantine; multilabel for tables of ImageID and Labels)",
    )
    min_images: int | None = option(
        None, "classes with fewer images are rare (default: none is)", metavar="N", ge=1, le=10**9
    )
    rare: Literal["other", "remove"] = option(
        "other", "what rare classes make: one class called other, or nothing (remove)"
    )
    sequence_weights: bool = option(
        False, "an image of a sequence of n counts 1/n in training", metavar="true|false"
    )
    split: Literal["site", "random", "given"] | None = option(
        None, "default: the set's own (folders, or a column), else by site, else random"
    )
    group_by: Name | None = option(
        None,
        "what the split keeps together in place of sites: site, sequence, camera, date, or a column of the "
        "table (default: site)",
        metavar="site|sequence|camera|date|COLUMN",
    )
    folds: int | None = option(
        None, "divide train and val into so many frozen folds (default: none)", metavar="K", ge=2, le=100
    )
    fold: int | None = option(
        None, "which of the folds, from 1, is val (default: 1 with {folds})".replace("{folds}", "--folds"),
        metavar="N", ge=1, le=100,
    )  # fmt: skip
    division: Place | None = option(
        None,
        "a prepared set or a division.csv: every site in it keeps its part, new ones are placed beside; new: "
        "begin a new one (default: new; in a pipeline that of the last completed execution)",
        metavar="DIR|FILE|s3://...|new",
        place="own",
    )
    shares: Shares | None = option(
        None,
        "train, val, test; default: 0.65,0.20,0.15; for --split random 0.75,0.25,0; for several labels an "
        "image at random 0.70,0.15,0.15",
        metavar="T,V,T",
    )
    val_share: float | None = option(
        None,
        "of train, for a set that comes with train and test but no val (default: 0.1)",
        metavar="SHARE",
        ge=0.001,
        le=0.9,
    )
    label_names: str | None = option(
        None,
        "CSV with Label and Name: what to call the classes; a file, here or in the input (default: none)",
        metavar=FILE,
        place="own",
    )
    seed: Seed = option(0, "of split and demo")
    short_side: int = option(256, "packed short side, px", ge=16, le=4096)
    quality: Quality = option(
        "auto",
        "of the packed JPEG; lossless: PNG; default: 90, but CIFAR's batches lossless",
        metavar="1-100|lossless|auto",
    )
    crop_bottom: float = option(
        0.0, "share of the height to cut off, as 0.07 for a caption strip", ge=0, le=0.5
    )
    max_quarantine: float = option(0.05, "largest share of unusable inputs", ge=0, le=1)
    limit_per_class: int | None = option(
        None,
        "for trial runs: at most N images of each class, and of those without a class (default: all)",
        metavar="N",
        ge=1,
        le=10**9,
    )
    source_name: str | None = option(
        None, "what the set names as its source (default: --input)", metavar="NAME"
    )
    demo_images: int = option(2400, "demo: labelled images", ge=1, le=500_000)
    demo_unlabeled: int = option(240, "demo: unlabelled images", ge=0, le=500_000)
    demo_sites: int = option(60, "demo: labelled sites", ge=3, le=5000)
    data_version: str | None = option(
        None,
        "in a pipeline: of the input; another one prepares it anew (default: none)",
        metavar="TEXT",
        digest=False,
    )
    completed: str | None = option(
        None,
        "in a pipeline: left by the last completed execution; version.json then says if data are new "
        "(default: none)",
        metavar=FOLDER,
        place="input",
    )
    weights: str | None = option(
        None,
        "in a pipeline: staged weights, which count as data there (default: none)",
        metavar=FOLDER,
        place="input",
    )

    def conflicts(self) -> Iterable[tuple[object, str]]:
        """Folds without a number, options that need another, demo sites without images."""
        return (
            *super().conflicts(),
            (
                self.fold and self.fold > (self.folds or 0),
                f"{{fold}} {self.fold}: needs {{folds}}, of at least as many",
            ),
            (
                self.group_by and self.split in ("random", "given"),
                f"{{group_by}}: not with {{split}} {self.split}; leave out one of them",
            ),
            (
                self.division and self.split in ("random", "given"),
                "{division}: keeps sites in their parts, and "
                f"{{split}} {self.split} does not; leave out one of them",
            ),
            (
                self.rare == "remove" and self.min_images is None,
                "{rare} remove: needs {min_images}, which says what is rare",
            ),
            ("demo" in self.input and len(self.input) > 1, "{input} demo: goes with no other input"),
            (
                self.demo_images < self.demo_sites,
                f"{{demo_images}} {self.demo_images}: must be at least {{demo_sites}}",
            ),
            (
                0 < self.demo_unlabeled < DEMO_UNLABELED_SITES,
                f"{{demo_unlabeled}} {self.demo_unlabeled}: must be 0, or at least {DEMO_UNLABELED_SITES}, "
                "an image a site",
            ),
        )


class TrainOptions(Options):
    """Where train.py reads and writes; in SageMaker its toolkit's variables say so."""

    prepared: Place | None = option(
        None, f"{SET} (default: SM_CHANNEL_PREPARED)", metavar=FOLDER, place="own"
    )
    pseudo: Place | None = option(
        None, "pseudo-labels of pseudo_label.py (default: SM_CHANNEL_PSEUDO)", metavar=FOLDER, place="own"
    )
    phase1: Place | None = option(
        None,
        "the model that --weights phase1 starts from (default: SM_CHANNEL_PHASE1)",
        metavar=MODEL,
        place="own",
    )
    staged_weights: Place | None = option(
        None,
        "weights of launch/stage_weights.py that --weights imagenet reads in place of a download "
        "(default: SM_CHANNEL_WEIGHTS)",
        metavar=FOLDER,
        place="own",
    )
    output: Place | None = option(
        None,
        "gets model/, output/ and checkpoints/ (default: SM_MODEL_DIR and others)",
        metavar=FOLDER,
        place="output",
    )
    fresh: bool = option(False, "do not resume from an earlier checkpoint", metavar="true|false")


class PseudoLabelOptions(Options):
    """What pseudo_label.py can be told: the set, the model, and which guesses are accepted."""

    prepared: Place = option(..., SET, metavar=FOLDER, place="input")
    model: Place = option(..., "Phase 1's model", metavar=MODEL, place="input")
    output: Place = option(..., "gets the two files", metavar=FOLDER, place="output")
    threshold: Share | None = option(
        None, f"lowest confidence, of all classes (default: {DEFAULT_THRESHOLD})", metavar="P"
    )
    target_precision: Share | None = option(
        None,
        "instead: for each class the lowest confidence from which validation shows this precision "
        "(default: none)",
        metavar="P",
    )
    min_guesses: int = option(
        20,
        "validation images that --target-precision must rest on, for each class",
        metavar="N",
        ge=1,
    )
    cap_per_class: Cap | None = option(
        None,
        "most accepted images of a class, or share of its guesses, as in 0.3 (default: all)",
        metavar="N|SHARE",
    )

    def conflicts(self) -> Iterable[tuple[object, str]]:
        """Two rules for what is accepted."""
        both = self.threshold is not None and self.target_precision is not None
        return ((both, "{target_precision}: not allowed with {threshold}; give one of them"),)


class EvaluateOptions(Options):
    """What evaluate.py can be told: the set, the models, and how they are measured."""

    prepared: Place = option(..., f"{SET} with val/ and, if any, test/", metavar=FOLDER, place="input")
    phase1: Place = option(..., "model of Phase 1", metavar=MODEL, place="input")
    phase2: str | None = option(
        None,
        "model of Phase 2, which must be better to be chosen (default: none)",
        metavar=MODEL,
        place="input",
    )
    output: Place = option(..., "gets evaluation.json and champion/", metavar=FOLDER, place="output")
    views: Views = option(
        AUTO_VIEWS,
        "test-time views; auto: chosen on validation",
        metavar="auto|none|flip|enhanced|shifts|VIEW,...",
    )
    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = option(
        "auto", "int8: linear layers, on a CPU"
    )
    int8: bool = option(False, "also measure what int8 costs and brings", metavar="true|false")
    resamples: int = option(2000, "of sites, for the intervals", metavar="N", ge=100, le=1_000_000)
    seed: Seed = option(0, "of the resampling", metavar="N")

    def conflicts(self) -> Iterable[tuple[object, str]]:
        """int8 measured beside itself."""
        wrong = self.int8 and self.precision == "int8"
        return ((wrong, "{int8}: measures int8 beside another precision; leave out {precision} int8"),)


class CollectOptions(FormatOptions):
    """What collect.py can be told: the answers of batch transform, and what reports need beside them."""

    prepared: Place = option(..., f"{SET}; transform/index.csv is in it", metavar=FOLDER, place="input")
    predictions: Place = option(
        ..., "what batch transform wrote: NAME.out an input", metavar=FOLDER, place="input"
    )
    evaluation: Place = option(
        ..., "evaluation.json, test_predictions.csv beside", metavar="FILE|DIR|s3://...", place="input"
    )
    history: tuple[Place, ...] = option(
        (),
        "metrics.csv or output.tar.gz of Phase 1; again for Phase 2",
        metavar="FILE|DIR|s3://...",
        place="input",
    )
    output: Place = option(..., "gets the files", metavar=FOLDER, place="output")
    review_below: float = option(0.6, "confidence below which a person should look", metavar="P", ge=0, le=1)
    submission_format: str | None = option(
        None, "default: submission_format.csv of the prepared data set", metavar=FILE, place="input"
    )
    completed: str | None = option(
        None,
        "of a pipeline: gets the record for its next execution (default: none)",
        metavar="DIR",
    )
    settings: tuple[str, ...] = option((), "what that record says of this execution", metavar="TEXT")


class ServeOptions(Options):
    """What serve.py can be told: which model, and where it listens."""

    model: Place | None = option(
        None, "default: SM_MODEL_DIR, else /opt/ml/model", metavar=MODEL, place="input"
    )
    port: int | None = option(
        None, "default: SAGEMAKER_BIND_TO_PORT, else 8080; 0 takes a free one", ge=0, le=65_535
    )
    host: str = option("127.0.0.1", "address to listen on")


BY_SCRIPT: Mapping[str, type[Options]] = MappingProxyType(
    {
        "prepare": PrepareOptions,
        "train": TrainOptions,
        "pseudo_label": PseudoLabelOptions,
        "evaluate": EvaluateOptions,
        "collect": CollectOptions,
        "serve": ServeOptions,
    }
)
