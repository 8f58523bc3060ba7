"""An experiment: a name, an instance and hyperparameters. One file in launch/ says one."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Experiment:
    """What one file in launch/ says. `hyperparameters` are fields of TrainingConfig."""

    name: str  # of the job, before the time
    description: str  # the file's docstring: command, data, result to expect
    hyperparameters: dict[str, object]
    instance_type: str = "ml.g4dn.xlarge"
    prepare: dict[str, object] = field(default_factory=dict)  # options of prepare.py
    channels: tuple[str, ...] = ()  # inputs beside the prepared set that must be given: pseudo, phase1
    views: str = "auto"  # test-time views of a pipeline with this recipe, unless told otherwise
