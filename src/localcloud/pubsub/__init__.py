"""An emulator of Google Pub/Sub: gRPC for the client libraries, REST for publishing and looking, and push.

Covered as the service documents it: topics and subscriptions (create, get, list, update, delete, detach), publish with
all limits, pull, streaming pull with flow control, acknowledge, modifyAckDeadline, leases, push (wrapped and unwrapped,
OIDC, retry policy), dead-letter topics, filters, message retention, seek to a time.

Differs from the service:
- one message of an ordering key is outstanding at a time, for pull too; order holds under nacks and lost leases
- a delivery attempt is counted exactly, not at best effort
- `seek` to a past time brings back nothing: acknowledged messages are not kept, whatever `retain_acked_messages` says
- exactly-once delivery and subscription expiry are stored and shown, and otherwise without effect
- push starts at full speed: a subscription has at most `push.MAX_IN_FLIGHT` requests open
Not covered: snapshots, schemas, IAM, message transforms, BigQuery, Cloud Storage and Bigtable subscriptions.
"""
