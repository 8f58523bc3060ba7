"""What an S3 URI names, by its text alone."""

import pytest

from trapline.errors import UsageError
from trapline.preparation.raw_places import raw_place
from trapline.s3_places import as_file, as_folder, place_of

NAMES = [  # given, kind, as a job is given it
    ("s3://b", "bucket", "s3://b/"),
    ("s3://b/", "bucket", "s3://b/"),
    ("s3://b//", "bucket", "s3://b/"),
    ("s3://b/raw", "folder", "s3://b/raw/"),
    ("s3://b/raw/", "folder", "s3://b/raw/"),
    ("s3://b/raw//", "folder", "s3://b/raw/"),
    ("s3://b/2024.05", "folder", "s3://b/2024.05/"),
    ("s3://b/a//raw", "folder", "s3://b/a//raw/"),
    ("s3://b/two words/100% #1?", "folder", "s3://b/two words/100% #1?/"),
    ("s3://b/x.zip", "object", "s3://b/x.zip"),
    ("s3://b/deep/x.TAR.GZ", "object", "s3://b/deep/x.TAR.GZ"),
    ("s3://b/two words #1.ZIP", "object", "s3://b/two words #1.ZIP"),
    ("s3://b//x.zip", "object", "s3://b//x.zip"),
    ("s3://b/sites.CSV", "object", "s3://b/sites.CSV"),
    ("s3://b/x.7z", "object", "s3://b/x.7z"),
    ("s3://b/x.zip/", "folder", "s3://b/x.zip/"),
    ("s3://b/x.zip//", "folder", "s3://b/x.zip/"),
    ("s3://b/zip", "folder", "s3://b/zip/"),
    ("s3://b.zip", "bucket", "s3://b.zip/"),
]


@pytest.mark.parametrize(("given", "kind", "uri"), NAMES, ids=[given for given, *_ in NAMES])
def test_a_uri_names_a_bucket_a_folder_or_by_the_suffix_of_a_file_an_object(given, kind, uri):
    place = place_of(given)
    assert (place.kind, place.uri) == (kind, uri)
    assert place_of(place.uri) == place


@pytest.mark.parametrize("given", ["s3://b/raw ", "s3://b/raw\n", "s3://b /raw", "s3://b/x.zip "])
def test_a_blank_at_the_end_is_refused_as_no_name_shows_it(given):
    for read in (place_of, as_folder, as_file):
        with pytest.raises(UsageError, match="a blank at the end of the bucket or the key; leave it out"):
            read(given)


@pytest.mark.parametrize("given", ["s3://", "s3:///raw", "raw", "https://b/raw"])
def test_what_names_no_bucket_is_refused(given):
    with pytest.raises(UsageError, match="not an S3 URI"):
        place_of(given)


def test_what_can_be_nothing_but_a_folder_gets_its_slash_whatever_its_suffix():
    given = ["s3://b", "s3://b/set", "s3://b/set//", "s3://b/set.v1.tar"]
    assert [as_folder(uri) for uri in given] == [
        "s3://b/",
        "s3://b/set/",
        "s3://b/set/",
        "s3://b/set.v1.tar/",
    ]


def test_what_can_be_nothing_but_a_file_is_an_object_whatever_its_suffix():
    assert (as_file("s3://b/sites").key, as_file("s3://b/sites").kind) == ("sites", "object")
    for given in ("s3://b", "s3://b/", "s3://b/sites/"):
        with pytest.raises(UsageError, match=f"--prepare site-csv {given}: names a folder; give one file"):
            as_file(given, "--prepare site-csv")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("s3://b/x.7z", "is a 7-Zip archive, which is not read"),
        ("s3://b/x.RAR", "is a RAR archive, which is not read"),
        ("s3://b/x.zip.001", "is one part of several"),
        ("s3://b/labels.csv", "is one file; give the folder that holds it, or .zip"),
        ("s3://b/one.JPG", "is one file"),
    ],
)
def test_raw_images_are_a_folder_a_bucket_or_an_archive_that_is_read(given, said):
    with pytest.raises(UsageError, match=f"--data {given}: {said}"):
        raw_place(given, "--data")
    assert raw_place(f"{given}/").uri == f"{given}/"
