"""Executions of a definition as AWS would have them, one after another: what each step reads and writes.

No job is run. A step with a cache whose key has been seen takes the properties that it had then, which are of
an earlier execution; so does everything that is joined of them.
"""

import json
from dataclasses import dataclass, field

from trapline.launching.checking.pipeline_steps import KEYS, PART, READ, all_steps, waits_for
from trapline.preparation.completion import NONE_YET, SEPARATOR

GOOD = {"log_loss": 1.0, "accuracy": 0.5}


@dataclass
class Account:
    """What lies in an account. places: what is there, or was written. known: results by the key of a step.

    data: what the images are. evaluation: the numbers of every model. last: the record of the execution that
    has completed.
    """

    places: set = field(default_factory=set)
    known: dict = field(default_factory=dict)
    data: str = "as they were"
    evaluation: dict = field(default_factory=lambda: {"test": GOOD, "validation": GOOD})
    last: dict = field(default_factory=lambda: dict(NONE_YET))
    seen: int = 0

    def has(self, uri):
        """Whether something lies at a URI."""
        return any(uri.startswith(place) or place.startswith(uri) for place in self.places)

    def execute(self, definition, **values):
        """One more execution. Returns it when it has ended."""
        self.seen += 1
        execution = Execution(self, definition, values, f"execution{self.seen}")
        execution.run()
        return execution


@dataclass
class Execution:
    """One execution. ran: the steps that did something; reused: those from the cache; missing: (step, URI) of
    what was not there when a step wanted to read it.
    """

    account: Account
    definition: dict
    values: dict
    identity: str
    properties: dict = field(default_factory=dict)
    ran: list = field(default_factory=list)
    reused: list = field(default_factory=list)
    outcomes: dict = field(default_factory=dict)
    missing: list = field(default_factory=list)

    def __post_init__(self):
        defaults = {item["Name"]: item.get("DefaultValue") for item in self.definition["Parameters"]}
        missing = {name: f"value-of-{name}" for name, value in defaults.items() if value is None}
        self.values = {**defaults, **missing, **self.values}

    def run(self):
        """Every step in turn, as soon as all that it waits for has ended."""
        waiting = list(all_steps(self.definition["Steps"]))
        ended = set()
        while ready := [step for step in waiting if waits_for(step) <= ended and self.is_chosen(step)]:
            step = ready[0]
            waiting.remove(step)
            self.do(step)
            ended.add(step.name)

    def is_chosen(self, step):
        """Whether the conditions that a step stands behind have come to its branch."""
        return all(self.outcomes.get(name) == (branch == "IfSteps") for name, branch in step.branches)

    def do(self, step):
        """Run a step, or take it from the cache."""
        if step.kind == "Condition":
            self.outcomes[step.name] = all(map(self.holds, step.arguments["Conditions"]))
            return
        arguments = self.settle(step.arguments)
        key = json.dumps([step.name, [arguments.get(member) for member in KEYS.get(step.kind, ())]])
        cached = step.body.get("CacheConfig", {}).get("Enabled")
        read = [uri for member in READ for uri in uris(arguments.get(member))]
        self.missing += [(step.name, uri) for uri in read if not self.account.has(uri)]
        if cached and key in self.account.known:
            self.properties[step.name] = self.account.known[key]
            self.reused.append(step.name)
            return
        self.ran.append(step.name)
        self.properties[step.name] = self.account.known[key] = self.job(step, arguments)

    def job(self, step, arguments):
        """What Describe says of the job of a step, and what lies there afterwards."""
        name = f"{self.identity}-{step.name}"
        said = {**arguments, f"{step.kind}JobName": name, "ModelName": name}
        if step.kind == "Training":
            place = f"{arguments['OutputDataConfig']['S3OutputPath']}/{name}/output"
            said["ModelArtifacts"] = {"S3ModelArtifacts": f"{place}/model.tar.gz"}
            self.account.places |= {f"{place}/model.tar.gz", f"{place}/output.tar.gz"}
        for member in ("ProcessingOutputConfig", "TransformOutput"):
            self.account.places |= set(uris(arguments.get(member)))
        return said | {"files": self.files(step, arguments)}

    def files(self, step, arguments):
        """The property files of a step, as prepare.py, evaluate.py and collect.py write them."""
        account = self.account
        if step.name == "Prepare":
            same = account.last["data"] == account.data
            return {"Version": {"completed_with": account.last["settings"] if same else ""}}
        if step.name == "Collect":
            words = arguments["AppSpecification"]["ContainerArguments"]
            settings = words[words.index("--settings") + 1 : words.index("--output")]
            account.last = {"data": account.data, "settings": SEPARATOR.join(settings)}
        return {"Evaluation": account.evaluation}

    def holds(self, condition):
        """Whether a condition is met."""
        left, right = self.settle(condition["LeftValue"]), self.settle(condition["RightValue"])
        compare = {
            "Equals": lambda: type(left) is type(right) and left == right,
            "LessThanOrEqualTo": lambda: left <= right,
            "GreaterThanOrEqualTo": lambda: left >= right,
        }
        return compare[condition["Type"]]()

    def settle(self, value):
        """A value with all its variables replaced."""
        if isinstance(value, list):
            return [self.settle(item) for item in value]
        if not isinstance(value, dict):
            return value
        if set(value) == {"Get"}:
            return self.get(value["Get"])
        if set(value) == {"Std:Join"}:
            join = value["Std:Join"]
            return join["On"].join(str(self.settle(part)) for part in join["Values"])
        if set(value) == {"Std:JsonGet"}:
            _, step, _, file = value["Std:JsonGet"]["PropertyFile"]["Get"].split(".")
            found = self.properties[step]["files"][file]
            for name in value["Std:JsonGet"]["Path"].split("."):
                found = found[name]
            return found
        return {name: self.settle(item) for name, item in value.items()}

    def get(self, target):
        """The value of a reference."""
        kind, _, rest = target.partition(".")
        if kind == "Parameters":
            return self.values[rest]
        if kind == "Execution":
            return {"PipelineExecutionId": self.identity}.get(rest, rest)
        step, _, path = rest.partition(".")
        found = self.properties[step]
        for part in PART.finditer(path):
            if part["name"]:
                found = found[part["name"]]
            elif part["key"]:
                (found,) = [item for item in found if item["OutputName"] == part["key"]]
        return found


def uris(value):
    """The S3 URIs anywhere in a value."""
    if isinstance(value, dict):
        for item in value.values():
            yield from uris(item)
    elif isinstance(value, list):
        for item in value:
            yield from uris(item)
    elif isinstance(value, str) and value.startswith("s3://"):
        yield value
