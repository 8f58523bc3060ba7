"""Cores are counted as this process may use them."""

import os

import pytest

from common import processes
from common.processes import available_cores, cpu_quota


def version_2(folder, text):
    (folder / "cpu.max").write_text(text)


def version_1(folder, quota, period):
    (folder / "cpu").mkdir()
    (folder / "cpu" / "cpu.cfs_quota_us").write_text(quota)
    (folder / "cpu" / "cpu.cfs_period_us").write_text(period)


@pytest.mark.parametrize(("text", "cores"), [("150000 100000\n", 1.5), ("max 100000\n", None), ("", None)])
def test_the_quota_of_control_groups_2_is_read(tmp_path, text, cores):
    version_2(tmp_path, text)
    assert cpu_quota(tmp_path) == cores


@pytest.mark.parametrize(("quota", "cores"), [("400000\n", 4.0), ("-1\n", None)])
def test_the_quota_of_control_groups_1_is_read(tmp_path, quota, cores):
    version_1(tmp_path, quota, "100000\n")
    assert cpu_quota(tmp_path) == cores


def test_without_control_groups_there_is_no_quota(tmp_path):
    assert cpu_quota(tmp_path / "none") is None


@pytest.mark.parametrize(
    ("affinity", "quota", "cores"),
    [(8, "max 100000", 8), (8, "250000 100000", 3), (2, "800000 100000", 2), (8, "10000 100000", 1)],
)
def test_the_smaller_of_affinity_and_quota_counts_and_one_core_is_always_there(
    monkeypatch, tmp_path, affinity, quota, cores
):
    version_2(tmp_path, quota)
    monkeypatch.setattr(processes, "CGROUPS", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(affinity)), raising=False)
    assert available_cores() == cores
