"""An emulator of Eventarc: triggers turn storage and Pub/Sub events into CloudEvents for Cloud Run and Workflows.

As in the service, the transport is Pub/Sub: a trigger owns a push subscription (and a topic, where it names none), so
events are kept until they are acknowledged, for a day, and retried with backoff; after the last attempt, which the
service leaves to the user's own dead-letter policy, they are dead letters.

Covered: `google.cloud.storage.object.v1.{finalized,deleted,archived,metadataUpdated}` of one bucket,
`google.cloud.pubsub.topic.v1.messagePublished` of one topic, binary-mode CloudEvents POSTed to a path of a Cloud Run
service with an OIDC token, executions of a workflow with the event as argument, and the triggers' create, get, list,
patch and delete over REST, with update masks, etags and operations that are done at once.
Not covered: audit-log and direct events of other services (and so path patterns in filters, which those of storage and
Pub/Sub do not have), channels, providers, pipelines and message buses, functions, GKE and HTTP endpoints as targets.
"""
