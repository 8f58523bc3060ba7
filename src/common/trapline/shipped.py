"""What jobs are given: the entry points and, beside them, the rooms of the library that they use.

One list for all who copy it or make a digest of it: the staged folder of a job, the keys of checkpoints and
prepared sets, the image, a model's code/. An edit of what starts jobs changes none of them.
"""

from pathlib import Path

from trapline.storage import source_files

LIBRARY = Path(__file__).resolve().parent
PACKAGE = "trapline"
# Rooms; docker/Dockerfile.dockerignore names them, too. `front` is for programs of others.
NOT_SHIPPED = frozenset({"front", "launching", "pipeline"})


def shipped_files(entry_points: Path | None) -> list[tuple[str, Path]]:
    """(name beside the entry points, file) of all Python files, by name; None: of the library alone."""
    files: dict[str, Path] = {}
    if entry_points is not None:
        files = {path.relative_to(entry_points).as_posix(): path for path in source_files(entry_points)}
    for path in source_files(LIBRARY):
        inside = path.relative_to(LIBRARY)
        if inside.parts[0] not in NOT_SHIPPED:
            files[f"{PACKAGE}/{inside.as_posix()}"] = path
    return sorted(files.items())
