"""The machine is used once over, and batches are chosen and halved by rule."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trapline.training import execution
from trapline.training.execution import (
    BatchPlan,
    automatic_batch_size,
    choose_resources,
    out_of_memory,
    use_threads,
)

cores = st.integers(1, 256)


@given(cores, st.integers(1, 16))
def test_a_cpu_has_no_more_workers_and_threads_than_cores_from_4_cores_on(cores, ranks):
    own = choose_resources("cpu", cores, ranks)
    assert own.workers >= 1
    assert own.threads >= 1
    assert own.workers <= 16
    if cores // ranks >= 4:
        assert (own.workers + own.threads) * ranks <= cores
        assert own.workers == min(16, cores // ranks // 4)
    else:
        assert own == execution.Resources(1, max(1, cores // ranks))


@given(cores, st.integers(1, 16))
def test_beside_a_gpu_every_core_loads_up_to_16(cores, ranks):
    own = choose_resources("cuda", cores, ranks)
    assert own.workers == min(16, max(1, cores // ranks))
    assert own.threads == max(1, cores // ranks - own.workers)


def test_threads_are_lowered_and_never_raised():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        use_threads(8)
        assert torch.get_num_threads() == 2
        use_threads(1)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("gib", "images"), [(1, 16), (4, 32), (6, 48), (15.7, 64), (139, 64)])
def test_a_gpu_takes_8_images_for_each_gib_from_16_to_64(monkeypatch, gib, images):
    monkeypatch.setattr(execution, "_gpu_gib", lambda device: gib)
    assert automatic_batch_size(torch.device("cuda"), 8) == images


def test_a_share_of_the_gpus_memory_takes_a_share_of_the_images(monkeypatch):
    monkeypatch.setattr(execution, "_gpu_gib", lambda device: 8)
    assert automatic_batch_size(torch.device("cuda"), 8, memory_share=0.5) == 32


@pytest.mark.parametrize(("cores", "images"), [(1, 4), (2, 8), (7, 28), (8, 32), (96, 32)])
def test_a_cpu_takes_4_images_for_each_core_up_to_32(cores, images):
    assert automatic_batch_size(torch.device("cpu"), cores) == images


@given(st.integers(1, 4096), st.integers(1, 64))
def test_halving_keeps_the_images_of_a_step_and_ends_at_one(size, accumulation):
    plan = BatchPlan(size, accumulation)
    while (smaller := plan.smaller()) is not None:
        assert smaller.size * smaller.accumulation == size * accumulation
        assert smaller.size < plan.size
        if plan.size % 2 == 0:
            assert smaller.size == plan.size // 2
        plan = smaller
    assert plan.size == 1


def test_32_images_become_twice_16():
    assert BatchPlan(32, 1).smaller() == BatchPlan(16, 2)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried\nmore"), "CUDA out of memory. Tried"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "DefaultCPUAllocator"),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), "MPS backend out of memory"),
        (MemoryError(), "MemoryError"),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), None),
        (ValueError("out of memory"), None),
    ],
)
def test_a_lack_of_memory_is_told_from_other_errors(error, said):
    found = out_of_memory(error)
    assert found is None if said is None else found.startswith(said)


def test_torchs_own_error_of_the_cpu_is_recognised():
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**55, dtype=torch.float32)
    assert out_of_memory(raised.value)
