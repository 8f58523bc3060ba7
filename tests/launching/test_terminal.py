"""What a person sees of a job, and what the log keeps."""

import io

import pytest

from trapline.launching.terminal import CLEAR_LINE, JobOutput, duration
from trapline.metrics import format_line, read_values


class Terminal(io.StringIO):
    def isatty(self):
        return True


def metric_line(epoch):
    return (format_line({"epoch": epoch, "val_loss": 1.5, "val_acc": 0.25, "epoch_s": 30.0}) + "\n").encode()


def test_the_log_keeps_every_byte(tmp_path):
    output = JobOutput(tmp_path / "log.txt", 3, io.StringIO())
    lines = [b"plain\n", b"\xff\xfe broken \r\n", metric_line(1), b"no end"]
    for line in lines:
        output.line(line)
    output.close()
    assert (tmp_path / "log.txt").read_bytes() == b"".join(lines)


def test_a_metric_line_is_followed_by_how_far_the_job_is(tmp_path):
    shown = io.StringIO()
    output = JobOutput(tmp_path / "log.txt", 3, shown)
    output.line(metric_line(1))
    output.close()
    assert shown.getvalue().splitlines()[1] == (
        "progress: epoch 1 of 3, log loss 1.500, accuracy 0.250, at most 1:00 left"
    )


def test_progress_is_for_the_eye_and_not_in_the_log(tmp_path):
    output = JobOutput(tmp_path / "log.txt", 3, io.StringIO())
    output.line(metric_line(2))
    output.close()
    log = (tmp_path / "log.txt").read_text()
    assert "progress" not in log
    assert read_values(log)["epoch"] == 2


def test_a_terminal_keeps_the_progress_in_its_last_line(tmp_path):
    shown = Terminal()
    output = JobOutput(tmp_path / "log.txt", 3, shown)
    output.line(metric_line(1))
    output.line(b"and then\n")
    output.close()
    assert f"{CLEAR_LINE}and then\nprogress: epoch 1 of 3" in shown.getvalue()
    assert shown.getvalue().endswith(CLEAR_LINE)


def test_folders_of_the_job_are_shown_as_its_container_would(tmp_path):
    shown = io.StringIO()
    output = JobOutput(tmp_path / "log.txt", None, shown)
    output.folders = {b"/tmp/x/host": b"/opt/ml"}
    output.line(b"model: /tmp/x/host/model\n")
    output.close()
    assert shown.getvalue() == "model: /opt/ml/model\n"


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (61.4, "1:01"), (3723, "1:02:03")])
def test_durations_read_like_a_clock(seconds, text):
    assert duration(seconds) == text
