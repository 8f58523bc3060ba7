"""`cost`: what an execution of the pipeline can cost at most, without asking anybody."""

import json

from trapline.launching.pricing.cost import say
from trapline.launching.pricing.pipeline_cost import estimate_pipeline
from trapline.pipeline.command_line import Command
from trapline.pipeline.definition import definition_text, make_pipeline


def print_cost(command: Command) -> None:
    """Print the estimate as JSON, and one line about it on standard error."""
    definition = json.loads(definition_text(make_pipeline(command.design)))
    cost = estimate_pipeline(definition, command.values)
    print(json.dumps(cost.record(), indent=2), flush=True)
    say(cost)
