from pathlib import Path

import pytest

from trapline.machine import cache_folder, processor

INTEL = (
    "processor : 0\nvendor_id : GenuineIntel\nmodel name : Xeon\nmodel : 207\nflags : fpu\n\nprocessor : 1\n"
)
ARM = "processor : 0\nCPU implementer : 0x41\nCPU part : 0xd40\n"


@pytest.mark.parametrize(("text", "facts"), [(INTEL, "GenuineIntel Xeon 207"), (ARM, "0xd40 0x41")])
def test_a_processor_is_known_by_what_the_system_says_of_it(tmp_path, text, facts):
    (tmp_path / "cpuinfo").write_text(text)
    assert processor(tmp_path / "cpuinfo").endswith(facts)


def test_processors_of_other_models_differ_though_their_names_are_the_same(tmp_path):
    (tmp_path / "one").write_text(INTEL)
    (tmp_path / "other").write_text(INTEL.replace("207", "143"))
    assert processor(tmp_path / "one") != processor(tmp_path / "other")


def test_without_such_a_file_there_is_a_name_all_the_same(tmp_path):
    assert processor(tmp_path / "none")


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"TRAPLINE_CACHE": "/a", "XDG_CACHE_HOME": "/b", "HOME": "/c"}, Path("/a")),
        ({"XDG_CACHE_HOME": "/b", "HOME": "/c"}, Path("/b/trapline")),
        ({"HOME": "/c"}, Path("/c/.cache/trapline")),
    ],
)
def test_the_cache_lies_where_the_variables_say(monkeypatch, variables, expected):
    for name in ("TRAPLINE_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == expected


def test_a_user_without_a_home_has_no_cache(monkeypatch):
    for name in ("TRAPLINE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def no_home():
        raise RuntimeError("no home")

    monkeypatch.setattr(Path, "home", no_home)
    assert cache_folder() is None
