"""The code that a model brings runs only where its digest is trusted."""

import compileall
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from trapline import job_contract, trusted_code
from trapline.job_contract import shipped_files
from trapline.trusted_code import TRUSTED, code_digest, digest_of, serving_script

CHANGES = {
    "another line": lambda code: (code / "serve.py").write_text("print('else')"),
    "another file": lambda code: (code / "json.py").write_text(""),
    "another name": lambda code: (code / "trapline" / "a.py").rename(code / "trapline" / "b.py"),
    "a file elsewhere": lambda code: (code / "trapline" / "a.py").rename(code / "a.py"),
    "one file less": lambda code: (code / "trapline" / "a.py").unlink(),
    "a compiled module": lambda code: (code / "trapline" / "a.cpython-311-x86_64-linux-gnu.so").touch(),
    "a cache": lambda code: compileall.compile_dir(code, quiet=1),
    "a module without source": lambda code: (code / "trapline" / "c.pyc").touch(),
    "a link": lambda code: (code / "more").symlink_to("/usr/lib/python3"),
    "a link to a file": lambda code: (code / "x.py").symlink_to("serve.py"),
    "a path file": lambda code: (code / "x.pth").write_text("import os"),
    "requirements elsewhere": lambda code: (code / "trapline" / "requirements.txt").touch(),
    "a pipe": lambda code: os.mkfifo(code / "pipe.py"),
}


@pytest.fixture
def own(tmp_path):
    (tmp_path / "own.py").write_text("print('own')")
    return tmp_path / "own.py"


@pytest.fixture
def model(tmp_path):
    """A model folder with code, which was shipped from two folders."""
    scripts, library = tmp_path / "scripts", tmp_path / "library"
    for folder, name in ((scripts, "serve.py"), (library, "a.py"), (library, "b/c.py")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"print({name!r})")
        inside = tmp_path / "model" / "code" / ("trapline" if folder == library else "") / name
        inside.parent.mkdir(parents=True, exist_ok=True)
        inside.write_bytes((folder / name).read_bytes())
    return tmp_path / "model"


def test_what_was_shipped_and_what_a_model_holds_have_one_digest(model, monkeypatch):
    parent = model.parent
    monkeypatch.setattr(job_contract, "LIBRARY", parent / "library")
    digest = digest_of(shipped_files(parent / "scripts"))
    assert code_digest(model / "code") == digest
    compileall.compile_dir(parent / "scripts", quiet=1)
    assert digest_of(shipped_files(parent / "scripts")) == digest


def test_trusted_code_of_a_model_serves_it(model, own):
    trusted = {TRUSTED: f"{'0' * 64}, {code_digest(model / 'code')}"}
    assert serving_script(model, own, trusted)[0] == model / "code" / "serve.py"
    (model / "code" / "requirements.txt").write_text("torch")
    assert serving_script(model, own, trusted)[0] == model / "code" / "serve.py"


def test_the_code_of_a_release_serves_its_model_and_changed_code_does_not(model, own, monkeypatch):
    monkeypatch.setitem(trusted_code.RELEASED, code_digest(model / "code"), "0.9")
    script, why = serving_script(model, own, {})
    assert script == model / "code" / "serve.py"
    assert why.endswith("that of release 0.9")
    (model / "code" / "serve.py").write_text("changed")
    assert serving_script(model, own, {})[0] == own


@pytest.mark.parametrize("change", CHANGES)
def test_with_any_change_own_code_serves_it(model, own, change):
    trusted = {TRUSTED: code_digest(model / "code")}
    CHANGES[change](model / "code")
    script, why = serving_script(model, own, trusted)
    assert script == own
    assert "own code" in why


def test_without_a_word_nothing_of_a_model_runs_and_with_any_all_of_it(model, own):
    script, why = serving_script(model, own, {})
    assert script == own
    assert (
        why
        == "own code serves the model, not the code/ in it (nothing is trusted; serve --trust-code runs it)"
    )
    assert serving_script(model, own, {TRUSTED: ""})[0] == own
    assert serving_script(model, own, {TRUSTED: "any"})[0] == model / "code" / "serve.py"
    (model / "code" / "serve.py").unlink()
    assert serving_script(model, own, {TRUSTED: "any"})[0] == own


@pytest.mark.parametrize("words", ["yes", "ANY", "*", "0" * 63, "0" * 16, "0" * 64 + ",true"])
def test_a_word_that_is_no_digest_is_refused(model, own, words):
    with pytest.raises(ValueError, match=TRUSTED):
        serving_script(model, own, {TRUSTED: words})


def _serve(tmp_path, model, *words, **environment):
    """docker/serve with python and image of this machine in the places of the image's."""
    image = tmp_path / "image"
    (image / "trapline").mkdir(parents=True, exist_ok=True)
    (image / "trapline" / "trusted_code.py").write_bytes(Path(trusted_code.__file__).read_bytes())
    (image / "serve.py").write_text("import sys\nprint('own', *sys.argv[1:])")
    text = (ROOT / "docker" / "serve").read_text()
    script = text.replace("/opt/venv/bin/python3", sys.executable).replace("/opt/trapline", str(image))
    known = {"SM_MODEL_DIR": str(model), "PATH": os.environ["PATH"], **environment}
    return subprocess.run(["sh", "-c", script, "serve", *words], env=known, capture_output=True, text=True)


def test_serve_of_the_image_keeps_to_it(tmp_path, model):
    (model / "code" / "serve.py").write_text("import sys\nprint('the model', *sys.argv[1:])")
    done = _serve(tmp_path, model, "--port", "1")
    assert (done.stdout, done.returncode) == ("own --host 0.0.0.0 --port 1\n", 0)
    assert done.stderr.startswith("own code serves the model")
    trusted = _serve(tmp_path, model, **{TRUSTED: code_digest(model / "code")})
    assert trusted.stdout == "the model --host 0.0.0.0\n"
    asked = _serve(tmp_path, model, "--trust-code", "--port", "1")
    assert asked.stdout == "the model --host 0.0.0.0 --port 1\n"
    wrong = _serve(tmp_path, model, **{TRUSTED: "yes"})
    assert (wrong.stdout, wrong.returncode) == ("", 1)
    assert wrong.stderr.startswith(f"error: {TRUSTED}: 'yes' is no SHA-256 digest")
