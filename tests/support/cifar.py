"""CIFAR-10's published layouts with a few random images a batch."""

import pickle

import numpy as np

CLASSES = ["airplane", "automobile", "bird"]
BATCHES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]


def random_batches(images=4, seed=0):
    """For each batch its labels and planes, uint8 (images, 3072)."""
    generator = np.random.default_rng(seed)
    return {
        name: (
            [number % len(CLASSES) for number in range(images)],
            generator.integers(0, 256, (images, 3072), dtype=np.uint8),
        )
        for name in BATCHES
    }


def write_binary(folder, batches):
    """The original binary version."""
    folder.mkdir(parents=True)
    for name, (labels, planes) in batches.items():
        records = np.column_stack([np.array(labels, dtype=np.uint8), planes])
        (folder / f"{name}.bin").write_bytes(records.tobytes())
    (folder / "batches.meta.txt").write_text("\n".join([*CLASSES, "", ""]))
    return folder


def write_python(folder, batches):
    """The python version, in the pickle protocol of Python 2, which wrote the published one."""
    folder.mkdir(parents=True)
    for name, (labels, planes) in batches.items():
        content = {"batch_label": text(name), "labels": value(labels), "data": array(planes)}
        (folder / name).write_bytes(pickled(content))
    (folder / "batches.meta").write_bytes(
        pickled({"label_names": b"(" + b"".join(map(text, CLASSES)) + b"l"})
    )
    return folder


def pickled(content):
    """The bytes of a dictionary of texts and pickled values."""
    items = b"".join(text(key) + made for key, made in content.items())
    return b"\x80\x02(" + items + b"d."


def text(words):
    """A text of Python 2."""
    return b"U" + bytes([len(words)]) + words.encode()


def value(plain):
    """Any plain value, as Python 3 pickles it."""
    return pickle.dumps(plain, 2)[2:-1]


def array(planes):
    """An array as NumPy 1 pickled it under Python 2."""
    data = planes.tobytes()
    empty = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n" + value((0,)) + text("b") + b"tR"
    kind = b"cnumpy\ndtype\n(" + text("u1") + b"I0\nI1\ntR(I3\n" + text("|") + b"NNNI-1\nI-1\nI0\ntb"
    state = b"(I1\n" + value(planes.shape) + kind + b"I00\nT" + len(data).to_bytes(4, "little") + data + b"tb"
    return empty + state
