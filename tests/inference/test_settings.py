"""The server's settings: from SageMaker's variables and the project's own."""

import pytest

from trapline.errors import UsageError
from trapline.inference.limits import settings_from


def test_without_variables_it_is_a_real_time_server_on_port_8080_with_the_platforms_limit():
    settings = settings_from({})
    assert (settings.port, settings.batch, settings.max_payload) == (8080, False, 6 * 2**20)


def test_the_platforms_variables_are_read():
    settings = settings_from(
        {"SAGEMAKER_BIND_TO_PORT": "9000", "SAGEMAKER_BATCH": "true", "SAGEMAKER_MAX_PAYLOAD_IN_MB": "20"}
    )
    assert (settings.port, settings.batch, settings.max_payload_mb) == (9000, True, 20)


def test_no_limit_means_the_largest_that_the_platform_has():
    assert settings_from({"SAGEMAKER_MAX_PAYLOAD_IN_MB": "0"}).max_payload_mb == 100


def test_payload_times_concurrency_stays_within_the_platforms_limit():
    for payload in (1, 6, 40, 100):
        settings = settings_from({"SAGEMAKER_MAX_PAYLOAD_IN_MB": str(payload)})
        assert 1 <= settings.concurrent_transforms <= max(1, 100 // payload)


def test_a_port_given_as_a_flag_wins():
    assert settings_from({"SAGEMAKER_BIND_TO_PORT": "9000"}, port=0).port == 0


def test_what_decoding_may_cost_can_be_set():
    settings = settings_from(
        {
            "TRAPLINE_MAX_PIXELS": "60000000",
            "TRAPLINE_MAX_SECONDS": "2.5",
            "TRAPLINE_MAX_REQUEST_SECONDS": "9",
        }
    )
    assert (settings.budget.max_pixels, settings.budget.max_seconds) == (60_000_000, 2.5)
    assert settings.request_seconds == 9
    assert settings.max_pixels_in_flight >= 100_000_000


def test_no_image_may_have_more_pixels_than_all_that_are_decoded_together():
    settings = settings_from({"TRAPLINE_MAX_PIXELS_IN_FLIGHT": "1000000", "SAGEMAKER_BATCH": "true"})
    assert settings.budget.max_pixels == settings.max_pixels_in_flight == 1_000_000


def test_in_batch_a_request_may_take_as_long_as_it_needs_and_is_not_hurried():
    settings = settings_from({"SAGEMAKER_BATCH": "true"})
    assert settings.request_seconds == float("inf")
    assert settings.pace.min_rate == 0
    assert settings_from({}).request_seconds == 30
    assert settings_from({}).pace.min_rate > 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SAGEMAKER_BIND_TO_PORT", "http"),
        ("SAGEMAKER_BIND_TO_PORT", "70000"),
        ("SAGEMAKER_BATCH", "perhaps"),
        ("TRAPLINE_MAX_BATCH", "0"),
        ("TRAPLINE_MAX_DELAY_MS", "nan"),
        ("TRAPLINE_QUEUE", "-1"),
        ("TRAPLINE_PRECISION", "int4"),
        ("TRAPLINE_QUEUE_MB", "5"),  # less than one body
        ("TRAPLINE_MAX_PIXELS", "200000000"),
        ("TRAPLINE_MAX_SECONDS", "0"),
        ("TRAPLINE_MAX_REQUEST_SECONDS", "nan"),
        ("TRAPLINE_MAX_PIXELS_IN_FLIGHT", "many"),
        ("TRAPLINE_MAX_CONNECTIONS", "1"),
    ],
)
def test_an_impossible_value_is_refused_by_the_name_of_its_variable(name, value):
    with pytest.raises(UsageError, match=f"{name}={value}"):
        settings_from({name: value})
