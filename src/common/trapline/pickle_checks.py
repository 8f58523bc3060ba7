"""Pickles of strangers, looked at before they are read: what they would take is bounded first.

No code runs by looking. A pickle is a small program: with a few hundred bytes it can build a tuple whose hash
takes a century, for it holds another twice, which holds another twice, and so on; or one so deep that its
hash overflows the stack. Neither can be interrupted, so such pickles are not begun.
"""

import io
import pickle
import pickletools
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

MAX_STEPS = 1_000_000  # opcodes; a model of a thousand tensors has 30,000, a batch of CIFAR-10 60,000
MAX_TUPLE_ITEMS = 1_000_000  # what is in it, and in the tuples in it, counted as often as it comes
DEEPEST_TUPLE = 100
ZIP_START = b"PK\x03\x04"
LEGACY_PICKLES = 5  # before the tensors: a number, a version, the system, the object, the tensors' keys
MAX_PICKLE_BYTES = 256 << 20  # bytes
SETS = ("EMPTY_SET", "ADDITEMS", "FROZENSET")
TUPLES = ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_TUPLE")
GETS, PUTS = ("GET", "BINGET", "LONG_BINGET"), ("PUT", "BINPUT", "LONG_BINPUT")
_Value = tuple[int, int]  # what a hash would take: how many things are in it, and how deep
PLAIN: _Value = (1, 0)


@dataclass
class _Machine:
    """What the pickle's stack and memory would hold, as far as tuples are concerned."""

    length: int  # of the pickle
    stack: list[_Value | None] = field(default_factory=list)  # None: a mark
    memory: dict[int, _Value] = field(default_factory=dict)

    def step(self, opcode: pickletools.OpcodeInfo, argument: Any) -> None:
        """Do what `opcode` does. UnpicklingError: that is absurd; LookupError: it is damaged."""
        name = opcode.name
        if name in GETS:
            self.stack.append(self.memory[argument])
        elif name in PUTS:
            if argument > self.length:
                raise pickle.UnpicklingError(f"it numbers something {argument}")
            self.memory[argument] = self._top()
        elif name == "MEMOIZE":
            self.memory[len(self.memory)] = self._top()
        elif name == "DUP":
            self.stack.append(self._top())
        elif name == "MARK":
            self.stack.append(None)
        else:
            self._apply(opcode)

    def _top(self) -> _Value:
        return self.stack[-1] or PLAIN

    def _apply(self, opcode: pickletools.OpcodeInfo) -> None:
        """Take what the opcode takes, above a mark and below it, and put down what it leaves."""
        taken: list[_Value] = []
        below = opcode.stack_before
        if pickletools.markobject in below:
            while (value := self.stack.pop()) is not None:
                taken.append(value)
            below = below[: below.index(pickletools.markobject)]
        taken += [self.stack.pop() or PLAIN for _ in below]
        if opcode.stack_after:
            self.stack.append(_tuple_of(taken) if opcode.name in TUPLES else PLAIN)


def _tuple_of(values: list[_Value]) -> _Value:
    size, depth = 1 + sum(size for size, _ in values), 1 + max((depth for _, depth in values), default=0)
    if size > MAX_TUPLE_ITEMS or depth > DEEPEST_TUPLE:
        raise pickle.UnpicklingError("it holds tuples of absurd size inside one another")
    return size, depth


def check_pickle(data: bytes, *, sets: bool = True) -> None:
    """Check the first pickle in `data`; what lies behind it does not matter.

    sets: whether it may hold sets. Raises pickle.UnpicklingError where it would take absurd time or memory,
    and whatever its damage leads to where it is none.
    """
    _check(io.BytesIO(data), len(data), sets)


def check_pickled_file(path: Path) -> None:
    """Check the pickles in a file of `torch.save`, of its zip format or of the one before it.

    Raises as `check_pickle` does; for a damaged file whatever its damage leads to.
    """
    with path.open("rb") as file:
        if file.read(len(ZIP_START)) != ZIP_START:
            file.seek(0)
            for _ in range(LEGACY_PICKLES):
                _check(file, path.stat().st_size, sets=True)
            return
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.rpartition("/")[2] == "data.pkl":
                with archive.open(name) as member:
                    data = member.read(MAX_PICKLE_BYTES + 1)
                if len(data) > MAX_PICKLE_BYTES:
                    raise pickle.UnpicklingError(f"its {name} has more than {MAX_PICKLE_BYTES >> 20} MiB")
                check_pickle(data)


def _check(stream: IO[bytes], length: int, sets: bool) -> None:
    machine = _Machine(length)
    for steps, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        if steps >= MAX_STEPS:
            raise pickle.UnpicklingError(f"it takes more than {MAX_STEPS:,} steps")
        if opcode.name in SETS and not sets:
            raise pickle.UnpicklingError("it holds a set")
        machine.step(opcode, argument)
