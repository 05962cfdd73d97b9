"""An emulator of Google Pub/Sub: Publisher, Subscriber, SchemaService and IAMPolicy over gRPC and REST, and push.

Covered as the service documents it: topics, subscriptions, snapshots and schemas (every method, update masks, labels,
lists in pages, limits); publish; pull and streaming pull with flow control; acknowledge and modifyAckDeadline; leases;
filters; ordering; exactly-once delivery with its answers to acknowledgements; push, wrapped and unwrapped, with OIDC
tokens, retry policy and push backoff; dead-letter topics; retention on subscriptions and topics, acknowledged messages
included; seek to a time and to a snapshot; expiration; detach; Avro and Protocol Buffers schemas, binary and JSON.

Differs from the service:
- a delivery attempt is counted exactly, not at best effort; leases that end because an earlier message of the key came
  back are none
- with ordering, what was acknowledged does not come back when an earlier message does
- a seek ends all leases of its subscription
- push starts at full speed: a subscription has at most `push.MAX_IN_FLIGHT` requests open
- a retry policy takes the place of push backoff, and is not in addition to it
- whether the revisions of a schema are compatible is not checked
- IAM policies are kept and shown, and refuse nobody
Refused as UNIMPLEMENTED: message transforms; BigQuery, Cloud Storage and Bigtable subscriptions; ingestion into topics.
Kept without effect: message storage policies, encryption keys, tags.
"""
