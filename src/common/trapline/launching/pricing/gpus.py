"""How many GPUs SageMaker's machines have, for the hours that a job is charged with."""

from trapline.launching.pricing.prices import HOURLY

# Machines of these families have one GPU each, but for those below.
FAMILIES = ("g4dn", "g5", "g6", "g6e", "p3", "p4d", "p5")
SEVERAL = {
    "ml.g4dn.12xlarge": 4,
    "ml.g5.12xlarge": 4,
    "ml.g5.24xlarge": 4,
    "ml.g5.48xlarge": 8,
    "ml.g6.12xlarge": 4,
    "ml.g6.24xlarge": 4,
    "ml.g6.48xlarge": 8,
    "ml.g6e.12xlarge": 4,
    "ml.p3.8xlarge": 4,
    "ml.p3.16xlarge": 8,
    "ml.p4d.24xlarge": 8,
    "ml.p5.48xlarge": 8,
}


def gpus_of(instance_type: str) -> int | None:
    """The GPUs of one machine; None where the table of prices does not know the type."""
    if instance_type not in HOURLY:
        return None
    family = instance_type.split(".")[1]
    return SEVERAL.get(instance_type, 1) if family in FAMILIES else 0
