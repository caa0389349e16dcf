"""ONNX models as bytes: weights that lie in another file are put in, and nothing else may lie outside.

The graphs of a bundle share such a file ("external data"). For a model that comes as bytes, ONNX Runtime reads it from
the working directory, earlier versions from any path: a stranger's model could carry the caller's files into its
answers. What is read here is the protobuf wire format (https://protobuf.dev/programming-guides/encoding).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

#: Numbers of fields in ``onnx.proto``: of a model, of a graph, of a tensor.
_GRAPH, _INITIALIZER = 7, 5
_RAW_DATA, _EXTERNAL_DATA, _DATA_LOCATION = 9, 13, 14
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

#: The key without which no tensor, wherever in the model, can name a file.
_NAMES_A_FILE = b"location"

#: What a field holds: a number, or bytes.
Value = int | memoryview


def self_contained(data: bytes, read: Callable[[str], bytes]) -> bytes:
    """The model with the bytes of its initializers that are kept in another file; ``read`` is asked for it by name.

    Raises ``ValueError`` where ``data`` is no valid protobuf, a tensor lies outside the file that it names, or any
    other part of the model names a file.
    """
    files: dict[str, memoryview] = {}
    used: dict[str, int] = {}

    def model(view: Value) -> bytes:
        return b"".join(_field(n, graph(value)) if n == _GRAPH else raw for n, value, raw in _fields(view))

    def graph(view: Value) -> bytes:
        return b"".join(_field(n, tensor(value)) if n == _INITIALIZER else raw for n, value, raw in _fields(view))

    def tensor(view: Value) -> bytes:
        fields = list(_fields(view))
        entries = [dict(_texts(value)) for number, value, _ in fields if number == _EXTERNAL_DATA]
        if not entries:
            return b"".join(raw for *_, raw in fields)
        location = {entry.get(1, ""): entry.get(2, "") for entry in entries}
        name = location.get("location", "")
        if name not in files:
            if files:
                raise ValueError("its tensors are kept in more than one file")
            files[name] = memoryview(read(name))
        try:
            offset, length = int(location.get("offset", 0)), int(location["length"])
        except (KeyError, ValueError):
            raise ValueError("a tensor of it does not say where its bytes lie") from None
        used[name] = used.get(name, 0) + length
        if not (0 <= offset <= offset + length and max(offset + length, used[name]) <= len(files[name])):
            raise ValueError(f"a tensor of it lies outside {name}, or they overlap there")
        others = b"".join(raw for number, _, raw in fields if number not in (_EXTERNAL_DATA, _DATA_LOCATION))
        return others + _field(_RAW_DATA, files[name][offset : offset + length])

    embedded = model(memoryview(data))
    if _NAMES_A_FILE in embedded:
        raise ValueError("a tensor of it is kept in another file")
    return embedded


def _texts(view: Value) -> Iterator[tuple[int, str]]:
    """The fields of a message of texts."""
    for number, held, _ in _fields(view):
        yield number, "" if isinstance(held, int) else bytes(held).decode(errors="replace")


def _field(number: int, value: bytes | memoryview) -> bytes:
    head, length = number << 3 | _BYTES, len(value)
    varint = bytearray([head])
    while length > 0x7F:
        varint.append(length & 0x7F | 0x80)
        length >>= 7
    varint.append(length)
    return b"".join((varint, value))


def _fields(view: Value) -> Iterator[tuple[int, Value, memoryview]]:
    """Number, value and all bytes of each field of one message; a value that is no number comes as its bytes."""
    if isinstance(view, int):
        raise ValueError("it is no valid protobuf")
    at, end = 0, len(view)
    while at < end:
        begin = at
        tag, at = _varint(view, at)
        value: Value
        if tag & 7 == _VARINT:
            value, at = _varint(view, at)
        else:
            if tag & 7 == _BYTES:
                length, at = _varint(view, at)
            elif tag & 7 in (_FIXED64, _FIXED32):
                length = 8 if tag & 7 == _FIXED64 else 4
            else:
                raise ValueError("it is no valid protobuf")
            if length > end - at:
                raise ValueError("it is truncated")
            value, at = view[at : at + length], at + length
        yield tag >> 3, value, view[begin:at]


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
