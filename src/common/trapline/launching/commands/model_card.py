"""Write the model card of a registered model from its evaluation: what it is for, its numbers, its limits.

python launch/model_card.py                      the latest model of the pipelines
python launch/model_card.py EXECUTION_ARN        the model that an execution registered
python launch/model_card.py MODEL_PACKAGE_ARN --print
"""

import json

from trapline.console import ArgumentParser


def parser() -> ArgumentParser:
    """The command line."""
    arguments = ArgumentParser(description=__doc__)
    arguments.add_argument(
        "model",
        nargs="?",
        metavar="ARN",
        help="of a model, or of an execution; default: the latest",
    )
    arguments.add_argument("--print", action="store_true", help="print the card as JSON, and write nothing")
    return arguments


def main() -> None:
    """Find the model, read its evaluation, write its card."""
    flags = parser().parse_args()
    from trapline.launching.aws.account import signed_in
    from trapline.launching.aws.registry import describe, find_package, write_card

    session = signed_in()
    described = describe(session, find_package(session.client("sagemaker"), flags.model))
    if flags.print:
        print(json.dumps(described.card, indent=2, ensure_ascii=False))
    else:
        write_card(session, described)
        print(f"model: {described.arn}\ncard: written from {described.evaluation}")
