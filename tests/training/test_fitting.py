"""What follows when memory runs out is a smaller batch, or an error that says what to do."""

import pytest

from trapline.config import make_config
from trapline.errors import TraplineError, UsageError
from trapline.training import data
from trapline.training.data import first_plan, lack_of_memory, plan_of, smaller_plan, with_batches
from trapline.training.distributed import ALONE, Ranks
from trapline.training.execution import BatchPlan, training_device

AUTO = make_config({"batch_size": "auto", "accumulation": 2})


def test_a_number_is_kept_and_auto_asks_the_machine(monkeypatch):
    asked = []
    monkeypatch.setattr(data, "automatic_batch_size", lambda *given: asked.append(given) or 24)
    device = training_device()
    assert first_plan(make_config({"batch_size": 48}), device, 8, ALONE) == BatchPlan(48, 1)
    assert asked == []
    assert first_plan(AUTO, device, 8, ALONE) == BatchPlan(24, 2)
    assert asked == [(device, 8, 1.0)]


def test_a_batch_may_be_given_for_each_type_of_device():
    device = training_device()
    sized = make_config({"batch_size": f"{device.type}:16"})
    assert first_plan(sized, device, 8, ALONE) == BatchPlan(16, 1)
    other = "mps" if device.type != "mps" else "cpu"
    with pytest.raises(UsageError, match=f"{other}:8 says nothing of {device.type}"):
        first_plan(make_config({"batch_size": f"{other}:8"}), device, 8, ALONE)


def test_a_configuration_with_a_plan_holds_its_numbers_and_nothing_else_changes():
    sized = with_batches(AUTO, BatchPlan(16, 4))
    assert plan_of(sized) == BatchPlan(16, 4)
    assert {**AUTO.record(), "batch_size": 16, "accumulation": 4} == sized.record()


def test_work_that_fits_says_nothing_and_other_errors_pass_through():
    assert lack_of_memory(lambda: None) is None
    with pytest.raises(RuntimeError, match="shapes"):
        lack_of_memory(lambda: (_ for _ in ()).throw(RuntimeError("shapes")).__next__())


def test_what_a_failed_step_held_is_free_afterwards():
    import weakref

    class Held:
        pass

    held = []

    def work():
        tensor = Held()
        held.append(weakref.ref(tensor))
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    assert lack_of_memory(work).startswith("DefaultCPUAllocator")
    assert held[0]() is None


@pytest.mark.parametrize(
    ("changes", "plan", "ranks", "pseudo", "message"),
    [
        ({"batch_size": 16}, (16, 1), ALONE, False, "with batch_size 16 .*set batch_size=auto"),
        ({}, (1, 8), ALONE, False, "with a single image .*: lower image_size"),
        ({}, (16, 1), Ranks(0, 2, 0, 2), False, "several processes .*: set batch_size=8 accumulation=2"),
        ({"pseudo_share": 0.25}, (2, 8), ALONE, True, "cannot hold the same share of pseudo-labelled"),
        ({"pseudo_share": 0.2}, (6, 2), ALONE, True, "cannot hold the same share of pseudo-labelled"),
    ],
)
def test_where_nothing_smaller_is_possible_the_error_says_what_to_do(changes, plan, ranks, pseudo, message):
    config = make_config({"batch_size": "auto", **changes})
    with pytest.raises(TraplineError, match=message):
        smaller_plan(config, BatchPlan(*plan), "CUDA out of memory", ranks=ranks, pseudo=pseudo)


def test_pseudo_labelled_images_keep_their_share_in_smaller_batches():
    config = make_config({"batch_size": "auto", "pseudo_share": 0.25})
    assert smaller_plan(config, BatchPlan(32, 1), "x", ranks=ALONE, pseudo=True) == BatchPlan(16, 2)
