"""Schemas have revisions, and a topic with a schema takes only what fits one of those it names."""

from __future__ import annotations

import io
import json
from typing import Any

import fastavro
import pytest
from google.api_core import exceptions
from google.cloud import pubsub_v1
from google.protobuf import field_mask_pb2
from google.pubsub_v1.types import Encoding, Schema, SchemaView

from tests.localcloud.pubsub.pubsub_cloud import PATIENCE_S, PROJECT, Cloud, subscription_path, topic_path

pytestmark = pytest.mark.filterwarnings("ignore:The return_immediately flag:DeprecationWarning")

PARENT = f"projects/{PROJECT}"
STATES, JOBS, WORKERS = f"{PARENT}/schemas/states", topic_path("jobs"), subscription_path("workers")
NAME = {"name": "name", "type": "string"}
CODE = {"name": "code", "type": ["null", "string"], "default": None}
PROTO = """
syntax = "proto3";
package atlas;
import "google/protobuf/timestamp.proto";
message State { string name = 1; google.protobuf.Timestamp since = 2; }
"""
IOWA_PROTO = b"\n\x04Iowa"


def avro(*fields: dict[str, Any]) -> Schema:
    definition = {"type": "record", "name": "State", "fields": list(fields)}
    return Schema(type_=Schema.Type.AVRO, definition=json.dumps(definition))


def encoded(value: dict[str, Any], *fields: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, {"type": "record", "name": "State", "fields": list(fields)}, value)
    return stream.getvalue()


def with_topic(cloud: Cloud, encoding: Encoding = Encoding.BINARY, **settings: str) -> pubsub_v1.PublisherClient:
    publisher = cloud.publisher()
    schema_settings = {"schema": STATES, "encoding": encoding, **settings}
    publisher.create_topic(request={"name": JOBS, "schema_settings": schema_settings})
    cloud.subscriber().create_subscription(name=WORKERS, topic=JOBS)
    return publisher


def attributes(cloud: Cloud) -> dict[str, str]:
    request = {"subscription": WORKERS, "max_messages": 1, "return_immediately": True}
    [received] = cloud.subscriber().pull(request, timeout=PATIENCE_S).received_messages
    return dict(received.message.attributes)


def test_a_topic_with_an_avro_schema_takes_what_fits_and_says_which_revision(cloud: Cloud) -> None:
    created = cloud.schemas().create_schema(parent=PARENT, schema=avro(NAME), schema_id="states")
    publisher = with_topic(cloud)
    publisher.publish(JOBS, encoded({"name": "Iowa"}, NAME)).result(PATIENCE_S)

    assert attributes(cloud) == {
        "googclient_schemaencoding": "BINARY",
        "googclient_schemaname": STATES,
        "googclient_schemarevisionid": created.revision_id,
    }
    for wrong in (b"\xff\xff", encoded({"name": "Iowa"}, NAME) + b"more"):
        with pytest.raises(exceptions.InvalidArgument, match="failed schema validation"):
            publisher.publish(JOBS, wrong).result(PATIENCE_S)


def test_a_topic_with_a_protocol_buffers_schema_takes_what_fits(cloud: Cloud) -> None:
    schema = Schema(type_=Schema.Type.PROTOCOL_BUFFER, definition=PROTO)
    cloud.schemas().create_schema(parent=PARENT, schema=schema, schema_id="states")
    publisher = with_topic(cloud)

    publisher.publish(JOBS, IOWA_PROTO).result(PATIENCE_S)
    with pytest.raises(exceptions.InvalidArgument, match="failed schema validation"):
        publisher.publish(JOBS, b"\n\x7fIowa").result(PATIENCE_S)


def test_messages_in_json_are_checked_too(cloud: Cloud) -> None:
    cloud.schemas().create_schema(parent=PARENT, schema=avro(NAME, CODE), schema_id="states")
    publisher = with_topic(cloud, Encoding.JSON)

    publisher.publish(JOBS, b'{"name": "Iowa", "code": {"string": "IA"}}').result(PATIENCE_S)
    for wrong in (b'{"name": 5, "code": null}', b"{}", b"Iowa", b"\xff"):
        with pytest.raises(exceptions.InvalidArgument, match="failed schema validation"):
            publisher.publish(JOBS, wrong).result(PATIENCE_S)


def test_a_topic_takes_the_revisions_between_the_two_it_names(cloud: Cloud) -> None:
    schemas = cloud.schemas()
    first = schemas.create_schema(parent=PARENT, schema=avro(NAME), schema_id="states")
    second = schemas.commit_schema(name=STATES, schema=avro(NAME, CODE))
    publisher = with_topic(cloud, first_revision_id=second.revision_id)
    old, new = encoded({"name": "Iowa"}, NAME), encoded({"name": "Iowa", "code": "IA"}, NAME, CODE)

    publisher.publish(JOBS, new).result(PATIENCE_S)
    with pytest.raises(exceptions.InvalidArgument, match="failed schema validation"):
        publisher.publish(JOBS, old).result(PATIENCE_S)
    settings = {"schema": STATES, "encoding": Encoding.BINARY, "last_revision_id": first.revision_id}
    mask = field_mask_pb2.FieldMask(paths=["schema_settings"])
    publisher.update_topic(topic={"name": JOBS, "schema_settings": settings}, update_mask=mask)

    publisher.publish(JOBS, old).result(PATIENCE_S)
    with pytest.raises(exceptions.InvalidArgument, match="failed schema validation"):
        publisher.publish(JOBS, new).result(PATIENCE_S)


def test_revisions_are_committed_listed_rolled_back_to_and_deleted(cloud: Cloud) -> None:
    schemas = cloud.schemas()
    first = schemas.create_schema(parent=PARENT, schema=avro(NAME), schema_id="states")
    second = schemas.commit_schema(name=STATES, schema=avro(NAME, CODE))
    third = schemas.rollback_schema(name=STATES, revision_id=first.revision_id)

    ids = [each.revision_id for each in schemas.list_schema_revisions(request={"name": STATES, "page_size": 2})]
    assert ids == [third.revision_id, second.revision_id, first.revision_id]
    assert schemas.get_schema(name=STATES).definition == first.definition
    assert schemas.get_schema(name=f"{STATES}@{second.revision_id}").definition == second.definition
    left = schemas.delete_schema_revision(request={"name": f"{STATES}@{third.revision_id}"})
    assert left.revision_id == second.revision_id
    with pytest.raises(exceptions.NotFound):
        schemas.get_schema(name=f"{STATES}@{third.revision_id}")


def test_schemas_are_listed_without_their_definitions_unless_asked_for(cloud: Cloud) -> None:
    schemas = cloud.schemas()
    schemas.create_schema(parent=PARENT, schema=avro(NAME), schema_id="states")

    [basic] = schemas.list_schemas(parent=PARENT)
    [full] = schemas.list_schemas(request={"parent": PARENT, "view": SchemaView.FULL})

    assert (basic.name, basic.type_, basic.definition) == (STATES, Schema.Type.AVRO, "")
    assert full.definition
    assert not schemas.get_schema(request={"name": STATES, "view": SchemaView.BASIC}).definition


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        (Schema(type_=Schema.Type.AVRO, definition="{"), "no Avro schema"),
        (
            Schema(type_=Schema.Type.AVRO, definition='{"type": "record", "name": "A", "fields": [{}]}'),
            "no Avro schema",
        ),
        (Schema(type_=Schema.Type.AVRO, definition='"unheard-of"'), "no Avro schema"),
        (Schema(type_=Schema.Type.AVRO), "definition is empty"),
        (Schema(definition="{}"), "AVRO or PROTOCOL_BUFFER"),
        (Schema(type_=Schema.Type.PROTOCOL_BUFFER, definition="message {"), "no Protocol Buffers schema"),
        (Schema(type_=Schema.Type.PROTOCOL_BUFFER, definition='import "/etc/passwd";'), "1:1: Import"),
        (Schema(type_=Schema.Type.PROTOCOL_BUFFER, definition="message A {} message B {}"), "2 messages"),
        (Schema(type_=Schema.Type.AVRO, definition=" " * 300_001), "at most 300000"),
    ],
    ids=["json", "fields", "type", "empty", "no-kind", "proto", "import", "two", "large"],
)
def test_a_definition_that_is_none_is_refused(cloud: Cloud, schema: Schema, reason: str) -> None:
    with pytest.raises(exceptions.InvalidArgument, match=reason):
        cloud.schemas().validate_schema(parent=PARENT, schema=schema)


def test_a_message_is_validated_against_a_schema_given_or_named(cloud: Cloud) -> None:
    schemas = cloud.schemas()
    schemas.create_schema(parent=PARENT, schema=avro(NAME), schema_id="states")
    good = {"parent": PARENT, "message": encoded({"name": "Iowa"}, NAME), "encoding": Encoding.BINARY}

    schemas.validate_message(request={**good, "name": STATES})
    schemas.validate_message(request={**good, "schema": avro(NAME)})
    with pytest.raises(exceptions.InvalidArgument, match="failed schema validation"):
        schemas.validate_message(request={**good, "name": STATES, "message": b"\xff"})


def test_a_schema_keeps_its_kind_its_last_revision_and_at_most_twenty(cloud: Cloud) -> None:
    schemas = cloud.schemas()
    only = schemas.create_schema(parent=PARENT, schema=avro(NAME), schema_id="states")
    with pytest.raises(exceptions.FailedPrecondition, match="only revision"):
        schemas.delete_schema_revision(request={"name": f"{STATES}@{only.revision_id}"})
    with pytest.raises(exceptions.AlreadyExists):
        schemas.create_schema(parent=PARENT, schema=avro(NAME), schema_id="states")
    for _ in range(19):
        schemas.commit_schema(name=STATES, schema=avro(NAME))
    with pytest.raises(exceptions.ResourceExhausted, match="20 revisions"):
        schemas.commit_schema(name=STATES, schema=avro(NAME))
    proto = Schema(type_=Schema.Type.PROTOCOL_BUFFER, definition=PROTO)
    with pytest.raises(exceptions.InvalidArgument, match="type differs"):
        schemas.commit_schema(name=STATES, schema=proto)


def test_a_topic_needs_a_schema_that_is_there_and_takes_nothing_once_it_is_gone(cloud: Cloud) -> None:
    with pytest.raises(exceptions.NotFound, match="states"):
        with_topic(cloud)
    cloud.schemas().create_schema(parent=PARENT, schema=avro(NAME), schema_id="states")
    publisher = with_topic(cloud)

    cloud.schemas().delete_schema(name=STATES)

    assert publisher.get_topic(topic=JOBS).schema_settings.schema == "_deleted-schema_"
    with pytest.raises(exceptions.InvalidArgument):
        publisher.publish(JOBS, encoded({"name": "Iowa"}, NAME)).result(PATIENCE_S)
