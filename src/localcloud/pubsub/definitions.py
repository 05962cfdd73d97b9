"""Does a message fit a schema? Avro and Protocol Buffers, in their binary and JSON encodings.

https://cloud.google.com/pubsub/docs/schemas
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from localcloud.pubsub.errors import InvalidArgument, shown
from localcloud.pubsub.resources import AVRO, JSON, PROTOBUF

MAX_DEFINITION_BYTES = 300_000
COMPILER_TIMEOUT_S = 60.0
_FILE = "schema.proto"

Fits = Callable[[bytes, int], bool]  # data, Encoding
# What fastavro raises about data or schemas that are wrong, beside its own errors, which are ValueErrors or these.
_AVRO_ERRORS = (ArithmeticError, AttributeError, EOFError, LookupError, RecursionError, TypeError, ValueError)


def compiled(kind: int, definition: str) -> bytes:
    """A definition in the form that `validator` takes: checked, and for Protocol Buffers a FileDescriptorSet.

    Takes a process, and so a moment, for Protocol Buffers.

    Raises:
        InvalidArgument: with what is wrong about it.
    """
    if not definition:
        raise InvalidArgument("schema.definition is empty")
    size = len(definition.encode())
    if size > MAX_DEFINITION_BYTES:
        raise InvalidArgument(f"schema.definition is {size} bytes; at most {MAX_DEFINITION_BYTES} are allowed")
    if kind == AVRO:
        _avro_schema(definition.encode())
        return definition.encode()
    if kind == PROTOBUF:
        descriptors = _run_protoc(definition)
        _message_class(descriptors)
        return descriptors
    raise InvalidArgument(f"schema.type is {kind}; expected AVRO or PROTOCOL_BUFFER")


@lru_cache(maxsize=64)
def validator(kind: int, compiled_definition: bytes) -> Fits:
    """Says of data and its encoding whether it is one whole message of the schema."""
    if kind == AVRO:
        schema = _avro_schema(compiled_definition)
        return lambda data, encoding: _is_avro(schema, data, encoding)
    message = _message_class(compiled_definition)
    return lambda data, encoding: _is_protobuf(message, data, encoding)


def _avro_schema(definition: bytes) -> Any:
    import fastavro
    from fastavro.schema import SchemaParseException, UnknownType

    try:
        return fastavro.parse_schema(json.loads(definition))
    except (SchemaParseException, UnknownType, *_AVRO_ERRORS) as error:
        raise InvalidArgument(f"schema.definition is no Avro schema: {shown(str(error))}") from error


def _is_avro(schema: Any, data: bytes, encoding: int) -> bool:
    import fastavro

    try:
        if encoding == JSON:
            records = list(fastavro.json_reader(io.StringIO(data.decode()), schema))
            return len(records) == 1 and bool(fastavro.validate(records[0], schema, raise_errors=False))
        stream = io.BytesIO(data)
        fastavro.schemaless_reader(stream, schema, None)
        return stream.tell() == len(data)
    except _AVRO_ERRORS:
        return False


def _run_protoc(definition: str) -> bytes:
    """The definition as a FileDescriptorSet, itself last; it can import nothing but Google's well-known types."""
    with tempfile.TemporaryDirectory(prefix="localcloud-schema-") as directory:
        source, target = Path(directory, _FILE), Path(directory, "descriptors")
        source.write_text(definition, encoding="utf-8")
        options = ["--include_imports", f"-I{directory}", f"--descriptor_set_out={target}"]
        command = [sys.executable, "-m", "grpc_tools.protoc", *options, _FILE]
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=COMPILER_TIMEOUT_S, check=False
        )
        if done.returncode != 0:
            # Where and what, among warnings: `.../schema.proto:2:7: Expected "{".`
            complaints = (line.partition(f"{_FILE}:")[2] for line in done.stderr.splitlines())
            reason = next(filter(None, complaints), done.stderr.strip())
            raise InvalidArgument(f"schema.definition is no Protocol Buffers schema: {shown(reason)}")
        return target.read_bytes()


def _message_class(descriptors: bytes) -> Any:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    *imported, file = descriptor_pb2.FileDescriptorSet.FromString(descriptors).file
    if len(file.message_type) != 1:
        raise InvalidArgument(f"schema.definition has {len(file.message_type)} messages at its top level; expected one")
    pool = descriptor_pool.DescriptorPool()
    for each in (*imported, file):
        pool.Add(each)
    name = f"{file.package}.{file.message_type[0].name}".removeprefix(".")
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


def _is_protobuf(message: Any, data: bytes, encoding: int) -> bool:
    from google.protobuf import json_format
    from google.protobuf.message import DecodeError

    try:
        if encoding == JSON:
            return bool(json_format.Parse(data, message()).IsInitialized())
        return bool(message.FromString(data).IsInitialized())
    except (DecodeError, json_format.ParseError, UnicodeDecodeError):
        return False
