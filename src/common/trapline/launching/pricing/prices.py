"""What machines cost on SageMaker: a small, dated table for estimates, not for bills.

Prices move and differ between regions. Whoever changes one changes `AS_OF` with it.
"""

AS_OF = "2026-08"
REGION = "us-east-1"
SOURCE = (
    "copies of AWS's public price list of SageMaker that agree with one another; those of g5, g6 and g6e "
    "were made in July and August 2026, the others are undated; AWS itself was not asked"
)

# USD for an hour of one instance, on demand. Training, processing and batch transform cost the same.
HOURLY: dict[str, float] = {
    "ml.t3.medium": 0.05,
    "ml.t3.large": 0.10,
    "ml.t3.xlarge": 0.20,
    "ml.t3.2xlarge": 0.399,
    "ml.m5.large": 0.115,
    "ml.m5.xlarge": 0.23,
    "ml.m5.2xlarge": 0.461,
    "ml.m5.4xlarge": 0.922,
    "ml.c5.xlarge": 0.204,
    "ml.c5.2xlarge": 0.408,
    "ml.c5.4xlarge": 0.816,
    "ml.c5.9xlarge": 1.836,
    "ml.g4dn.xlarge": 0.7364,
    "ml.g4dn.2xlarge": 0.94,
    "ml.g4dn.4xlarge": 1.505,
    "ml.g4dn.8xlarge": 2.72,
    "ml.g4dn.12xlarge": 4.89,
    "ml.g4dn.16xlarge": 5.44,
    "ml.g5.xlarge": 1.408,
    "ml.g5.2xlarge": 1.515,
    "ml.g5.4xlarge": 2.03,
    "ml.g5.8xlarge": 3.06,
    "ml.g5.12xlarge": 7.09,
    "ml.g5.16xlarge": 5.12,
    "ml.g5.24xlarge": 10.18,
    "ml.g5.48xlarge": 20.36,
    "ml.g6.xlarge": 1.127,
    "ml.g6.2xlarge": 1.222,
    "ml.g6.4xlarge": 1.654,
    "ml.g6.8xlarge": 2.518,
    "ml.g6.12xlarge": 5.752,
    "ml.g6.24xlarge": 8.344,
    "ml.g6.48xlarge": 16.688,
    "ml.g6e.xlarge": 2.61,
    "ml.g6e.2xlarge": 2.80,
    "ml.g6e.4xlarge": 3.76,
    "ml.g6e.12xlarge": 13.12,
    "ml.p3.2xlarge": 3.825,
    "ml.p3.8xlarge": 14.688,
    "ml.p3.16xlarge": 28.152,
    "ml.p4d.24xlarge": 25.25,
    "ml.p5.48xlarge": 63.30,
}
STORAGE_GB_MONTH = 0.14  # USD for a GB of a job's volume, for a month
HOURS_PER_MONTH = 730.0
SPOT_SAVING = (0.3, 0.7)  # least and most of the hourly price that spot usually saves; no promise of AWS's


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
    return SEVERAL.get(instance_type, 1) if instance_type.split(".")[1] in FAMILIES else 0
