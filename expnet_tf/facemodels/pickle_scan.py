"""The instructions of a pickle, looked over before it is read: what no array needs, and what takes without end.

A few bytes can ask for much: a place in the machine's memory whose number alone makes it huge, or tuples of one tuple
twice, of that one twice, and so on, which as the key of a dict take for ever to hash. So the stack is followed here,
with the weight of each tuple in place of the tuple.
"""

from __future__ import annotations

import pickle
import pickletools
from typing import Any

INSTRUCTIONS = 100_000  # FLAME takes some hundreds
WEIGHT = 100_000  # members of a tuple and of the tuples in it, counted as often as they are met
# Makers of instances in ways that no array needs, and persistent or registered objects.
FORBIDDEN = {"INST", "OBJ", "NEWOBJ_EX", "PERSID", "BINPERSID", "EXT1", "EXT2", "EXT4", "DUP", "NEXT_BUFFER"}
TUPLES = {"EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "FROZENSET"}
PUTS, GETS = {"PUT", "BINPUT", "LONG_BINPUT"}, {"GET", "BINGET", "LONG_BINGET"}


class Refused(pickle.UnpicklingError):
    """The pickle asks for something that arrays do not need."""


def look_over(data: bytes) -> None:
    """Raises Refused for such a pickle, and ValueError or IndexError for a damaged one."""
    machine = _Weights()
    for number, (instruction, argument, _) in enumerate(pickletools.genops(data), start=1):
        if number > INSTRUCTIONS:
            raise Refused(f"has more than {INSTRUCTIONS:,} instructions")
        if instruction.name in FORBIDDEN:
            raise Refused(f"has the instruction {instruction.name}")
        if instruction.name in PUTS and int(argument or 0) > number:
            raise Refused("numbers its memory out of order")
        machine.step(instruction, argument)


class _Weights:
    """The pickle machine with weights for values: those of tuples, and 1 for anything else."""

    def __init__(self) -> None:
        self._stack: list[int] = []
        self._marks: list[int] = []  # heights of the stack
        self._memory: dict[int, int] = {}

    def step(self, instruction: Any, argument: Any) -> None:
        name, before, after = instruction.name, instruction.stack_before, instruction.stack_after
        if name == "MARK":
            self._marks.append(len(self._stack))
        elif name in PUTS:
            self._memory[argument] = self._stack[-1]
        elif name == "MEMOIZE":
            self._memory[len(self._memory)] = self._stack[-1]
        elif name in GETS:
            self._stack.append(self._memory[argument])
        elif name == "POP" and self._marks and self._marks[-1] == len(self._stack):
            self._marks.pop()  # of a mark
        else:
            taken = self._take(before)
            weight = 1 + sum(taken) if name in TUPLES else 1
            if weight > WEIGHT:
                raise Refused("nests tuples in tuples")
            self._stack += [weight] * len(after)

    def _take(self, before: list[Any]) -> list[int]:
        """The values that an instruction takes: some from the top, and with a mark all down to it."""
        taken: list[int] = []
        count = len(before)
        if pickletools.markobject in before:
            height = self._marks.pop()
            taken, self._stack = self._stack[height:], self._stack[:height]
            count = before.index(pickletools.markobject)
        if count > len(self._stack):
            raise ValueError("its stack is empty")
        if count:
            taken, self._stack = taken + self._stack[-count:], self._stack[:-count]
        return taken
