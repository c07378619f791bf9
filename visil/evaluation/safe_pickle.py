"""Published pickles read without unpickling: only plain containers, text and numbers come out.

    annotation.pickle ─► [its instructions, one by one] ─► dict, list, tuple, set, frozenset, text, numbers, None
                         this module

A pickle is a program: loading one can run anything. Here its instructions are listed by `pickletools` and carried out
by a small machine that knows containers and values; nothing is imported or called. Four names of classes are
understood (`set`, `frozenset`, `OrderedDict`, `defaultdict`), as names of containers. Everything else is refused.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from visil.errors import DataError
from visil.evaluation.tables import check_regular

MAX_BYTES = 64_000_000  # the largest published annotation has 6 MB
MAX_INSTRUCTIONS = 10_000_000
MAX_ITEMS = 5_000_000  # items of all containers, shared ones counted as often as they are met
MAX_DEPTH = 12

_VALUES = frozenset(
    "NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT UNICODE BINUNICODE "
    "SHORT_BINUNICODE BINUNICODE8 STRING BINSTRING SHORT_BINSTRING".split()
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_SCALARS = (str, int, float, type(None))  # bool is an int
_MARK = object()


class _Refused(Exception):
    """Why a pickle is not read."""


class _Container:
    """The name of a class that stands for a container."""

    def __init__(self, make: Callable[[tuple[Any, ...]], Any]) -> None:
        self.make = make


def _only_argument(arguments: tuple[Any, ...]) -> list[Any]:
    if len(arguments) != 1 or not isinstance(arguments[0], list | tuple | set | frozenset):
        raise _Refused("a set is not made of one list")
    return list(arguments[0])


def _pairs(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    result: dict[Any, Any] = {}
    for pair in _only_argument(arguments) if arguments else []:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise _Refused("a dictionary is not made of pairs")
        result |= _items(pair)
    return result


_SET = _Container(lambda arguments: set(_keys(_only_argument(arguments) if arguments else [])))
_FROZENSET = _Container(lambda arguments: frozenset(_keys(_only_argument(arguments) if arguments else [])))
_CONTAINERS = {
    **{f"{module} set": _SET for module in ("builtins", "__builtin__")},
    **{f"{module} frozenset": _FROZENSET for module in ("builtins", "__builtin__")},
    "collections OrderedDict": _Container(_pairs),
    "collections defaultdict": _Container(lambda arguments: {}),  # its only argument makes missing values
}


def read_pickle(path: Path) -> Any:
    """The value in a pickle of plain containers, text and numbers.

    Sets and keys of dictionaries may hold text, numbers and None only.

    Raises:
        DataError: the file cannot be read, holds anything else, or is larger than the limits above.
    """
    check_regular(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path}: a pickle of more than {MAX_BYTES // 10**6} MB is not read")
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        value = _Machine().run(data)
        _check_size(value)
    except _Refused as refused:
        raise DataError(f"{path}: is not read: {refused}; visil never unpickles, convert it to JSON") from None
    except (ValueError, IndexError, KeyError, TypeError) as error:  # what pickletools and the stack say of damage
        raise DataError(f"{path}: is no complete pickle of plain values ({type(error).__name__})") from error
    return value


class _Machine:
    """Stack and memo of a pickle, with the instructions of plain values."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, data: bytes) -> Any:
        """Carry out all instructions; the value that is left."""
        for number, (opcode, argument, _) in enumerate(_instructions(data)):
            if number >= MAX_INSTRUCTIONS:
                raise _Refused(f"it has more than {MAX_INSTRUCTIONS} instructions")
            if opcode in _VALUES:
                self.stack.append(_CONSTANTS.get(opcode, argument))
            elif opcode == "STOP":
                break
            else:
                step = getattr(self, f"do_{opcode.lower()}", None)
                if step is None:
                    raise _Refused(f"it has the instruction {opcode}, which plain values do not need")
                step(argument)
        (value,) = self.stack
        return value

    def since_mark(self) -> list[Any]:
        """Take what lies above the last mark."""
        for position in range(len(self.stack) - 1, -1, -1):
            if self.stack[position] is _MARK:
                items = self.stack[position + 1 :]
                del self.stack[position:]
                return items
        raise ValueError("no mark")

    def do_proto(self, version: int) -> None: ...

    def do_frame(self, length: int) -> None: ...

    def do_mark(self, _: None) -> None:
        self.stack.append(_MARK)

    def do_pop(self, _: None) -> None:
        self.stack.pop()

    def do_pop_mark(self, _: None) -> None:
        self.since_mark()

    # --- memo ---

    def do_put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    do_binput = do_long_binput = do_put

    def do_memoize(self, _: None) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def do_get(self, index: int) -> None:
        self.stack.append(self.memo[index])

    do_binget = do_long_binget = do_get

    # --- containers ---

    def do_empty_list(self, _: None) -> None:
        self.stack.append([])

    def do_list(self, _: None) -> None:
        self.stack.append(self.since_mark())

    def do_append(self, _: None) -> None:
        item = self.stack.pop()
        _as(list, self.stack[-1]).append(item)

    def do_appends(self, _: None) -> None:
        items = self.since_mark()
        _as(list, self.stack[-1]).extend(items)

    def do_empty_tuple(self, _: None) -> None:
        self.stack.append(())

    def do_tuple(self, _: None) -> None:
        self.stack.append(tuple(self.since_mark()))

    def do_tuple1(self, _: None) -> None:
        self.stack[-1:] = [(self.stack[-1],)]

    def do_tuple2(self, _: None) -> None:
        self.stack[-2:] = [(self.stack[-2], self.stack[-1])]

    def do_tuple3(self, _: None) -> None:
        self.stack[-3:] = [(self.stack[-3], self.stack[-2], self.stack[-1])]

    def do_empty_dict(self, _: None) -> None:
        self.stack.append({})

    def do_dict(self, _: None) -> None:
        self.stack.append(_items(self.since_mark()))

    def do_setitem(self, _: None) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        _as(dict, self.stack[-1]).update(_items([key, value]))

    def do_setitems(self, _: None) -> None:
        items = self.since_mark()
        _as(dict, self.stack[-1]).update(_items(items))

    def do_empty_set(self, _: None) -> None:
        self.stack.append(set())

    def do_additems(self, _: None) -> None:
        items = self.since_mark()
        _as(set, self.stack[-1]).update(_keys(items))

    def do_frozenset(self, _: None) -> None:
        self.stack.append(frozenset(_keys(self.since_mark())))

    # --- the four classes ---

    def do_global(self, name: str) -> None:
        if name not in _CONTAINERS:
            raise _Refused(f"it wants {name[:80].replace(' ', '.')}")
        self.stack.append(_CONTAINERS[name])

    def do_stack_global(self, _: None) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.do_global(f"{module} {name}" if isinstance(name, str) and isinstance(module, str) else "something unnamed")

    def do_reduce(self, _: None) -> None:
        arguments, container = self.stack.pop(), self.stack.pop()
        self.stack.append(_as(_Container, container).make(_as(tuple, arguments)))


def _instructions(data: bytes) -> Iterator[tuple[str, Any, int | None]]:
    for opcode, argument, position in pickletools.genops(data):
        yield opcode.name, argument, position


def _as(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise _Refused(f"it treats a {type(value).__name__} as a {kind.__name__.strip('_').lower()}")
    return value


def _keys(values: Iterable[Any]) -> Iterator[Any]:
    """Only scalars may be keys: the hash of deep tuples could overflow the stack."""
    for value in values:
        if not isinstance(value, _SCALARS):
            raise _Refused(f"it has a {type(value).__name__} in a set or as a key")
        yield value


def _items(keys_and_values: list[Any] | tuple[Any, ...]) -> dict[Any, Any]:
    return dict(zip(_keys(keys_and_values[::2]), keys_and_values[1::2], strict=True))


def _check_size(value: Any) -> None:
    """Refuse what is deep, endless or far larger when walked than in the file."""
    level, num_items = [value], 0
    for _ in range(MAX_DEPTH + 1):
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                inner.extend(item.values())
                num_items += len(item)
            elif isinstance(item, list | tuple | set | frozenset):
                inner.extend(item)
            elif not isinstance(item, _SCALARS):
                raise _Refused("it holds the name of a class")
            if num_items + len(inner) > MAX_ITEMS:
                raise _Refused(f"it unfolds to more than {MAX_ITEMS} items")
        num_items += len(inner)
        level = inner
        if not level:
            return
    raise _Refused(f"it is nested more than {MAX_DEPTH} deep")
