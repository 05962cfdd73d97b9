"""What can be asked of schemas? The methods of the SchemaService.

https://cloud.google.com/pubsub/docs/reference/rpc/google.pubsub.v1#schemaservice
"""

from __future__ import annotations

import asyncio
from typing import Any

from localcloud.pubsub import checks, definitions
from localcloud.pubsub.errors import InvalidArgument
from localcloud.pubsub.methods import Table, empty, page, page_size
from localcloud.pubsub.resources import BASIC, message_type
from localcloud.pubsub.state import PubSub

TABLE = Table("google.pubsub.v1.SchemaService")


@TABLE.method(
    "schemas.create",
    "POST /v1/{parent=projects/*}/schemas",
    "CreateSchemaRequest",
    body="schema",
)
async def _create_schema(pubsub: PubSub, request: Any, _: float | None) -> Any:
    checks.check_project(request.parent, "parent")
    compiled = await _compiled(request.schema)
    return pubsub.schemas.create(f"{request.parent}/schemas/{request.schema_id}", request.schema, compiled)


@TABLE.method("schemas.get", "GET /v1/{name=projects/*/schemas/*}", "GetSchemaRequest")
async def _get_schema(pubsub: PubSub, request: Any, _: float | None) -> Any:
    return pubsub.schemas.get(request.name, request.view)


@TABLE.method("schemas.list", "GET /v1/{parent=projects/*}/schemas", "ListSchemasRequest")
async def _list_schemas(pubsub: PubSub, request: Any, _: float | None) -> Any:
    checks.check_project(request.parent, "parent")
    schemas, token = page(pubsub.schemas.below(request.parent, request.view or BASIC), request)
    return message_type("ListSchemasResponse")(schemas=schemas, next_page_token=token)


@TABLE.method(
    "schemas.listRevisions",
    "GET /v1/{name=projects/*/schemas/*}:listRevisions",
    "ListSchemaRevisionsRequest",
)
async def _list_schema_revisions(pubsub: PubSub, request: Any, _: float | None) -> Any:
    revisions = pubsub.schemas.revisions(request.name, request.view or BASIC)
    first = int(request.page_token) if request.page_token.isdecimal() else 0
    size = page_size(request)
    token = str(first + size) if first + size < len(revisions) else ""
    return message_type("ListSchemaRevisionsResponse")(schemas=revisions[first : first + size], next_page_token=token)


@TABLE.method("schemas.commit", "POST /v1/{name=projects/*/schemas/*}:commit", "CommitSchemaRequest")
async def _commit_schema(pubsub: PubSub, request: Any, _: float | None) -> Any:
    pubsub.schemas.get(request.name)
    return pubsub.schemas.commit(request.name, request.schema, await _compiled(request.schema))


@TABLE.method("schemas.rollback", "POST /v1/{name=projects/*/schemas/*}:rollback", "RollbackSchemaRequest")
async def _rollback_schema(pubsub: PubSub, request: Any, _: float | None) -> Any:
    return pubsub.schemas.rollback(request.name, request.revision_id)


@TABLE.method(
    "schemas.deleteRevision",
    "DELETE /v1/{name=projects/*/schemas/*}:deleteRevision",
    "DeleteSchemaRevisionRequest",
)
async def _delete_schema_revision(pubsub: PubSub, request: Any, _: float | None) -> Any:
    name = request.name if "@" in request.name else f"{request.name}@{request.revision_id}"
    return pubsub.schemas.delete_revision(name)


@TABLE.method("schemas.delete", "DELETE /v1/{name=projects/*/schemas/*}", "DeleteSchemaRequest")
async def _delete_schema(pubsub: PubSub, request: Any, _: float | None) -> Any:
    pubsub.delete_schema(request.name)
    return empty()


@TABLE.method("schemas.validate", "POST /v1/{parent=projects/*}/schemas:validate", "ValidateSchemaRequest")
async def _validate_schema(_: PubSub, request: Any, __: float | None) -> Any:
    checks.check_project(request.parent, "parent")
    await _compiled(request.schema)
    return message_type("ValidateSchemaResponse")()


@TABLE.method(
    "schemas.validateMessage",
    "POST /v1/{parent=projects/*}/schemas:validateMessage",
    "ValidateMessageRequest",
)
async def _validate_message(pubsub: PubSub, request: Any, _: float | None) -> Any:
    checks.check_project(request.parent, "parent")
    if request.WhichOneof("schema_spec") == "name":
        fits = pubsub.schemas.fits(pubsub.schemas.get(request.name), request.message, request.encoding)
    else:
        compiled = await _compiled(request.schema)
        fits = definitions.validator(request.schema.type_, compiled)(request.message, request.encoding)
    if not fits:
        raise InvalidArgument("Invalid data in message: Message failed schema validation.")
    return message_type("ValidateMessageResponse")()


async def _compiled(schema: Any) -> bytes:
    return await asyncio.to_thread(definitions.compiled, schema.type_, schema.definition)
