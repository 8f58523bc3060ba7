"""What file managers, network drives, cameras and office programs leave beside people's files: no inputs."""

import fnmatch
import re

# Compared without case. Whatever begins with a dot is hidden, and no input either: macOS's ._ twins of files,
# .DS_Store, .thumbnails, QNAP's .@__thumb, LibreOffice's .~lock files.
FOLDERS = (
    "@eadir", "@tmp", "@recycle", "@recently-snapshot", "@snapshots", "@sharebin",  # Synology, QNAP
    "#recycle", "#snapshot", "~snapshot",  # Synology, NetApp
    "$recycle.bin", "recycler", "recycled", "$extend", "system volume information", "found.[0-9][0-9][0-9]",
    "__macosx", "lost+found", "lost.dir", "*.lrdata", "*.photoslibrary",
)  # fmt: skip
FILES = (
    "thumbs.db",
    "ehthumbs.db",
    "ehthumbs_vista.db",
    "desktop.ini",
    "icon\r",
    "~$*",
    "*@synoeastream",
    "*@synoresource",
)


# One expression each: a million files are asked.
_KNOWN = {
    is_folder: re.compile("|".join(map(fnmatch.translate, patterns)))
    for is_folder, patterns in ((True, FOLDERS), (False, FILES))
}


def is_system_folder(name: str) -> bool:
    """Whether a folder of this name holds nothing that a person put there."""
    return is_system_name(name, is_folder=True)


def is_system_name(name: str, *, is_folder: bool) -> bool:
    """Whether a folder, or a file, of this name is none that a person put there."""
    return name.startswith(".") or _KNOWN[is_folder].match(name.lower()) is not None
