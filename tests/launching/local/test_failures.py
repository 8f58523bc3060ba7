"""What a failed job says: its own words, else the toolkit's, else its log's; never nothing."""

import pytest

from trapline.launching.local.failures import failure_of

COMMAND = '\nCommand "torchrun --nnodes 2 train.py --arch resnet18 --weights none"'


@pytest.fixture
def nodes(tmp_path):
    """The folders of two nodes."""
    folders = [tmp_path / name for name in ("127.0.0.1", "127.0.0.2")]
    for folder in folders:
        (folder / "output").mkdir(parents=True)
    return folders


def said(nodes, code=1, log=None):
    return failure_of(nodes, code, log, "/opt/ml")


def write(folder, text, name="failure"):
    (folder / "output" / name).write_text(text)


def of_toolkit(message, code=1):
    return f'ExecuteUserScriptError:\nExitCode {code}\nErrorMessage "{message}"{COMMAND}'


def logged(tmp_path, *lines):
    (tmp_path / "log.txt").write_text("".join(f"{line}\n" for line in lines))
    return tmp_path / "log.txt"


@pytest.mark.parametrize("name", ["failure", "message"])
def test_a_jobs_own_words_are_shown_with_the_folders_as_the_job_sees_them(nodes, name):
    write(nodes[0], f"{nodes[0]}/input: holds no image\n", name)
    assert said(nodes) == "/opt/ml/input: holds no image"


def test_the_own_words_of_a_later_node_come_before_what_the_toolkit_says_of_the_first(nodes):
    write(nodes[0], of_toolkit("RuntimeError: connection closed by peer"))
    write(nodes[1], "out of memory: choose a smaller batch_size")
    assert said(nodes) == "out of memory: choose a smaller batch_size"


def test_of_the_toolkits_words_the_command_line_is_left_out(nodes):
    write(nodes[0], of_toolkit("RuntimeError: boom\n at layer 3"))
    assert said(nodes) == "the job's command ended with exit code 1: RuntimeError: boom\n at layer 3"


@pytest.mark.parametrize("written", [of_toolkit(""), of_toolkit(" \n"), "", "  \n", None])
def test_where_nothing_was_said_the_logs_last_exception_is(nodes, tmp_path, written):
    if written is not None:
        write(nodes[0], written)
    log = logged(
        tmp_path, "[node 1] Traceback (most recent call last):", '[node 1]   File "x.py", line 1',
        "[node 1] torch.distributed.DistNetworkError: The server socket has failed to listen (EADDRINUSE)",
        "[node 1] 2026 sagemaker-training-toolkit ERROR    ExecuteUserScriptError:", "[node 1] ExitCode 1",
        '[node 1] ErrorMessage ""',
    )  # fmt: skip
    assert said(nodes, log=log) == (
        f"the job ended with exit code 1 and left no message; its log {log} says: [node 1] "
        "torch.distributed.DistNetworkError: The server socket has failed to listen (EADDRINUSE)"
    )


def test_a_line_of_our_own_comes_before_an_exception(nodes, tmp_path):
    log = logged(tmp_path, "error: image_size 96 is too large", "ValueError: something else", "ExitCode 1")
    assert said(nodes, log=log).endswith("says: image_size 96 is too large")


def test_without_any_error_the_last_line_is_shown(nodes, tmp_path):
    assert said(nodes, log=logged(tmp_path, "epoch 1", "", "epoch 2", "  ")).endswith("ends with: epoch 2")


@pytest.mark.parametrize("there", [True, False])
def test_an_empty_log_and_none_at_all_are_said(nodes, tmp_path, there):
    log = logged(tmp_path) if there else tmp_path / "log.txt"
    assert said(nodes, log=log).endswith(f"its log {log} is empty" if there else "its log says more")
    assert said(nodes).startswith("the job ended with exit code 1 and left no message")


@pytest.mark.parametrize(("code", "written"), [(137, None), (-9, None), (1, of_toolkit("", -9))])
def test_a_killed_job_is_said_to_be_killed_with_the_likely_reason(nodes, code, written):
    if written:
        write(nodes[1], written)
    expected = "was killed by signal 9, as systems do where memory runs out, and left no message"
    assert expected in said(nodes, code)


def test_another_signal_has_no_such_reason(nodes):
    assert said(nodes, 143).startswith("the job was killed by signal 15 and left no message")


def test_only_the_end_of_a_large_log_is_read(nodes, tmp_path):
    log = logged(tmp_path, "ValueError: of long ago", *["x" * 1000] * 100)
    assert "of long ago" not in said(nodes, log=log)
