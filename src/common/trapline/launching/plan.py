"""A launch as plain data: what to run, on what, with which settings."""

from dataclasses import dataclass
from pathlib import Path

from trapline.config import TrainingConfig
from trapline.launching.aws.options import AwsOptions
from trapline.launching.experiment import Experiment
from trapline.launching.job_requests import Image
from trapline.launching.pairs import options_as_words
from trapline.launching.prepare_options import LABEL_NAMES, SITE_CSV, follows_links, label_names_here


@dataclass(frozen=True)
class Plan:
    """A launch, checked: what to run, on what, with which settings."""

    experiment: Experiment
    config: TrainingConfig
    backend: str
    data: str | None  # URI, path, "demo", or None where `prepared` is given
    prepared: str | None
    prepare_options: dict[str, str]
    output: str | None
    job_name: str
    instance_type: str
    instance_count: int
    prepare_instance_type: str
    role: str | None
    image: Image
    aws: AwsOptions
    checkpoints: str | None  # S3 URI, where it is not to be that of the launch
    wait: bool
    dry_run: bool
    fresh: bool
    trial_s3: Path | None  # a folder that is served as S3, where `data` says so
    channels: dict[str, str]  # what is given beside the data: pseudo, phase1 -> URI or path
    folds: int = 0  # jobs of a cross-validation, one for each fold; 0: one job
    ensemble: bool = False  # of the folds' models
    parallel: int | None = None  # of many jobs on AWS, so many at a time

    def prepare_arguments(self) -> tuple[str, ...]:
        """The options of prepare.py as its command line, in fixed order; files of this machine are inputs."""
        inputs = {SITE_CSV, *([LABEL_NAMES] if self.label_names else [])}
        options = {name: value for name, value in sorted(self.prepare_options.items()) if name not in inputs}
        return tuple(options_as_words(options))

    @property
    def label_names(self) -> Path | None:
        """The file of this machine that names the labels, where there is one."""
        return None if self.backend == "aws" else label_names_here(self.prepare_options)

    @property
    def follows_links(self) -> bool:
        """Whether links that lead out of the data are followed."""
        return follows_links(self.prepare_options)
