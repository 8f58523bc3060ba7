"""Request bodies: every accepted type becomes the bytes of image files, everything else a clear refusal."""

import base64
import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.data.canonical import ImageProblem, PixelSettings, canonicalise
from common.inference.content import RequestError, as_ppm, read_request

FULL_SIZE = PixelSettings(short_side=60_000)
NPY = "application/x-npy"
JSON = "application/json"


def npy(array, **options):
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def refused(body, content_type, most_images=4):
    with pytest.raises(RequestError) as caught:
        read_request(body, content_type, most_images)
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


def test_more_images_than_a_request_may_hold_are_refused_with_413():
    assert refused(sent(["AAAA"] * 5), JSON) == 413
    assert refused(npy(noise(5, 9, 9, 3)), NPY) == 413
