"""Six architectures by three optimizers on images with several labels: which is best, and which may be used.

    python launch/multilabel_sweep.py --data s3://BUCKET/PREFIX --output s3://BUCKET/RUNS --role ROLE
    python launch/multilabel_sweep.py --backend process --data DIR --archs googlenet --optimizers adam,sgd
    python launch/multilabel_sweep.py --data s3://BUCKET/PREFIX --output s3://BUCKET/RUNS --role ROLE \\
        --set epochs=60 batch_size=32 validate_every=2 patience=6 min_delta=1e-3

Each job is launch/multilabel_transfer.py with another architecture, optimizer and learning rate; --set
changes all of them, and wins over the tables of this file. Data, and all other flags, are that launcher's. On
AWS --parallel jobs run at a time, here one after the other. The same command goes on where it was left,
--job-name begins another sweep. runs/multilabel-sweep/ gets sweep.csv and sweep.png, the best validation
macro-F1 first, and a folder for each job. What a model must keep to is what the system asked for: at least
0.85 micro-F1, at most 100 MB and 24 GPU hours; the best on validation that does is named. The system read
that F1 on the test part; here it is one on validation, and the test part is reported and chooses nothing. One
more job for each architecture, of one epoch, measures what mixed precision gains over fp32.

The third command has the settings of the system's own sweep. Expect jobs that end before their 60 epochs: on
900 mosaics of CIFAR-10, from scratch in fp32 at 64 px (--prepare quality=lossless --set weights=none
image_size=64 precision=fp32), shufflenet_v2_x2_0 with adam ended after 40, in 12 minutes on two cores, at a
micro-F1 of 0.453 on the test part, its best epoch being the 28th. From ImageNet weights expect more.
"""

import argparse
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from trapline.config import TrainingConfig, make_config
from trapline.console import table
from trapline.errors import refuse_any
from trapline.launching.aws.options import refuse
from trapline.launching.checkout import find_experiment
from trapline.launching.dispatch import backend_of
from trapline.launching.flags import NOT_WITH_MANY, positive, read_beside, read_plan
from trapline.launching.given_options import read_pairs
from trapline.launching.many.jobs import LabelledPlan, Many, Outcome, require_all, run_many
from trapline.launching.plan import Plan
from trapline.launching.pricing.prices import HOURLY, gpus_of
from trapline.launching.results import cell, finite
from trapline.metrics import format_value
from trapline.storage import write_table as write_cells

NAME, WHAT = "multilabel-sweep", "sweep"
EXPERIMENT = "multilabel_transfer"  # what the sweep varies
ARCHS = (
    "googlenet", "resnet50", "resnext50_32x4d", "shufflenet_v2_x2_0", "efficientnet_v2_s", "regnet_x_3_2gf",
)  # fmt: skip
OPTIMIZERS = ("adadelta", "adam", "sgd")
OF_ARCH = {"googlenet": {"aux_weight": 0.3}}  # as its authors trained it
# optimizer -> learning rate from ImageNet weights, and from scratch; for a batch of 64
LEARNING_RATES = {
    "adadelta": (0.1, 1.0),
    "adam": (1e-4, 1e-3),
    "adamw": (1e-4, 1e-3),
    "sgd": (1e-2, 5e-2),
}
# architecture -> optimizer -> the same, where it wants another
RATES_OF_ARCH = {
    "shufflenet_v2_x2_0": {"adam": (3e-4, 1e-3), "sgd": (3e-2, 1e-1)},
    "efficientnet_v2_s": {"sgd": (5e-3, 2e-2)},
}
FP32 = "fp32"
# What the job that measures fp32 has of its own: one epoch, and nothing that needs more.
MEASURING = {"precision": FP32, "epochs": 1, "warmup_epochs": 0.0, "score_test": False}
TABLE, PICTURE = "sweep.csv", "sweep.png"
HOUR, MEGABYTE = 3600, 1_000_000
COLUMNS = (
    "arch", "optimizer", "lr", "val_macro_f1", "val_micro_f1", "test_micro_f1", "parameters", "size_mb",
    "best_epoch", "epochs", "s_per_epoch", "gpu_hours", "device_hours", "cost_usd", "speed_over_fp32",
    "meets", "status",
)  # fmt: skip
PRINTED = tuple(name for name in COLUMNS if name not in ("lr", "best_epoch", "epochs", "status"))


@dataclass(frozen=True)
class Limits:
    """What a model must keep to. MB are 10^6 bytes, F1 is micro-F1 on validation, hours are of one job."""

    max_size_mb: float
    min_val_f1: float
    max_gpu_hours: float


@dataclass(frozen=True)
class Row:
    """One job of a sweep; None where a value is not known.

    speed_over_fp32: images a second of the first epoch, over those of the same architecture in fp32.
    gpu_hours: time on GPUs, on AWS as it is charged. device_hours: the same of whatever the job ran on.
    """

    arch: str
    optimizer: str
    lr: float
    status: str
    val_macro_f1: float | None = None
    val_micro_f1: float | None = None
    test_micro_f1: float | None = None
    parameters: int | None = None
    size_mb: float | None = None
    best_epoch: int | None = None
    epochs: int | None = None
    s_per_epoch: float | None = None
    gpu_hours: float | None = None
    device_hours: float | None = None
    cost_usd: float | None = None
    speed_over_fp32: float | None = None

    def missed(self, limits: Limits) -> list[str]:
        """The limits that are not met, in words; what is not known is not met."""
        bounds = (
            ("size_mb", self.size_mb, limits.max_size_mb, False),
            ("val_micro_f1", self.val_micro_f1, limits.min_val_f1, True),
            ("gpu_hours", self.gpu_hours, limits.max_gpu_hours, False),
        )
        return [
            f"{name} {'unknown' if value is None else format_value(value)}, not {word} {format_value(bound)}"
            for name, value, bound, at_least in bounds
            for word in ["at least" if at_least else "at most"]
            if value is None or (value < bound if at_least else value > bound)
        ]


@dataclass(frozen=True)
class Sweep:
    """The jobs, and what their models must keep to."""

    many: Many
    limits: Limits

    def rows(self, outcomes: Sequence[Outcome]) -> list[Row]:
        """A row for each job that is no measurement of fp32."""
        by_label = {outcome.label: outcome for outcome in outcomes}
        return [
            row_of(by_label[job.label], job.plan.config, by_label.get(label(job.plan.config.arch, FP32)))
            for job in self.many.jobs
            if not job.label.endswith(f"-{FP32}")
        ]


def label(arch: str, variant: str) -> str:
    """The name of a job, which is that of its folder; `variant`: the optimizer, or fp32."""
    return f"{arch.replace('_', '-')}-{variant}"


def _add_sweep(arguments: argparse.ArgumentParser) -> None:
    add = arguments.add_argument_group("sweep").add_argument
    add("--archs", type=_names, default=ARCHS, metavar="A,B", help=f"default: {','.join(ARCHS)}")
    add("--optimizers", type=_names, default=OPTIMIZERS, metavar="X,Y",
        help=f"of {', '.join(LEARNING_RATES)}; default: {','.join(OPTIMIZERS)}")  # fmt: skip
    add("--parallel", type=positive, metavar="N", help="aws: jobs at a time; default: 4")
    add("--no-fp32", action="store_true", help="without the jobs that measure fp32")
    add("--max-size-mb", type=_above_zero, default=100.0, metavar="MB", help="of a model; default: 100")
    add("--min-val-f1", type=_above_zero, default=0.85, metavar="F1",
        help="micro-F1 on validation; default: 0.85")  # fmt: skip
    add("--min-test-f1", type=_chosen_by_test, help=argparse.SUPPRESS)  # as it was called once
    add("--max-gpu-hours", type=_above_zero, default=24.0, metavar="HOURS", help="of a job; default: 24")


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name for name in text.split(",") if name)
    if not names or len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"{text!r} must be different names with commas between them")
    return names


def _above_zero(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def _chosen_by_test(text: str) -> NoReturn:
    raise argparse.ArgumentTypeError("the test part chooses no winner; use --min-val-f1, of validation")


def read_sweep(words: Sequence[str]) -> Sweep:
    """The sweep of a command line. Raises UsageError naming the flag or the hyperparameter."""
    experiment = find_experiment(EXPERIMENT)
    flags, rest = read_beside(
        experiment, _add_sweep, words, "multilabel_sweep.py --data ... [flags]", __doc__
    )
    refuse(flags, NOT_WITH_MANY)
    plan = read_plan(experiment, rest)
    fixed = set(read_pairs("--set", flags.set))
    refuse_any([
        (flags.folds, "--folds: a sweep has one split; cross-validate its winner by the launcher itself"),
        (flags.parallel and plan.backend != "aws",
         "--parallel: only with --backend aws; here one job runs after the other"),
        *((name not in LEARNING_RATES, f"--optimizers {name}: must be of {', '.join(LEARNING_RATES)}")
          for name in flags.optimizers),
        *((name in fixed, f"--set {name}: is what the sweep varies; use --{name}s")
          for name in ("arch", "optimizer")),
    ])  # fmt: skip
    return _sweep(replace(plan, job_name=flags.job_name or NAME, parallel=flags.parallel), flags, fixed)


def _sweep(plan: Plan, flags: argparse.Namespace, fixed: set[str]) -> Sweep:
    jobs = [_job(plan, arch, optimizer, fixed) for arch in flags.archs for optimizer in flags.optimizers]
    if not flags.no_fp32:
        jobs += [_job(plan, arch, flags.optimizers[0], fixed, measures=True) for arch in flags.archs]
    return Sweep(
        Many(plan.job_name, WHAT, plan, jobs),
        Limits(flags.max_size_mb, flags.min_val_f1, flags.max_gpu_hours),
    )


def _job(plan: Plan, arch: str, optimizer: str, fixed: set[str], *, measures: bool = False) -> LabelledPlan:
    """One job, or the one that measures fp32. What is `fixed` by --set stays as it is."""
    scratch = plan.config.weights == "none"
    rates = RATES_OF_ARCH.get(arch, {}).get(optimizer, LEARNING_RATES[optimizer])
    own = {"lr": rates[scratch], **OF_ARCH.get(arch, {})}
    chosen = {"arch": arch, "optimizer": optimizer} | {name: own[name] for name in own.keys() - fixed}
    config = make_config({**plan.config.record(), **chosen, **(MEASURING if measures else {})})
    shown = f"arch={arch} optimizer={optimizer} lr={format_value(config.lr)}"
    return LabelledPlan(
        label=label(arch, FP32 if measures else optimizer),
        plan=replace(plan, config=config),
        shown=f"{shown}, one epoch in {FP32}" if measures else shown,
    )


def main() -> None:
    """Read the sweep, run it, rank what came of it."""
    sweep = read_sweep(sys.argv[1:])
    runner = backend_of(sweep.many.lead).many
    if sweep.many.lead.dry_run:
        runner.show_requests(sweep.many)
        return
    path = sweep.many.folder / TABLE
    seen: list[Outcome] = []

    def keep(outcomes: list[Outcome]) -> None:
        seen[:] = outcomes
        write_table(sweep.rows(outcomes), sweep.limits, path)

    try:
        outcomes = run_many(sweep.many, runner, keep)
    finally:
        _draw(sweep, seen)
    _say(sweep, sweep.rows(outcomes))
    require_all(outcomes, WHAT, sweep.many.folder)


def _draw(sweep: Sweep, outcomes: Sequence[Outcome]) -> None:
    """Draw what there is, if anything."""
    rows = [row for row in ranked(sweep.rows(outcomes) if outcomes else []) if row.val_macro_f1 is not None]
    if rows:
        from trapline.reports.figures import draw_sweep

        draw_sweep(
            [vars(row) for row in rows],
            sweep.many.folder / PICTURE,
            min_val_f1=sweep.limits.min_val_f1,
            max_size_mb=sweep.limits.max_size_mb,
        )


def _say(sweep: Sweep, rows: Sequence[Row]) -> None:
    print(f"\n{table(list(PRINTED), [cells(row, sweep.limits, PRINTED) for row in ranked(rows)])}")
    print(f"table: {sweep.many.folder / TABLE}, picture: {sweep.many.folder / PICTURE}")
    best = winner(rows, sweep.limits)
    if best is None:
        print("winner: none; no model keeps to all limits, and `meets` says what each lacks", flush=True)
        return
    name = label(best.arch, best.optimizer)
    print(f"winner: {name} (validation macro-F1 {format_value(best.val_macro_f1 or 0.0)}), the best that "
          f"keeps to the limits; it lies in {sweep.many.folder / name}", flush=True)  # fmt: skip


# --- what came of the jobs ----------------------------------------------------------------------------------


def row_of(outcome: Outcome, config: TrainingConfig, fp32: Outcome | None) -> Row:
    """The row of a job; `fp32`: the job that measures its architecture without mixed precision."""
    if not outcome.complete:
        return Row(config.arch, config.optimizer, config.lr, outcome.status)
    seconds = [row["epoch_s"] for row in outcome.history if "epoch_s" in row]
    size = outcome.description.get("size")
    gpu_hours, device_hours, cost = _bill(outcome)
    reported = outcome.record.get("metrics") or {}
    speed, speed_of_fp32 = _first_speed(outcome), _first_speed(fp32)
    return Row(
        arch=config.arch,
        optimizer=config.optimizer,
        lr=config.lr,
        status=outcome.status,
        val_macro_f1=finite(outcome.best.get("val_macro_f1")),
        val_micro_f1=finite(outcome.best.get("val_micro_f1")),
        test_micro_f1=finite(outcome.test.get("test_micro_f1", reported.get("test_micro_f1"))),
        parameters=outcome.description.get("parameters"),
        size_mb=None if size is None else size / MEGABYTE,
        best_epoch=outcome.description.get("best_epoch"),
        epochs=outcome.description.get("epochs"),
        s_per_epoch=statistics.median(seconds) if seconds else None,
        gpu_hours=gpu_hours,
        device_hours=device_hours,
        cost_usd=cost,
        speed_over_fp32=speed / speed_of_fp32 if speed and speed_of_fp32 else None,
    )


def _bill(outcome: Outcome) -> tuple[float | None, float | None, float | None]:
    """GPU hours, hours of any device, and USD: what AWS charges; here the time that the epochs took."""
    record = outcome.record
    if record.get("backend") != "aws":
        hours = sum(row.get("epoch_s", 0.0) for row in outcome.history) / HOUR
        on_gpu = any(row.get("gpu_mb", 0.0) > 0 for row in outcome.history)
        return (hours if on_gpu else 0.0), hours, None
    billable, kind = record.get("billable_s"), str(record.get("instance_type"))
    if billable is None:
        return None, None, None
    hours = billable * record.get("instance_count", 1) / HOUR
    gpus, price = gpus_of(kind), HOURLY.get(kind)
    return (
        None if gpus is None else hours * gpus,
        hours,
        None if price is None else round(hours * price, 4),
    )


def _first_speed(outcome: Outcome | None) -> float | None:
    """Images a second of the first epoch, in which all jobs also start their loader processes."""
    return outcome.history[0].get("images_per_s") if outcome and outcome.history else None


def ranked(rows: Sequence[Row]) -> list[Row]:
    """The rows, best validation macro-F1 first; equals stay in order, those without one come last."""
    return sorted(rows, key=lambda row: (row.val_macro_f1 is None, -(row.val_macro_f1 or 0.0)))


def winner(rows: Sequence[Row], limits: Limits) -> Row | None:
    """The best on validation of the rows that meet the limits; None where none does."""
    return next(
        (row for row in ranked(rows) if row.val_macro_f1 is not None and not row.missed(limits)), None
    )


def cells(row: Row, limits: Limits, columns: Sequence[str] = COLUMNS) -> list[str]:
    """The values of a row as text; nothing where one is not known."""
    missed = "; ".join(row.missed(limits))
    meets = f"no: {missed}" if missed else "yes"
    values: dict[str, Any] = {**vars(row), "meets": meets if row.val_macro_f1 is not None else ""}
    return [cell(values[name]) for name in columns]


def write_table(rows: Sequence[Row], limits: Limits, path: Path) -> None:
    """Write the ranked rows as CSV, atomically."""
    write_cells(path, COLUMNS, (cells(row, limits) for row in ranked(rows)), line_end="\n")
