"""Google's own Pub/Sub emulator in the place of ours, where gcloud has installed it.

Clients talk to Google's emulator (`PUBSUB_EMULATOR_HOST`), and so does REST on the HTTP port. The topics of the local
cloud are created in it. What the local cloud publishes itself (schedules, storage notifications, dead letters) is
pushed to it; for each Pub/Sub trigger of Eventarc a subscription is pulled there, and its messages go on to the trigger
as ever, with its retries and its dead letter. Storage events don't leave the local cloud.

Google's emulator keeps nothing: what it hadn't handed over when it ended is lost. Topics that are only in it are
unknown to schedules and triggers. What else it does otherwise than the service stands, asserted, in
`tests/localcloud/pubsub/test_differential.py`.
"""
