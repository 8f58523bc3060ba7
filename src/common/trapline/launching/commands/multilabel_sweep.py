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
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from trapline.config import make_config
from trapline.console import ArgumentParser, table
from trapline.errors import UsageError
from trapline.launching.dispatch import backend_of
from trapline.launching.experiments import find_experiment
from trapline.launching.flags import parser, positive, read_plan, refuse_with_many
from trapline.launching.many.job_list import LabelledPlan, Many
from trapline.launching.many.outcomes import Outcome, require_all
from trapline.launching.many.ranking import PRINTED, Limits, Row, cells, ranked, row_of, winner, write_table
from trapline.launching.many.running import run_many
from trapline.launching.pairs import read_pairs
from trapline.launching.plan import Plan
from trapline.metrics import format_value

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


@dataclass(frozen=True)
class Sweep:
    """The jobs, what their models must keep to, and which job measures fp32 for which architecture."""

    many: Many
    limits: Limits
    measuring: dict[str, str]  # architecture -> label

    def rows(self, outcomes: Sequence[Outcome]) -> list[Row]:
        """A row for each job that is no measurement of fp32."""
        by_label = {outcome.label: outcome for outcome in outcomes}
        configs = {job.label: job.plan.config for job in self.many.jobs}
        return [
            row_of(by_label[label], config, by_label.get(self.measuring.get(config.arch, "")))
            for label, config in configs.items()
            if label not in self.measuring.values()
        ]


def sweep_parser() -> ArgumentParser:
    """The command line: the launcher's, and the sweep's."""
    arguments = parser(find_experiment(EXPERIMENT))
    arguments.description, arguments.usage = __doc__, "multilabel_sweep.py --data ... [flags]"
    arguments.conflict_handler = "resolve"  # the launcher's --parallel is that of --folds
    _add_sweep(arguments)
    return arguments


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
    given = sweep_parser().parse_args(words)  # --help, and what neither of the two below would know
    own = ArgumentParser(add_help=False)
    _add_sweep(own)
    flags, rest = own.parse_known_args(words)
    if given.folds:
        raise UsageError("--folds: a sweep has one split; cross-validate its winner by the launcher itself")
    refuse_with_many(given)
    plan = read_plan(find_experiment(EXPERIMENT), rest)
    if flags.parallel and plan.backend != "aws":
        raise UsageError("--parallel: only with --backend aws; here one job runs after the other")
    plan = replace(plan, job_name=given.job_name or NAME, parallel=flags.parallel)
    unknown = [optimizer for optimizer in flags.optimizers if optimizer not in LEARNING_RATES]
    if unknown:
        raise UsageError(f"--optimizers {unknown[0]}: must be of {', '.join(LEARNING_RATES)}")
    return _sweep(plan, flags, set(read_pairs("--set", given.set)))


def _sweep(plan: Plan, flags: argparse.Namespace, fixed: set[str]) -> Sweep:
    for name in ("arch", "optimizer"):
        if name in fixed:
            raise UsageError(f"--set {name}: is what the sweep varies; use --{name}s")
    jobs = [_job(plan, arch, optimizer, fixed, {}) for arch in flags.archs for optimizer in flags.optimizers]
    measuring = {}
    if not flags.no_fp32:
        for arch in flags.archs:
            job = _job(plan, arch, flags.optimizers[0], fixed, MEASURING, label=FP32)
            measuring[arch] = job.label
            jobs.append(job)
    limits = Limits(flags.max_size_mb, flags.min_val_f1, flags.max_gpu_hours)
    return Sweep(Many(plan.job_name, WHAT, plan, jobs), limits, measuring)


def _job(
    plan: Plan, arch: str, optimizer: str, fixed: set[str], more: dict[str, Any], label: str = ""
) -> LabelledPlan:
    """One job. What is `fixed` by --set stays as it is."""
    scratch = plan.config.weights == "none"
    rates = RATES_OF_ARCH.get(arch, {}).get(optimizer, LEARNING_RATES[optimizer])
    own = {"lr": rates[scratch], **OF_ARCH.get(arch, {})}
    chosen = {name: value for name, value in own.items() if name not in fixed}
    config = make_config({**plan.config.record(), "arch": arch, "optimizer": optimizer, **chosen, **more})
    shown = f"arch={arch} optimizer={optimizer} lr={format_value(config.lr)}"
    return LabelledPlan(
        label=f"{arch.replace('_', '-')}-{label or optimizer}",
        plan=replace(plan, config=config),
        shown=f"{shown}, one epoch in {FP32}" if more else shown,
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
        from trapline.reports.sweep_picture import draw_sweep

        draw_sweep(
            [vars(row) for row in rows],
            sweep.many.folder / PICTURE,
            min_val_f1=sweep.limits.min_val_f1,
            max_size_mb=sweep.limits.max_size_mb,
        )


def _say(sweep: Sweep, rows: Sequence[Row]) -> None:
    shown = [cells(row, sweep.limits, PRINTED) for row in ranked(rows)]
    print(f"\n{table(list(PRINTED), shown)}")
    print(f"table: {sweep.many.folder / TABLE}, picture: {sweep.many.folder / PICTURE}")
    best = winner(rows, sweep.limits)
    if best is None:
        print("winner: none; no model keeps to all limits, and `meets` says what each lacks", flush=True)
        return
    label = f"{best.arch.replace('_', '-')}-{best.optimizer}"
    print(f"winner: {label} (validation macro-F1 {format_value(best.val_macro_f1 or 0.0)}), the best that "
          f"keeps to the limits; it lies in {sweep.many.folder / label}", flush=True)  # fmt: skip
