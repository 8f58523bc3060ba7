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
from typing import IO, NamedTuple

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


class _Effect(NamedTuple):
    """What an opcode does to the stack: how much it takes above and below a mark, and what it leaves."""

    takes: int
    to_mark: bool
    leaves: int
    makes_tuple: bool


def _effect(opcode: pickletools.OpcodeInfo) -> _Effect:
    before, to_mark = opcode.stack_before, pickletools.markobject in opcode.stack_before
    takes = before.index(pickletools.markobject) if to_mark else len(before)
    return _Effect(takes, to_mark, len(opcode.stack_after), opcode.name in TUPLES)


EFFECTS = {opcode.name: _effect(opcode) for opcode in pickletools.opcodes}


@dataclass
class _Machine:
    """What the pickle's stack and memory would hold, as far as tuples are concerned."""

    stack: list[_Value | None] = field(default_factory=list)  # None: a mark
    memory: dict[int, _Value] = field(default_factory=dict)

    def step(self, name: str, argument: object) -> None:
        """Do what the opcode `name` does. UnpicklingError: that is absurd; LookupError: it is damaged."""
        if name in GETS:
            self.stack.append(self.memory[_number(argument)])
        elif name in PUTS:
            self.memory[_number(argument)] = self._top()
        elif name == "MEMOIZE":
            self.memory[len(self.memory)] = self._top()
        elif name == "DUP":
            self.stack.append(self._top())
        elif name == "MARK":
            self.stack.append(None)
        else:
            self._apply(EFFECTS[name])

    def _top(self) -> _Value:
        return self.stack[-1] or PLAIN

    def _apply(self, effect: _Effect) -> None:
        taken: list[_Value] = []
        if effect.to_mark:
            while (value := self.stack.pop()) is not None:
                taken.append(value)
        taken += [self.stack.pop() or PLAIN for _ in range(effect.takes)]
        if effect.leaves:
            self.stack.append(_tuple_of(taken) if effect.makes_tuple else PLAIN)


def _tuple_of(values: list[_Value]) -> _Value:
    size, depth = 1 + sum(size for size, _ in values), 1 + max((depth for _, depth in values), default=0)
    if size > MAX_TUPLE_ITEMS or depth > DEEPEST_TUPLE:
        raise pickle.UnpicklingError("it holds tuples of absurd size inside one another")
    return size, depth


def _number(argument: object) -> int:
    return argument if isinstance(argument, int) else int(str(argument))


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
    machine = _Machine()
    for steps, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        if steps >= MAX_STEPS:
            raise pickle.UnpicklingError(f"it takes more than {MAX_STEPS:,} steps")
        if opcode.name in PUTS and _number(argument) > length:
            raise pickle.UnpicklingError(f"it numbers something {argument}")
        if opcode.name in SETS and not sets:
            raise pickle.UnpicklingError("it holds a set")
        machine.step(opcode.name, argument)
