"""Texts, tables, pickles and archives of strangers in a process apart: none takes long, or much memory."""

import io
import json
import lzma
import os
import pickle
import re
import struct
import subprocess
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.support.hostile import measured_apart
from trapline.errors import TraplineError

MEGABYTE = 1_000_000
LONG = 60_000  # characters: what is quadratic takes minutes with them
SECONDS, MIB = 6.0, 400.0  # for one case; half of it is what an idle machine takes for the slowest
UNITS = {
    "names": "aaaa", "digits": "1111", "dotted": "a.", "tokens": "eyJ-", "whole tokens": "-eyJaaaaaaaaaaaa.",
    "keys": "sk-a-", "addresses": "a://b:", "accounts": "AKIA", "private": "-----BEGIN A ", "blanks": "    ",
    "metrics": "[METRICS] val_loss=1 ", "values": "val_loss=1 ", "ends": "[/METRICS] ", "batches": "batch ",
    "losses": "loss=1 ", "epochs": "epoch ", "bars": "1/1 ", "colours": "\x1b[", "slashes": "./",
    "signed": "Signature ", "invisible": "\u200c", "prefixes": "x | ", "marks": "[", "quotes": "'",
}  # fmt: skip
BEGINNINGS = {"blanks": "batch", "digits": "loss=1 batch ", "values": "[METRICS] ", "marks": "x"}


def scanned(unit: str) -> int:
    """Everything that looks through a long line, on one of LONG characters."""
    from trapline.console import printable, relayed
    from trapline.launching.aws.errors import without_credentials
    from trapline.launching.checking.findings import redacted, secrets_in
    from trapline.metrics import read_batch, read_line, read_values
    from trapline.names import Kind, fault, key
    from trapline.reports.run_logs import parse_log
    from trapline.storage import neutralised

    line = BEGINNINGS.get(unit, "") + UNITS[unit] * (LONG // len(UNITS[unit])) + "!"
    for scan in (read_line, read_values, read_batch, printable, relayed, redacted, without_credentials):
        scan(line)
    parse_log(line, "log")
    fault(line, Kind.ID), key(line, Kind.PATH), neutralised(f"-{line}")
    return len(list(secrets_in(line)))


def in_tables(kind: str) -> str:
    from trapline.preparation.input_folder import InputFolder
    from trapline.preparation.label_tables import read_label_tables
    from trapline.tables import read_table

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if kind == "label tables":
            (folder / "a.jpg").touch()
            rows = "\n".join(f"x{number},word and word" for number in range(10_000))
            (folder / "train.csv").write_text(f'ImageID,Labels,Caption\na.jpg,1 2,"open\n{rows}\n')
            return str(len(read_label_tables(InputFolder(folder)).images))
        end = '"' if kind == "closed cell" else ""
        cell = "x\n" * (10 << 20) if kind == "lines" else "x" * (20 << 20)
        (folder / "a.csv").write_text(f'id,filepath\n1,"{cell}{end}\n')
        read_table(folder / "a.csv", ["id"])
        return "read"


def walked(levels: int) -> str:
    from trapline.preparation.input_folder import InputFolder

    folder = Path(tempfile.mkdtemp())
    top = os.open(folder, os.O_RDONLY)
    try:
        os.chdir(folder)
        for _ in range(levels):
            Path("d").mkdir()
            os.chdir("d")
        os.fchdir(top)
        return str(InputFolder(folder).files())
    finally:
        os.chdir("/")
        subprocess.run(["rm", "-rf", folder], check=True)


def pickled(kind: str) -> str:
    from trapline.pickle_checks import check_pickled_file
    from trapline.preparation.cifar_batches import read_dictionary

    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "batch"
        data = PICKLES[kind]()
        path.write_bytes(data)
        weights = Path(name) / "weights.pth"
        with zipfile.ZipFile(weights, "w") as archive:
            archive.writestr("archive/data.pkl", data)
        for file in (path, weights) if kind != "steps" else ():  # as of torch.save, of both of its formats
            with pytest.raises(Exception, match=r"absurd|steps|numbers"):
                check_pickled_file(file)
        read_dictionary(path, 1 << 30)
    return "read"


def _twice(levels: int) -> bytes:
    """A dictionary whose key is a tuple that holds another twice, and so on."""
    return b"\x80\x02}(U\x01x" + b"q\x01h\x01\x86" * levels + b"K\x01u."


def _deep(levels: int) -> bytes:
    return b"\x80\x02}(U\x01x" + b"\x85" * levels + b"K\x01u."


PICKLES: dict[str, Callable[[], bytes]] = {
    "twice": lambda: _twice(60),
    "doubled": lambda: b"\x80\x02}(U\x01x" + b"2\x86" * 60 + b"K\x01u.",
    "deep": lambda: _deep(MEGABYTE),
    "steps": lambda: b"\x80\x02}(" + b"N0" * MEGABYTE + b"u.",
    "numbered": lambda: b"\x80\x02}r\xff\xff\xff\x7f.",
}


def opened_json(kind: str) -> str:
    from trapline.storage import read_json

    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "model.json"
        path.write_bytes(JSONS[kind]())
        return json.dumps(read_json(path))


JSONS: dict[str, Callable[[], bytes]] = {
    "deep": lambda: b"[" * MEGABYTE,
    "deep and closed": lambda: b"[" * 900 + b"]" * 900,
    "deep objects": lambda: b'{"a":' * 500 + b"1" + b"}" * 500,
    "number": lambda: b'{"a": ' + b"9" * MEGABYTE + b"}",
    "nan": lambda: b'{"a": NaN}',
    "infinity": lambda: b'{"a": -Infinity}',
    "twice": lambda: b'{"a": 1, "a": 2}',
    "other encoding": lambda: '{"a": 1}'.encode("utf-16"),
}


def unpacked(kind: str) -> str:
    from trapline.unpacking import Limits
    from trapline.unpacking_zip import unpack_zip

    with tempfile.TemporaryDirectory() as name:
        path, target = Path(name) / "a.zip", Path(name) / "out"
        target.mkdir()
        with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
            archive.writestr("good.txt", b"a" * 1000)
            archive.writestr("bad.txt", bytes(range(256)) * 20)
        data = bytearray(path.read_bytes())
        at = data.index(b"bad.txt") + len("bad.txt")
        if kind == "dictionary":
            data[at + 5 : at + 9] = struct.pack("<I", 0xFFFFFFFF)
        elif kind == "properties":
            data[at + 4] = 0xFF
        else:
            data[at + 30 : at + 60] = bytes(30)
        path.write_bytes(data)
        return str(unpack_zip(path, "a.zip", target, Limits()))


def matched(pattern: str) -> str:
    import pandas as pd

    from trapline.preparation.facts import with_sites
    from trapline.preparation.input_folder import InputFolder
    from trapline.preparation.listing import COLUMNS, SiteRule, Source

    images = pd.DataFrame([["a" * 60, "a" * 60, "a" * 60, 0, None, None]], columns=COLUMNS, dtype=object)
    return str(with_sites(Source(images, ["x"]), InputFolder(Path()), SiteRule(pattern=re.compile(pattern))))


@pytest.fixture(scope="module")
def cost():
    with measured_apart() as measured:
        measured(scanned, "marks")  # what is imported is no cost of a case
        measured(in_tables, "label tables")
        yield measured


@pytest.mark.parametrize("unit", list(UNITS))
def test_a_long_line_is_looked_through_in_proportion_to_its_length(cost, unit):
    found = cost(scanned, unit)
    assert isinstance(found.result, int), found
    assert (found.seconds < SECONDS, found.mib < MIB) == (True, True), found


@pytest.mark.parametrize(
    ("function", "case", "message"),
    [
        (in_tables, "open cell", "mend the quotes"),
        (in_tables, "closed cell", "field larger than field limit"),
        (in_tables, "lines", "field larger than field limit"),
        (walked, 10_000, "more than 100 folders inside one another"),
        (pickled, "twice", "absurd size"),
        (pickled, "doubled", "absurd size"),
        (pickled, "deep", "absurd size"),
        pytest.param(pickled, "steps", "more than 1,000,000 steps", marks=pytest.mark.slow),
        (pickled, "numbered", "numbers something"),
        (opened_json, "deep", "brackets inside one another"),
        (opened_json, "deep and closed", "brackets inside one another"),
        (opened_json, "deep objects", "brackets inside one another"),
        (opened_json, "number", "not valid JSON"),
        (opened_json, "nan", "NaN is no number"),
        (opened_json, "infinity", "-Infinity is no number"),
        (opened_json, "twice", "'a' comes twice"),
        (opened_json, "other encoding", "not valid JSON"),
        (unpacked, "dictionary", "a.zip: holds 'bad.txt', which takes 4095 MiB"),
        (unpacked, "properties", "a.zip: is damaged in 'bad.txt'"),
        (unpacked, "content", "a.zip: is damaged in 'bad.txt'"),
        (matched, "(a+)+b", "takes more than 2 s"),
    ],
)
def test_what_would_exhaust_the_machine_is_refused_by_name(cost, function, case, message):
    found = cost(function, case)
    assert isinstance(found.result, TraplineError), found
    assert message in str(found.result)
    assert (found.seconds < SECONDS, found.mib < MIB) == (True, True), found


def test_a_quote_that_nobody_closes_costs_one_row_and_no_time(cost):
    found = cost(in_tables, "label tables")
    assert found.result == "1"
    assert (found.seconds < SECONDS, found.mib < MIB) == (True, True), found


def test_json_with_a_byte_order_mark_and_honest_pickles_are_read(tmp_path):
    from trapline.pickle_checks import check_pickle, check_pickled_file
    from trapline.storage import parse_json, read_json

    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf" + b'{"a": [[1]]}')
    assert read_json(tmp_path / "a.json") == {"a": [[1]]}
    assert parse_json("[" * 100 + "]" * 100)
    pair = (1, ("a", 2))
    honest = {"x": np.zeros((3, 3), np.uint8), "p": [pair, pair], "s": {1, 2}, "t": tuple(range(1000))}
    for protocol in range(6):
        check_pickle(pickle.dumps(honest, protocol))
    legacy = io.BytesIO()
    for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, honest, ["0"]):
        pickle.dump(part, legacy, 2)
    (tmp_path / "old.pth").write_bytes(legacy.getvalue() + bytes(100))
    check_pickled_file(tmp_path / "old.pth")


def test_a_tar_with_a_damaged_member_is_named(tmp_path):
    from trapline.unpacking import unpack

    with pytest.raises(TraplineError, match=r"^a\.tar\.xz: "):
        unpack(io.BytesIO(lzma.compress(b"x" * 2000)[:-20] + bytes(20)), "a.tar.xz", tmp_path)
