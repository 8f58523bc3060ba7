"""Print the IAM policies for your account: what jobs, users, image pushes and schedules need.

python launch/policies.py --account 123456789012 --region eu-west-1 --bucket my-traps --role trapline \\
    --job-role trapline-jobs --to iam

execution-role is of jobs: it reads the bucket and writes results, never code. execution-role-pipeline is of
pipelines, which start jobs and give them the jobs' role. With --role alone one role has both, and a job may
do all that a pipeline may.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trapline.console import ArgumentParser
from trapline.errors import refuse_any
from trapline.storage import read_json, write_json

FOLDER = Path(__file__).parents[1] / "iam"
ARN = "arn:aws:"
PARTITIONS = {"cn-": "arn:aws-cn:", "us-gov-": "arn:aws-us-gov:"}
FORMS = {
    "account": (r"[0-9]{12}", "the 12 digits of an account"),
    "region": (r"[a-z]{2}(-[a-z]+)+-[0-9]", "a region, as in eu-west-1"),
    "bucket": (r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", "the name of a bucket, without s3://"),
    "prefix": (r"[A-Za-z0-9!_.'()-]+(/[A-Za-z0-9!_.'()-]+)*", "a prefix without slashes at its ends"),
    "role": (r"([\w+=,.@-]+/)*[\w+=,.@-]{1,64}", "the name of a role, with its path if it has one"),
    "job_role": (r"([\w+=,.@-]+/)*[\w+=,.@-]{1,64}", "the name of a role, with its path if it has one"),
    "schedule_role": (r"([\w+=,.@-]+/)*[\w+=,.@-]{1,64}", "the name of a role"),
    "repository": (r"[a-z0-9]+([._/-][a-z0-9]+)*", "the name of an ECR repository"),
    "key": (r"[A-Za-z0-9-]{1,128}", "the id of a KMS key, without alias/"),
}
PLACEHOLDERS = re.compile(rf"\b({'|'.join(name.upper() for name in FORMS)})\b")


def parser() -> ArgumentParser:
    """The command line."""
    arguments = ArgumentParser(description=__doc__)
    add = arguments.add_argument
    add("--account", required=True, metavar="DIGITS", help="AWS account")
    add("--region", required=True)
    add("--bucket", required=True, help="of data and results; jobs read all of it")
    add("--role", required=True, metavar="NAME", help="execution role of pipelines")
    add("--job-role", metavar="NAME", help="execution role of jobs (default: that of pipelines)")
    add("--prefix", default="runs", help="of --output; jobs write only below it (default: %(default)s)")
    add("--repository", default="trapline", help="ECR repository of the image (default: %(default)s)")
    add("--schedule-role", metavar="NAME", help="role of schedules (default: the role's name and -schedule)")
    add("--key", metavar="ID", help="KMS key; without it the policies for a key are left out")
    add("--to", type=Path, metavar="DIR", help="gets a file for each policy; default: all in one JSON object")
    return arguments


def main() -> None:
    """Check the values, fill them in, print or write."""
    flags = parser().parse_args()
    policies = filled(read_values(vars(flags)))
    if flags.to is None:
        print(json.dumps(policies, indent=2))
    else:
        for name, policy in policies.items():
            write_json(flags.to / f"{name}.json", policy)
            print(flags.to / f"{name}.json")


def read_values(given: Mapping[str, Any]) -> dict[str, str]:
    """The values of the placeholders, by name. Raises UsageError naming the flag and what it takes."""
    values = {name: str(given[name]) for name in FORMS if given.get(name)}
    values.setdefault("job_role", values["role"])
    values.setdefault("schedule_role", f"{values['role'].rpartition('/')[2]}-schedule")
    refuse_any(
        (
            not re.fullmatch(FORMS[name][0], value),
            f"--{name.replace('_', '-')} {value}: must be {FORMS[name][1]}",
        )
        for name, value in values.items()
    )
    return values


def filled(values: Mapping[str, str]) -> dict[str, Any]:
    """The policies by name, with values in the place of ACCOUNT, REGION, BUCKET and the others."""
    return {
        path.stem: _filled(read_json(path), values)
        for path in sorted(FOLDER.glob("*.json"))
        if "key" in values or not path.stem.endswith("-kms")
    }


def _filled(content: Any, values: Mapping[str, str]) -> Any:
    if isinstance(content, dict):
        return {name: _filled(value, values) for name, value in content.items()}
    if isinstance(content, list):
        items = [_filled(item, values) for item in content]
        return [item for place, item in enumerate(items) if item not in items[:place]]
    text = PLACEHOLDERS.sub(lambda found: values[found[1].lower()], str(content))
    # ARNs of China and of the government's regions begin otherwise.
    own = next((arn for start, arn in PARTITIONS.items() if values["region"].startswith(start)), ARN)
    return own + text.removeprefix(ARN) if text.startswith(ARN) else text
