"""GPUs of SageMaker's machines."""

import pytest

from trapline.launching.pricing.prices import HOURLY, SEVERAL, gpus_of


@pytest.mark.parametrize(
    ("kind", "gpus"),
    [
        ("ml.g4dn.xlarge", 1), ("ml.g5.16xlarge", 1), ("ml.g5.12xlarge", 4), ("ml.p3.16xlarge", 8),
        ("ml.m5.2xlarge", 0), ("ml.t3.medium", 0), ("ml.z9.large", None),
    ],
)  # fmt: skip
def test_machines_are_known_by_their_gpus(kind, gpus):
    assert gpus_of(kind) == gpus


def test_every_machine_with_several_has_a_price():
    assert SEVERAL.keys() <= HOURLY.keys()
