"""ONNX models as bytes: weights that lie in another file are put in, and nothing else may lie outside.

The graphs of a bundle share such a file ("external data"). For a model that comes as bytes, ONNX Runtime reads it from
the working directory, earlier versions from any path: a stranger's model could carry the caller's files into its
answers. Both functions walk the protobuf wire format (https://protobuf.dev/programming-guides/encoding) along the
fields of ``onnx.proto``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

#: Deepest nesting of messages (graphs in attributes of nodes), most fields; real models stay far below.
_MAX_DEPTH = 64
_MAX_FIELDS = 250_000

#: For each message the fields that lead to a tensor: number of the field, its message.
_PATHS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_GRAPH, _INITIALIZER = 7, 5
_RAW_DATA, _EXTERNAL_DATA, _DATA_LOCATION = 9, 13, 14
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def with_weights(data: bytes, read: Callable[[str], bytes]) -> bytes:
    """The model with the bytes of its initializers that are kept in another file; ``read`` is asked for it by name.

    Raises ``ValueError`` where ``data`` is no valid protobuf, or a tensor lies outside the file that it names.
    """
    files: dict[str, memoryview] = {}
    taken: dict[str, int] = {}

    def model(number: int, value: int | memoryview) -> bytes | None:
        return _rewritten(value, graph) if number == _GRAPH else None

    def graph(number: int, value: int | memoryview) -> bytes | None:
        return whole(value) if number == _INITIALIZER else None

    def whole(value: int | memoryview) -> bytes | None:
        fields = _some_fields(_message(value))
        entries = [dict(_entry(_message(held))) for number, held, _ in fields if number == _EXTERNAL_DATA]
        if not entries:
            return None
        where = {entry.get(1, ""): entry.get(2, "") for entry in entries}
        name = where.get("location", "")
        if name not in files:
            if files:
                raise ValueError("its tensors are kept in more than one file")
            files[name] = memoryview(read(name))
        try:
            offset, length = int(where.get("offset", 0)), int(where["length"])
        except (KeyError, ValueError):
            raise ValueError("a tensor of it does not say where its bytes lie") from None
        taken[name] = taken.get(name, 0) + length
        if not (0 <= offset <= offset + length and max(offset + length, taken[name]) <= len(files[name])):
            raise ValueError(f"a tensor of it lies outside {name}, or they overlap there")
        own = b"".join(raw for number, _, raw in fields if number not in (_EXTERNAL_DATA, _DATA_LOCATION))
        return own + _field(_RAW_DATA, files[name][offset : offset + length])

    return _rewritten(memoryview(data), model)


def _rewritten(value: int | memoryview, change: Callable[[int, int | memoryview], bytes | None]) -> bytes:
    """A message with those fields' values exchanged for which ``change`` gives others."""
    parts: list[bytes | memoryview] = []
    for number, held, raw in _some_fields(_message(value)):
        changed = change(number, held)
        parts.append(raw if changed is None else _field(number, changed))
    return b"".join(parts)


def _entry(view: memoryview) -> Iterator[tuple[int, str]]:
    return ((number, bytes(_message(held)).decode(errors="replace")) for number, held, _ in _fields(view))


def _some_fields(view: memoryview) -> list[tuple[int, int | memoryview, memoryview]]:
    found = list(islice(_fields(view), _MAX_FIELDS + 1))
    if len(found) > _MAX_FIELDS:
        raise ValueError("it has too many parts")
    return found


def _message(value: int | memoryview) -> memoryview:
    if not isinstance(value, memoryview):
        raise ValueError("it is no valid protobuf")
    return value


def _field(number: int, value: bytes | memoryview) -> bytes:
    head, length = number << 3 | _BYTES, len(value)
    varint = bytearray([head])
    while length > 0x7F:
        varint.append(length & 0x7F | 0x80)
        length >>= 7
    varint.append(length)
    return b"".join((varint, value))


def check_self_contained(data: bytes) -> None:
    """Raise ``ValueError`` unless ``data`` is protobuf in whose tensors no other file is named."""
    pending = [("model", memoryview(data), 0)]
    seen = 0
    while pending:
        message, view, depth = pending.pop()
        if depth > _MAX_DEPTH:
            raise ValueError("its messages are nested too deeply")
        for number, value, _ in _fields(view):
            seen += 1
            if seen > _MAX_FIELDS:
                raise ValueError("it has too many parts")
            if message == "tensor" and (number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value != 0)):
                raise ValueError("a tensor of it is kept in another file")
            inner = _PATHS[message].get(number)
            if inner is not None:
                pending.append((inner, _message(value), depth + 1))


def _fields(view: memoryview) -> Iterator[tuple[int, int | memoryview, memoryview]]:
    """Number, value and all bytes of each field of one message; a value that is no number comes as its bytes."""
    at, end = 0, len(view)
    while at < end:
        begin = at
        tag, at = _varint(view, at)
        # there are no other numbers, and C++ parsers drop the bits above: to them it is another field
        if not 0 < tag >> 3 < 1 << 29:
            raise ValueError("it is no valid protobuf")
        kind = tag & 7
        if kind == _VARINT:
            value, at = _varint(view, at)
            yield tag >> 3, value, view[begin:at]
            continue
        if kind == _BYTES:
            length, at = _varint(view, at)
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError("it is no valid protobuf")
        if length > end - at:
            raise ValueError("it is truncated")
        at += length
        yield tag >> 3, view[at - length : at], view[begin:at]


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for index in range(10):
        if at + index >= len(view):
            raise ValueError("it is truncated")
        byte = view[at + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, at + index + 1
    raise ValueError("it is no valid protobuf")
