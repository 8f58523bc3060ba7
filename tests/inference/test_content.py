"""Request bodies: every accepted type becomes the bytes of image files, everything else a clear refusal."""

import base64
import io
import json
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trapline.images.canonical import PixelSettings, canonicalise
from trapline.images.files import ImageProblem
from trapline.inference.content import RequestError, as_ppm, read_request

FULL_SIZE = PixelSettings(short_side=60_000)
NPY = "application/x-npy"
JSON = "application/json"


def npy(array, **options):
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def refused(body, content_type, max_images=4):
    with pytest.raises(RequestError) as caught:
        read_request(body, content_type, max_images)
    assert caught.value.detail.isprintable()
    return caught.value.status


def pixels(image):
    return canonicalise(image.content, FULL_SIZE).pixels


@pytest.mark.parametrize(
    "content_type",
    ["image/jpeg", "image/png", "IMAGE/X-Whatever", "application/x-image", "application/octet-stream", "",
     "image/jpeg; charset=binary"],
)  # fmt: skip
def test_one_image_file_is_taken_as_it_is(content_type):
    request = read_request(b"any bytes", content_type)
    assert [image.content for image in request.images] == [b"any bytes"]
    assert not request.many


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-npz", "multipart/form-data", "imagejpeg"]
)
def test_another_type_is_refused_with_415(content_type):
    assert refused(b"any bytes", content_type) == 415


def test_an_array_keeps_its_pixels_exactly():
    array = noise(20, 31, 3)
    request = read_request(npy(array), NPY)
    assert not request.many
    assert np.array_equal(pixels(request.images[0]), array)


def test_an_array_of_several_images_is_taken_apart():
    array = noise(3, 20, 31, 3)
    request = read_request(npy(array), NPY)
    assert request.many
    assert all(np.array_equal(pixels(image), one) for image, one in zip(request.images, array, strict=True))


def test_an_array_in_column_order_keeps_its_pixels():
    array = np.asfortranarray(noise(20, 31, 3))
    assert np.array_equal(pixels(read_request(npy(array), NPY).images[0]), array)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((20, 20, 3), np.float32),
        np.zeros((20, 20), np.uint8),
        np.zeros((20, 20, 4), np.uint8),
        np.zeros((0, 20, 3), np.uint8),
        np.zeros((0, 20, 20, 3), np.uint8),
        np.array(7, np.uint8),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_an_array_of_another_shape_or_kind_is_refused(array):
    assert refused(npy(array), NPY) == 400


def test_an_array_of_objects_is_never_unpickled():
    assert refused(npy(np.array([print], dtype=object), allow_pickle=True), NPY) == 400


def test_an_array_whose_header_claims_more_than_comes_is_refused_without_taking_memory():
    header = npy(noise(20, 31, 3)).replace(b"(20, 31, 3)", b"(9999999999, 9999, 3)")
    assert refused(header, NPY) == 400


def headed(header, samples=b"", version=b"\x01\x00"):
    size = 2 if version == b"\x01\x00" else 4
    return b"\x93NUMPY" + version + len(header).to_bytes(size, "little") + header + samples


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': '|u1', 'fortran_order': False, 'shape': (8, 9, 3), }      \n",
        b'{"shape":(8,9,3),"fortran_order":False,"descr":"u1"}',
        b"{'descr': '<u1', 'fortran_order': False, 'shape': (8L, 9L, 3L)}",
    ],
)
@pytest.mark.parametrize("version", [b"\x01\x00", b"\x02\x00"])
def test_a_header_may_be_written_in_any_way_that_the_format_has(header, version):
    samples = noise(8, 9, 3)
    assert np.array_equal(
        pixels(read_request(headed(header, samples.tobytes(), version), NPY).images[0]), samples
    )


FIELDS = b"'descr': '|u1', 'fortran_order': False, 'shape': "


@pytest.mark.parametrize(
    "header",
    [b"", b"{", b"{}", b"(" * 900, b"-" * 900 + b"1", b"[" * 900 + b"]" * 900, b"{" + FIELDS + b"(2, 3, 3)",
     b"{" + FIELDS + b"(-2, -3, 3)}", b"{" + FIELDS + b"(2, , 3)}", b"{" + FIELDS + b"2}",
     b"{" + FIELDS + b"()}",
     b"{" + FIELDS + b"(" + b"9" * 400 + b", 3, 3)}", b"{" + FIELDS + b"(" + b"1," * 300 + b")}",
     b"{" + FIELDS + b"(2, 3, 3), 'more': 'u1'}", b"{'descr': [('a', '|u1')], 'fortran_order': False}",
     b"{" + FIELDS.replace(b"False", b"'no'") + b"(2, 3, 3)}", b"{" + FIELDS + b"(2, 3, 3)} print()",
     b"{" + FIELDS + "(\u0662, 3, 3)}".encode(), b"{" + FIELDS + b"(2, 3, 3)}" + b" " * 10**6],
)  # fmt: skip
def test_a_hostile_header_is_refused_at_once(header):
    started = time.process_time()
    assert refused(headed(header, bytes(18), b"\x02\x00"), NPY) == 400
    assert time.process_time() - started < 0.2


@given(st.binary(max_size=300))
def test_no_bytes_make_the_array_reader_fail_otherwise(tail):
    assert refused(tail, NPY) == 400
    assert refused(b"\x93NUMPY\x01\x00v\x00" + tail, NPY) == 400


def sent(images, **more):
    return json.dumps({"images": images, **more}).encode()


def test_several_images_come_in_json_with_their_ids():
    files = [as_ppm(noise(9, 9, 3)), b"damaged"]
    body = sent([base64.b64encode(file).decode() for file in files], ids=["first", 2])
    request = read_request(body, "application/json; charset=utf-8")
    assert [image.content for image in request.images] == files
    assert [image.id for image in request.images] == ["first", "2"]
    assert request.many


def test_json_without_ids_has_images_without_ids():
    assert read_request(sent(["AAAA"]), JSON).images[0].id is None


@pytest.mark.parametrize("image", ["not base64!", "AAA", 7, None, "é"])
def test_an_image_that_is_no_base64_is_a_problem_of_that_image_alone(image):
    request = read_request(sent([image, "AAAA"]), JSON)
    assert isinstance(request.images[0].content, ImageProblem)
    assert request.images[1].content == b"\0\0\0"


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'"images"', b"\xff\xfe\x00", b"[" * 100_000, sent([]), sent("AAAA"), sent({}),
     sent(["AAAA"], ids=["a", "b"]), sent(["AAAA"], ids="a"), sent(["AAAA"], ids=[1.5]),
     sent(["AAAA"], ids=[True]), sent(["AAAA"], ids=[None]), sent(["AAAA"], pictures=[])],
)  # fmt: skip
def test_json_of_another_form_is_refused(body):
    assert refused(body, JSON) == 400


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"images": [""], "ids": [' + b"1," * 10**6 + b"1]}", 413),
        (b'{"images": [' + b'"",' * 10**6 + b'""]}', 413),
        (b'{"images": [' + b"[]," * 10**6 + b"[]]}", 400),
        (b"[" * 9000, 400),
        (b'{"images":' * 9000, 400),
        (b'{"images": [' + b"1" * 10**6 + b"]}", 400),
        ('{"images": [""], "ids": ["' + "[" * 10**5 + '"]}', 400),
    ],
    ids=["ids", "images", "lists", "deep list", "deep object", "long number", "brackets"],
)
def test_json_that_is_costly_to_read_is_refused_at_once(body, status):
    started = time.process_time()
    assert refused(body if isinstance(body, bytes) else body.encode(), JSON) == status
    assert time.process_time() - started < 0.3


def test_ids_may_hold_commas_and_brackets():
    ids = ["site [1], {2}, " * 10] * 4
    assert [image.id for image in read_request(sent(["AAAA"] * 4, ids=ids), JSON).images] == ids


def test_more_images_than_a_request_may_hold_are_refused_with_413():
    assert refused(sent(["AAAA"] * 5), JSON) == 413
    assert refused(npy(noise(5, 9, 9, 3)), NPY) == 413
