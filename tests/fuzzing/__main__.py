"""Give mutated images, archives, tables and request bodies to what reads them, and see that nothing breaks.

Run: python -m tests.fuzzing --cases 100000 [--seed 0] [--only images] [--processes 2] [--keep FOLDER]
     python -m tests.fuzzing --only images --seed 0 --case 4711     (one of them again)

A case that fails is printed with the command that runs it again. Ends with exit code 1 where one failed.
"""

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.fuzzing.cases import KINDS, Case, Outcome, Total, in_turn, input_of, outcomes

MAX_SHOWN = 20


def main() -> None:
    """Run the cases that the command line asks for."""
    flags = _flags()
    names = [flags.only] if flags.only else list(KINDS)
    if flags.case is not None:
        cases = [Case(name, flags.seed, flags.case) for name in names]
    else:
        cases = in_turn(names, flags.seed, flags.cases)
    sys.exit(1 if summed_up(run(cases, flags.processes, flags.keep)) else 0)


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzzing", description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=2_000, help="of all kinds together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=KINDS)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="a folder for the inputs that failed")
    parser.add_argument("--case", type=int, help="run the case with this number alone")
    return parser.parse_args()


def run(cases: Sequence[Case], processes: int, keep: Path | None) -> Iterator[tuple[Case, Outcome]]:
    """The outcomes; failures are printed, and their inputs kept, as they come."""
    shown = 0
    with tempfile.TemporaryDirectory(prefix="fuzzing-") as top:
        for case, outcome in outcomes(cases, processes, Path(top)):
            if outcome.failure:
                shown += 1
                _show(case, outcome, keep, whole=shown <= MAX_SHOWN)
            yield case, outcome


def _show(case: Case, outcome: Outcome, keep: Path | None, *, whole: bool) -> None:
    again = f"python -m tests.fuzzing --only {case.kind} --seed {case.seed} --case {case.number}"
    print(f"FAILED {outcome.reason}: {again}", flush=True)
    if whole:
        print(outcome.failure, flush=True)
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        (keep / f"{case.kind}-{case.seed}-{case.number}").write_bytes(input_of(case).data)


def summed_up(found: Iterator[tuple[Case, Outcome]]) -> int:
    """Print a line for each kind; return how many cases failed."""
    totals: dict[str, Total] = {}
    reasons: dict[str, Counter[str]] = {}
    for case, outcome in found:
        totals.setdefault(case.kind, Total()).add(outcome)
        reasons.setdefault(case.kind, Counter())[outcome.reason] += 1
    for kind, total in totals.items():
        counted = ", ".join(f"{reason} {count:,}" for reason, count in reasons[kind].most_common())
        print(f"{kind}: {total}: {counted}")
    return sum(total.failed for total in totals.values())


if __name__ == "__main__":
    main()
