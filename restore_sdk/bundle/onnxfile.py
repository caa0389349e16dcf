"""Whether an ONNX model stands on its own bytes alone, told without loading it.

A tensor of an ONNX model may be kept in another file ("external data"). For a model that comes as bytes, ONNX Runtime
reads that file from the working directory, earlier versions from any path: a stranger's model could carry the caller's
files into its answers. A bundle's graphs hold all their tensors; :func:`check_self_contained` finds those that do not.
It walks the protobuf wire format (https://protobuf.dev/programming-guides/encoding) along the fields of ``onnx.proto``
that lead to a tensor.
"""

from __future__ import annotations

from collections.abc import Iterator

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
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def check_self_contained(data: bytes) -> None:
    """Raise ``ValueError`` unless ``data`` is protobuf in whose tensors no other file is named."""
    pending = [("model", memoryview(data), 0)]
    seen = 0
    while pending:
        message, view, depth = pending.pop()
        if depth > _MAX_DEPTH:
            raise ValueError("its messages are nested too deeply")
        for number, value in _fields(view):
            seen += 1
            if seen > _MAX_FIELDS:
                raise ValueError("it has too many parts")
            if message == "tensor" and (number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value != 0)):
                raise ValueError("a tensor of it is kept in another file")
            inner = _PATHS[message].get(number)
            if inner is not None:
                if not isinstance(value, memoryview):
                    raise ValueError("it is no valid protobuf")
                pending.append((inner, value, depth + 1))


def _fields(view: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each field of one message; a value that is no number comes as its bytes."""
    at, end = 0, len(view)
    while at < end:
        tag, at = _varint(view, at)
        kind = tag & 7
        if kind == _VARINT:
            value, at = _varint(view, at)
            yield tag >> 3, value
            continue
        if kind == _BYTES:
            length, at = _varint(view, at)
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError("it is no valid protobuf")
        if length > end - at:
            raise ValueError("it is truncated")
        yield tag >> 3, view[at : at + length]
        at += length


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
