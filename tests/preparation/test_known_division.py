"""A division that is kept from set to set: no known camera ever changes its part."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import write_jpeg
from trapline.data.prepared import open_prepared
from trapline.errors import TraplineError, UsageError
from trapline.preparation.kept_division import divide_kept
from trapline.preparation.known_division import Division, group_key, read_division, write_division
from trapline.preparation.splits import SplitPolicy

POLICY = SplitPolicy("site")
CLASSES = ["fox", "owl"]


def listing(sites, *, images=6, first=0, sequences=None, contents=None):
    """Labelled images at sites, as many at each, classes in turn; ids run on from `first`."""
    rows = [(site, number) for site in sites for number in range(images)]
    ids = [f"i{first + place}" for place in range(len(rows))]
    frame = pd.DataFrame(
        {
            "id": ids,
            "filepath": ids,
            "site": [site for site, _ in rows],
            "label": [number % 2 for _, number in rows],
            "sequence": sequences or [None] * len(rows),
            "sha256": contents or ids,
        },
        dtype=object,
    ).astype({"label": int})
    return frame.assign(kept=frame["site"])


def parts(divided):
    """The part of each site."""
    rows = divided.images[["site", "part"]].drop_duplicates()
    assert not rows["site"].map(group_key).groupby(rows["site"].map(group_key)).count().gt(1).any()
    return {group_key(site): part for site, part in rows.itertuples(index=False)}


def with_images(divided):
    """The division, as it is read from the prepared set that it came with."""
    return Division(**{**vars(divided.division), "images": frozenset(divided.images["id"])})


@given(st.data())
@settings(deadline=None, max_examples=20)
def test_no_known_camera_ever_moves_while_a_set_grows(data):
    sites = [f"Camera {number}" for number in range(data.draw(st.integers(4, 10)))]
    known, moved_to = None, {}
    first = 0
    for _ in range(data.draw(st.integers(2, 4))):
        images = data.draw(st.integers(2, 8))
        rows = len(sites) * images
        shared = st.one_of(st.none(), st.sampled_from("pqrs"))
        sequences = (
            data.draw(st.lists(shared, min_size=rows, max_size=rows)) if data.draw(st.booleans()) else None
        )
        copies = [f"c{number}" for number in range(3)]
        own = [f"h{first + number}" for number in range(rows)]
        contents = [
            copies[pick] if pick < 3 else own[place]
            for place, pick in enumerate(
                data.draw(st.lists(st.integers(0, 30), min_size=rows, max_size=rows))
            )
        ]
        spelt = [data.draw(st.sampled_from([site, site.upper(), f"{site} "])) for site in sites]
        frame = listing(spelt, images=images, first=first, sequences=sequences, contents=contents)
        try:
            found = divide_kept(frame, CLASSES, POLICY, known)
        except TraplineError:  # too little is left for three parts
            return
        assert len(found.images) + len(found.quarantined) == rows
        now = parts(found)
        assert all(now.get(site, part) == part for site, part in moved_to.items())
        moved_to |= now
        known = with_images(found)
        assert known.parts == moved_to
        gone = set(data.draw(st.lists(st.sampled_from(sites), max_size=2)))
        more = [f"Camera {first + number} of {rows}" for number in range(data.draw(st.integers(0, 4)))]
        sites, first = [site for site in sites if site not in gone] + more, first + rows


@given(st.data())
@settings(deadline=None, max_examples=20)
def test_no_group_is_on_two_sides_and_every_row_is_in_a_part_or_in_quarantine_once(data):
    row = st.tuples(
        st.sampled_from("abcdefgh"), st.integers(0, 1), st.one_of(st.none(), st.sampled_from("pqr")),
        st.integers(0, 40),
    )  # fmt: skip
    rows = data.draw(st.lists(row, min_size=20, max_size=60))
    frame = listing([site for site, *_ in rows], images=1).assign(
        label=[label for _, label, *_ in rows],
        sequence=[sequence for *_, sequence, _ in rows],
        sha256=[f"h{content}" for *_, content in rows],
    )
    known = None
    if data.draw(st.booleans()):
        fixed = {site: data.draw(st.sampled_from(["train", "val", "test"])) for site in "abcd"}
        known = Division("site", fixed, {site: site for site in fixed}, line="line")
    try:
        found = divide_kept(frame, CLASSES, POLICY, known)
    except TraplineError:
        return
    assert sorted([*found.images["id"], *(row.id for row in found.quarantined)]) == sorted(frame["id"])
    sides = found.images.groupby("site")["part"].nunique()
    assert (sides == 1).all()
    if known:
        now = parts(found)
        assert all(now.get(site, part) == part for site, part in known.parts.items())


def test_a_new_camera_that_shares_a_burst_with_two_parts_loses_those_images():
    known = Division(
        "site", {"a": "train", "b": "val", "c": "test"}, {site: site for site in "abc"}, line="x"
    )
    sequences = ["q", *[None] * 5, "q", *[None] * 11]
    found = divide_kept(listing("abc", sequences=sequences), CLASSES, POLICY, known)
    assert parts(found) == {"a": "train", "b": "val", "c": "test"}
    assert [(row.id, row.reason) for row in found.quarantined] == [("i6", "across_parts")]
    assert "no camera moves" in found.quarantined[0].detail


def test_of_copies_in_two_parts_the_newcomer_goes():
    contents = [
        "same",
        *[f"h{number}" for number in range(5)],
        "same",
        *[f"k{number}" for number in range(11)],
    ]
    frame = listing("abc", contents=contents)
    fixed = {"a": "train", "b": "val", "c": "test"}
    for new, old in (("i0", "i6"), ("i6", "i0")):
        images = frozenset(set(frame["id"]) - {new})
        known = Division("site", fixed, {site: site for site in "abc"}, line="x", images=images)
        found = divide_kept(frame, CLASSES, POLICY, known)
        assert [row.id for row in found.quarantined] == [new]
        assert old in set(found.images["id"])


def test_copies_at_two_cameras_that_are_labelled_differently_are_quarantined_both():
    contents = [f"h{number}" for number in range(24)]
    contents[0] = contents[7] = "same"  # a fox at one camera, an owl at another
    found = divide_kept(listing("abcd", contents=contents), CLASSES, POLICY)
    assert [(row.id, row.reason) for row in found.quarantined] == [
        ("i0", "ambiguous_label"),
        ("i7", "ambiguous_label"),
    ]


def test_cameras_with_a_copy_in_common_are_in_one_part_where_sites_suffice():
    contents = [f"h{number}" for number in range(60)]
    contents[0] = contents[6] = "same"
    found = divide_kept(listing("abcdefghij", contents=contents), CLASSES, POLICY)
    assert parts(found)["a"] == parts(found)["b"]


def test_a_test_card_that_all_cameras_photograph_joins_none():
    contents = [f"h{number}" if number % 6 else "card" for number in range(60)]
    found = divide_kept(listing("abcdefghij", contents=contents), CLASSES, POLICY)
    assert set(parts(found).values()) == {"train", "val", "test"}
    assert any("byte-identical" in note for note in found.notes)


def test_a_lopsided_division_is_said_with_the_way_to_a_new_one():
    known = Division(
        "site", {"a": "train", "b": "val", "c": "test"}, {site: site for site in "abc"}, line="x"
    )
    rows = pd.concat([listing("abc"), listing(["b"], images=80, first=100)], ignore_index=True)
    notes = divide_kept(rows, CLASSES, POLICY, known).notes
    assert "the division is kept: 3 known sites where they were, 0 new" in notes
    assert any("lopsided: train holds 6%" in note and "begins a new line of models" in note for note in notes)


def test_folds_divide_train_and_val_and_stay_with_their_sites():
    frame = listing([f"s{number}" for number in range(20)])
    first = divide_kept(frame, CLASSES, POLICY, None, 4, 1)
    other = divide_kept(frame, CLASSES, POLICY, None, 4, 3)
    test = {site for site, part in parts(first).items() if part == "test"}
    assert test == {site for site, part in parts(other).items() if part == "test"}
    assert first.division == other.division
    for divided, fold in ((first, 1), (other, 3)):
        val = {site for site, part in parts(divided).items() if part == "val"}
        assert val == {site for site, own in divided.division.folds.items() if own == fold}
    grown = listing([f"s{number}" for number in range(26)])
    after = divide_kept(grown, CLASSES, POLICY, with_images(first), 4, 2)
    kept = first.division.folds
    assert {site: after.division.folds[site] for site in kept} == kept
    assert after.division.line == first.division.line


def test_folds_need_a_split_that_keeps_sites_and_as_many_of_them():
    frame = listing("abcdef")
    with pytest.raises(
        UsageError, match=r"--folds 3: needs a split that keeps sites together.* --split site"
    ):
        divide_kept(frame, CLASSES, SplitPolicy("random"), None, 3, 1)
    with pytest.raises(UsageError, match="--folds 9: train and val have"):
        divide_kept(frame, CLASSES, POLICY, None, 9, 1)


def test_a_division_is_written_and_read_as_it_was(tmp_path):
    division = Division(
        "site", {"cam a": "train", "b": "test"}, {"cam a": "Cam A", "b": "b"}, {"cam a": 2}, line="x"
    )
    write_division(tmp_path / "division.csv", division)
    assert (tmp_path / "division.csv").read_text() == "site,part,fold\nCam A,train,2\nb,test,\n"
    found = read_division(tmp_path / "division.csv", "site", "--division division.csv")
    assert (found.parts, found.names, found.folds) == (division.parts, division.names, division.folds)
    assert found.digest() == division.digest() == found.line


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("site,part\na,train\nA ,test\n", r"line 3: 'A ' is in train and in test; a site has one part"),
        ("site,part\na,training\n", r"line 2: part 'training' is none of train, val, test"),
        ("site,part\n,train\n", r"line 2: no site; fill it in"),
        ("site,part,fold\na,train,x\n", r"fold 'x' is no whole number"),
        ("camera_name,share\na,train\n", r"no column part"),
    ],
)
def test_a_table_that_is_no_division_is_refused_by_its_line(tmp_path, text, message):
    (tmp_path / "d.csv").write_text(text)
    with pytest.raises(TraplineError, match=message):
        read_division(tmp_path / "d.csv", "site", "--division d.csv")


# --- by command line ----------------------------------------------------------------------------------------


@pytest.fixture
def raw(tmp_path):
    """A folder of images at eight cameras, and what adds some."""

    def add(sites, images=6):
        rows = ["id,filepath,site"]
        labels = ["id,fox,owl"]
        for site in sites:
            for number in range(images):
                name = f"{site}-{number}"
                path = tmp_path / "raw" / f"{name}.jpg"
                if not path.exists():
                    write_jpeg(path, abs(hash(name)) % 100_000)
        for path in sorted((tmp_path / "raw").glob("*.jpg")):
            site, _, number = path.stem.rpartition("-")
            rows.append(f"{path.stem},{path.name},{site}")
            labels.append(f"{path.stem},{int(int(number) % 2 == 0)},{int(int(number) % 2 == 1)}")
        (tmp_path / "raw" / "train_features.csv").write_text("\n".join(rows))
        (tmp_path / "raw" / "train_labels.csv").write_text("\n".join(labels))
        return tmp_path / "raw"

    return add


def sites_of(folder):
    """The part of each site in a prepared set."""
    prepared = open_prepared(folder)
    return {
        site: part
        for part in ("train", "val", "test")
        for site in prepared.part(part).table["site"].to_pylist()
    }


def test_prepare_keeps_the_division_of_another_set(raw, call_script, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    words = ["--input", raw([f"s{number}" for number in range(8)]), "--processes", 1]
    assert call_script("prepare.py", *words, "--output", first).returncode == 0
    raw([f"s{number}" for number in range(14)])
    done = call_script("prepare.py", *words, "--output", second, "--division", first, "--seed", 5)
    assert done.returncode == 0, done.stderr
    before, after = sites_of(first), sites_of(second)
    assert {site: after[site] for site in before} == before
    assert len(after) == 14
    described = [json.loads((folder / "dataset.json").read_text())["split"] for folder in (first, second)]
    assert described[0]["line"] == described[1]["line"] == described[0]["division"]
    assert described[1]["division"] != described[0]["division"]
    anew = call_script("prepare.py", *words, "--output", tmp_path / "new", "--division", "new", "--seed", 5)
    assert anew.returncode == 0
    assert (
        json.loads((tmp_path / "new" / "dataset.json").read_text())["split"]["line"] != described[0]["line"]
    )


def test_prepare_groups_by_other_things_than_sites(raw, call_script, tmp_path):
    folder = raw([f"s{number}" for number in range(8)])
    table = pd.read_csv(folder / "train_features.csv")
    table["season"] = [f"{2010 + row % 5}" for row in range(len(table))]
    table.to_csv(folder / "train_features.csv", index=False)
    words = ["--input", folder, "--processes", 1, "--output", tmp_path / "by"]
    done = call_script("prepare.py", *words, "--group-by", "season")
    assert done.returncode == 0, done.stderr
    prepared = open_prepared(tmp_path / "by")
    assert prepared.description.split.group_by == "season"
    assert not prepared.description.split.unseen_sites
    season = dict(zip(table["id"], table["season"], strict=True))
    sides = [
        {season[name] for name in prepared.part(part).table["id"].to_pylist()}
        for part in ("train", "val", "test")
    ]
    assert sum(map(len, sides)) == 5
    assert (tmp_path / "by" / "division.csv").read_text().startswith("season,part\n2010,")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--group-by", "season"], "--group-by season: no table of the input has such a column"),
        (["--group-by", "date"], "cannot be used (48 unknown_group)"),
        (["--division", "nowhere"], "--division nowhere: no such file"),
        (["--division", "d.csv", "--split", "random"], "--division: keeps sites in their parts"),
        (["--folds", "40"], "--folds 40: train and val have"),
        (["--fold", "2"], "--fold 2: needs --folds"),
        (["--folds", "3", "--fold", "4"], "--fold 4: needs --folds"),
    ],
)
def test_what_cannot_be_divided_so_is_refused_with_the_option(raw, call_script, tmp_path, words, message):
    given = [
        "--input",
        raw([f"s{number}" for number in range(8)]),
        "--output",
        tmp_path / "out",
        "--processes",
        1,
    ]
    done = call_script("prepare.py", *given, *words)
    assert done.returncode in (1, 2)
    assert message in done.stderr
    assert "defect" not in done.stderr


def test_a_split_of_sites_comes_as_near_as_the_best_of_many_groupings():
    generator = np.random.default_rng(0)
    sizes = np.minimum(1132, np.maximum(1, generator.lognormal(4.2, 1.2, 148).astype(int)))
    shares = generator.dirichlet([0.4] * 8, 148)
    shares[0] = [0.02] * 7 + [0.86]
    rows = [
        (f"s{site}", label)
        for site, size in enumerate(sizes.tolist())
        for label in generator.choice(8, size, p=shares[site]).tolist()
    ]
    frame = listing([site for site, _ in rows], images=1).assign(label=[label for _, label in rows])
    names = [f"c{number}" for number in range(8)]
    found = divide_kept(frame, names, POLICY).images
    wanted = np.array(POLICY.shares)

    def distance(part):
        counts = np.stack([np.bincount(frame["label"][part == index], minlength=8) for index in range(3)])
        return float(np.square(counts / counts.sum(axis=0) - wanted[:, None]).sum())

    own = distance(found["part"].map({"train": 0, "val": 1, "test": 2}).to_numpy())
    site = frame["site"].str[1:].astype(int).to_numpy()
    random = []
    for _ in range(100):
        of_site = np.searchsorted(np.cumsum(wanted), generator.permutation(148) / 148, side="right")
        random.append(distance(np.minimum(of_site, 2)[site]))
    assert own <= min(random)
