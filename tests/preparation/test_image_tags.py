"""Labels that are tags in the images: XMP, IPTC, and XMP files beside images."""

import io
import os
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from tests.support.disk import prepared, put, read
from tests.support.written_sets import drawn_set, with_iptc, with_xmp, write_tags, xmp_packet
from trapline.errors import TraplineError, UsageError
from trapline.preparation.image_keywords import DamagedMetadata, iptc_tags, tags_in, xmp_tags
from trapline.preparation.image_tags import labels_of
from trapline.preparation.listing import Reading

KINDS = ["lightroom", "digikam", "microsoft", "subject", "acdsee", "iptc", "sidecar"]
SPECIES = Reading(label_tag="Species")
BOMB = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><x>&b;</x>'


def jpeg(seed=0):
    content = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(content, "JPEG")
    return content.getvalue()


def tagged(*tags, kind="lightroom", seed=0):
    return with_xmp(jpeg(seed), xmp_packet(tags, kind))


# --- what is written is read --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_set_that_is_written_as_tags_is_read_back(tmp_path, kind):
    records = drawn_set(tmp_path / "drawn")
    written = write_tags(tmp_path / "drawn", tmp_path / "raw", records, kind)
    found = read(tmp_path / "raw", reading=SPECIES)
    assert found.labels == {path: record.label for path, record in written.items()}
    assert found.images["site"].to_dict() == {path: record.site for path, record in written.items()}
    assert found.quarantined == {}
    assert "--label-tag Species: 21 images of 24 have such a tag" in found.notes
    assert "--folders site or --site-regex says otherwise" in found.notes


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=30).filter(
    lambda text: not set(text) & set("|/")
)


@settings(deadline=None, max_examples=50)
@given(names=st.lists(WORDS, min_size=1, max_size=4, unique=True))
@pytest.mark.parametrize("kind", ["lightroom", "digikam", "acdsee", "subject"])
def test_any_words_are_read_as_they_are_written(kind, names):
    tags = [("Species", name) for name in names]
    assert xmp_tags(xmp_packet(tags, kind)) == [tags]


@settings(deadline=None, max_examples=50)
@given(names=st.lists(WORDS, min_size=1, max_size=4, unique=True))
def test_any_words_are_read_from_iptc(names, tmp_path_factory):
    path = tmp_path_factory.mktemp("iptc") / "1.jpg"
    path.write_bytes(with_iptc(jpeg(), [f"Species|{name}" for name in names]))
    assert tags_in(str(path), []) == [[("Species", name) for name in names]]


def test_iptc_without_a_character_set_is_read_as_windows_writes_it():
    word = "Species|Fähe".encode("cp1252")
    block = b"\x1c\x02\x19" + len(word).to_bytes(2, "big") + word
    head = b"8BIM\x04\x04\0\0"
    assert iptc_tags(head + len(block).to_bytes(4, "big") + block) == [("Species", "Fähe")]
    with pytest.raises(DamagedMetadata, match="ends before its own end"):
        iptc_tags(head + len(word).to_bytes(4, "big") + block)


@pytest.mark.parametrize("is_compressed", [True, False])
def test_xmp_of_png_files_is_read(tmp_path, is_compressed):
    text = PngImagePlugin.PngInfo()
    packet = xmp_packet([("Species", "fox")]).decode()
    text.add_itxt("XML:com.adobe.xmp", packet, zip=is_compressed)
    Image.new("RGB", (16, 16)).save(tmp_path / "1.png", pnginfo=text)
    assert tags_in(str(tmp_path / "1.png"), []) == [[("Species", "fox")]]


# --- which tag is the label ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tags", "wanted", "labels"),
    [
        ([("Species", "Leopard Cat"), ("individual", "2")], ("species",), ("Leopard Cat",)),
        ([("Species", "Cat", "Leopard Cat")], ("species",), ("Leopard Cat",)),
        ([("Species", "Cat"), ("Species", "Cat", "Leopard Cat")], ("species",), ("Leopard Cat",)),
        ([("Species",)], ("species",), ()),
        ([("Wild", "Species", "Fox")], ("species",), ("Fox",)),
        ([("Wild", "Species", "Fox")], ("wild", "species"), ("Fox",)),
        ([("Species", "Fox"), ("Species", "Owl")], ("species",), ("Fox", "Owl")),
        ([("Species", "Fox"), ("species", "FOX")], ("species",), ("FOX",)),
        ([("Fox",)], ("species",), ()),
    ],
)
def test_the_last_level_below_the_tag_is_the_label(tags, wanted, labels):
    assert labels_of(tags, wanted) == labels


def test_several_tags_are_several_labels_and_an_image_without_one_is_unlabelled(tmp_path):
    put(tmp_path, {
        "a/1.jpg": tagged(("Species", "fox"), ("Species", "owl")), "a/2.jpg": tagged(("Species", "fox")),
        "b/1.jpg": tagged(("individual", "2")), "b/2.jpg": jpeg(), "b/3.gif": "",
    })  # fmt: skip
    found = read(tmp_path, reading=SPECIES)
    assert found.labels == {
        "a/1.jpg": {"fox", "owl"}, "a/2.jpg": {"fox"}, "b/1.jpg": set(), "b/2.jpg": set(), "b/3.gif": set(),
    }  # fmt: skip


@pytest.mark.parametrize("name", ["1.jpg.xmp", "1.xmp", "1.XMP"])
def test_a_file_beside_the_image_goes_before_what_stands_in_it(tmp_path, name):
    beside = xmp_packet([("Species", "owl")])
    put(tmp_path, {"1.jpg": tagged(("Species", "fox")), name: beside, "2.jpg": tagged(("Species", "fox"))})
    assert read(tmp_path, reading=SPECIES).labels == {"1.jpg": "owl", "2.jpg": "fox"}


def test_sites_and_sequences_are_the_folders_that_a_person_says(tmp_path):
    put(tmp_path, {f"{site}/visit/{n}.jpg": tagged(("Species", "fox")) for site in "ab" for n in (1, 2)})
    found = read(tmp_path, reading=Reading(label_tag="Species", folders="site/sequence"))
    assert found.images["site"].to_dict() == {name: name[0] for name in found.images.index}
    assert set(found.images["sequence"]) == {"a/visit", "b/visit"}
    with pytest.raises(
        UsageError, match=r"--folders site/label: labels are tags, as --label-tag Species says"
    ):
        read(tmp_path, reading=Reading(label_tag="Species", folders="site/label"))


# --- what is wrong ------------------------------------------------------------------------------------------


def test_a_tag_that_no_image_has_is_refused_with_those_that_there_are(tmp_path):
    put(
        tmp_path,
        {"1.jpg": tagged(("Animal", "fox"), ("individual", "2")), "2.jpg": tagged(("Animal", "owl"))},
    )
    with pytest.raises(
        TraplineError, match=r"--label-tag Species: no image of 2 .*'Animal' \(2\), 'individual'"
    ):
        read(tmp_path, reading=SPECIES)
    found = read(tmp_path, reading=Reading(label_tag="Species", among_others=True))
    assert set(found.labels.values()) == {None}
    assert "all are unlabelled" in found.notes


def test_images_without_any_tags_are_refused_with_where_tags_are_looked_for(tmp_path):
    put(tmp_path, {"fox/1.jpg": jpeg(), "owl/2.jpg": jpeg(1)})
    with pytest.raises(TraplineError, match=r"no tags at all; tags of JPEG and PNG files, and in XMP files"):
        read(tmp_path, reading=SPECIES)


HOSTILE = {
    "entities": with_xmp(jpeg(), BOMB),
    "an entity from a file": with_xmp(
        jpeg(), b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>'
    ),
    "depth": with_xmp(jpeg(), b"<x>" * 5000 + b"</x>" * 5000),
    "no xml": with_xmp(jpeg(), b"\0\xff<<<"),
    "an unknown encoding": with_xmp(jpeg(), b'<?xml version="1.0" encoding="nonsense"?><x/>'),
    "half an IPTC": with_iptc(jpeg(), ["Species|fox"]).replace(
        b"\x1c\x02\x19\0\x0b", b"\x1c\x02\x19\x7f\xff"
    ),
    "half a segment": tagged(("Species", "fox"))[:200],
    "nothing": b"",
    "two bytes": b"\xff\xd8",
    "endless fill bytes": b"\xff\xd8" + b"\xff" * 100_000,
    "a PNG that is cut": b"\x89PNG\r\n\x1a\n\0\0\0\x20iTXtXML:com.adobe.xmp\0\1\0\0\0xx",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_hostile_and_damaged_metadata_are_none_and_never_expanded(tmp_path, content):
    put(
        tmp_path,
        {"bad.jpg": content, "1.jpg": tagged(("Species", "fox")), "2.jpg": tagged(("Species", "owl"))},
    )
    found = read(tmp_path, reading=SPECIES)
    assert found.labels["1.jpg"] == "fox"
    assert found.labels.get("bad.jpg") in (None, "fox")
    assert len(found.labels) + len(found.quarantined) == 3


def test_what_cannot_be_read_is_counted_and_shown(tmp_path):
    put(tmp_path, {"bad.jpg": HOSTILE["entities"], "1.jpg": tagged(("Species", "fox"))})
    notes = read(tmp_path, reading=SPECIES).notes
    assert "the tags of 1 image cannot be read, as of 'bad.jpg': its XMP declares a document type" in notes


def test_a_packet_of_more_than_the_bound_is_refused_unread_however_small_it_was_packed(tmp_path):
    with pytest.raises(DamagedMetadata, match="more than 4194304 bytes"):
        xmp_tags(b"<x>" + b"<x/>" * (2 << 20))
    chunk = b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b"<x>" + b"<x/>" * (8 << 20))
    start = b"\x89PNG\r\n\x1a\n" + len(chunk).to_bytes(4, "big")
    (tmp_path / "1.png").write_bytes(start + b"iTXt" + chunk + b"\0\0\0\0")
    with pytest.raises(DamagedMetadata, match="more than 4194304 bytes"):
        tags_in(str(tmp_path / "1.png"), [])


def test_a_label_that_none_may_have_is_quarantined(tmp_path):
    bad = with_iptc(jpeg(), ["Species|a\x07b"])
    put(tmp_path, {"bad.jpg": bad, "1.jpg": tagged(("Species", "fox")), "2.jpg": tagged(("Species", "owl"))})
    found = read(tmp_path, reading=SPECIES)
    assert found.quarantined == {"bad.jpg": "bad_name"}
    assert "its label" in found.details


def test_what_leads_out_or_is_no_file_is_not_opened(tmp_path):
    put(tmp_path / "raw", {"a/1.jpg": tagged(("Species", "fox")), "a/2.jpg": jpeg()})
    put(tmp_path / "out", {"x.jpg": tagged(("Species", "owl")), "x.xmp": xmp_packet([("Species", "owl")])})
    (tmp_path / "raw" / "a" / "link.jpg").symlink_to(tmp_path / "out" / "x.jpg")
    (tmp_path / "raw" / "a" / "2.xmp").symlink_to(tmp_path / "out" / "x.xmp")
    os.mkfifo(tmp_path / "raw" / "a" / "pipe.jpg")
    found = read(tmp_path / "raw", reading=SPECIES)
    assert found.classes == ["fox"]
    assert found.quarantined == {"a/link.jpg": "outside", "a/pipe.jpg": "unreadable"}


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_anywhere_never_ends_in_a_crash(tmp_path, data):
    whole = with_iptc(tagged(("Species", "fox")), ["Species|fox"])
    at = data.draw(st.integers(0, 1500))
    path = tmp_path / "1.jpg"
    path.write_bytes(whole[:at] + data.draw(st.binary(max_size=12)) + whole[at + 4 :])
    try:
        found = tags_in(str(path), [])
    except DamagedMetadata as problem:
        found = [[(str(problem),)]]
    assert all(isinstance(part, str) for tags in found for tag in tags for part in tag)


# --- samples, and the command -------------------------------------------------------------------------------


def test_the_sample_that_digikam_tagged_is_read(real_data):
    folder = real_data / "formats" / "camtrapR" / "tagged"
    found = read(folder, reading=SPECIES)
    assert set(found.labels.values()) == {"Leopard Cat"}
    assert len(found.labels) == 6
    with pytest.raises(TraplineError, match=r"begin with 'Species' \(6\), 'individual' \(6\)"):
        read(folder, reading=Reading(label_tag="Animal"))


def test_the_command_takes_tags_for_labels_and_folders_for_sites(tmp_path, call_script):
    records = drawn_set(tmp_path / "drawn")
    write_tags(tmp_path / "drawn", tmp_path / "raw", records, "lightroom")
    done = call_script(
        "prepare.py", "--input", tmp_path / "raw", "--label-tag", "Species", "--folders", "site",
        "--output", tmp_path / "out", "--processes", "1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ids, summary = prepared(tmp_path / "out")
    assert len(ids["unlabeled"]) == 3
    assert len(ids["train"] | ids["val"] | ids["test"]) == 21
    assert any("--label-tag Species: 21 images of 24" in note for note in summary["notes"])


def test_the_command_says_which_tags_there_are(tmp_path, call_script):
    put(tmp_path / "raw", {"1.jpg": tagged(("Animal", "fox")), "2.jpg": tagged(("Animal", "owl"))})
    done = call_script(
        "prepare.py", "--input", tmp_path / "raw", "--label-tag", "Species", "--output", tmp_path / "out"
    )
    assert done.returncode == 1
    assert "the tags that there are begin with 'Animal' (2); name one of them" in done.stderr
