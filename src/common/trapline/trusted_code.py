"""Whether the code that a model brings is code that may run: that is decided by its digest.

A model.tar.gz holds `code/`, and whoever can write the archive can write anything into it. What serves a
model therefore runs code of its own (the image's, or that of the checkout), unless TRAPLINE_TRUSTED_CODE
names the digest of the model's `code/`, or it is that of a release. The pipeline puts the digest of the code
that it ships there.

Run in a container: python3 -IS trusted_code.py MODEL OWN prints the script that serves. It uses the standard
library alone.
"""

import hashlib
import os
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

TRUSTED = "TRAPLINE_TRUSTED_CODE"  # digests with commas between them, or ANY
ANY = "any"  # whatever the model brings: the user's own word for it
SCRIPT = "serve.py"
DIGEST = re.compile("[0-9a-f]{64}")
# Digest of a release's code/ -> its version. A release cannot hold its own, which is that of the code here.
RELEASED: dict[str, str] = {}
WITHOUT_EFFECT = {"requirements.txt"}  # at the top; nothing installs it where a model is served


def digest_of(files: Iterable[tuple[str, Path]]) -> str:
    """SHA-256 over (name inside code/, file) pairs, in any order: equal names and contents, equal digest."""
    digest = hashlib.sha256()
    for name, path in sorted(files):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").digest()
        digest.update(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest() + content)
    return digest.hexdigest()


def code_digest(code: Path) -> str | None:
    """The digest of a model's `code` folder; None where it holds more than plain Python files.

    A link, a compiled module or its cache could take the place of what the digest stands for.
    """
    found = {path.relative_to(code).as_posix(): path for path in code.rglob("*")}
    if any(path.is_symlink() or not (path.is_file() or path.is_dir()) for path in found.values()):
        return None
    files = [(name, path) for name, path in found.items() if path.is_file() and name not in WITHOUT_EFFECT]
    return digest_of(files) if all(path.suffix == ".py" for _, path in files) else None


def serving_script(model: Path, own: Path, environment: Mapping[str, str]) -> tuple[Path, str]:
    """The script that serves a model folder, and in one line whose it is and why.

    `own`: the script that comes with the image or the checkout. It is taken unless `environment` trusts the
    digest of the model's code/, or a release had it. Raises ValueError where TRAPLINE_TRUSTED_CODE is neither
    digests nor `any`.
    """
    words = [word.strip() for word in environment.get(TRUSTED, "").split(",") if word.strip()]
    if wrong := [word for word in words if word != ANY and not DIGEST.fullmatch(word)]:
        raise ValueError(f"{TRUSTED}: {wrong[0]!r} is no SHA-256 digest; give digests, or {ANY}")
    script = model / "code" / SCRIPT
    if not script.is_file():
        return own, "the model brings no code: own code serves it"
    if ANY in words:
        return script, "the model's own code serves it, unchecked, as was asked for"
    found = code_digest(model / "code") if words or RELEASED else None
    if found in words:
        return script, f"the model's own code serves it; its digest is trusted: {found}"
    if found in RELEASED:
        return script, f"the model's own code serves it, which is that of release {RELEASED[found]}"
    why = "its digest is none that is trusted" if words else "nothing is trusted"
    return own, f"own code serves the model, not the code/ in it ({why}; serve --trust-code runs it)"


def main() -> int:
    """Print the script; whose it is goes to the log."""
    model, own = map(Path, sys.argv[1:3])
    try:
        script, why = serving_script(model, own, os.environ)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(why, file=sys.stderr)
    print(script)
    return 0


if __name__ == "__main__":
    sys.exit(main())
