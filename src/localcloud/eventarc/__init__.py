"""An emulator of Eventarc: triggers turn storage and Pub/Sub events into CloudEvents POSTed to Cloud Run services.

As in the service, the transport is Pub/Sub: a trigger owns a push subscription (and a topic, for storage events), so
events are kept until they are acknowledged, retried with backoff and, after the last attempt, dead-lettered.

Covered: `google.cloud.storage.object.v1.{finalized,deleted,archived,metadataUpdated}` of one bucket,
`google.cloud.pubsub.topic.v1.messagePublished` of one topic, binary-mode CloudEvents, OIDC tokens, and the triggers'
get and list over REST. Not covered: audit-log events, path patterns in filters, channels, workflows and GKE as targets.
"""
