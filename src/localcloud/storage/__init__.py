"""Cloud Storage, its JSON API: buckets and objects as the real client libraries see them.

Covered: buckets (insert, get, list, patch, update, delete, lock the retention policy); objects (media, multipart and
resumable uploads, metadata, whole and ranged downloads with decompressive transcoding, patch, update, delete, copy,
rewrite with tokens, move, compose, restore, list with prefixes, globs, offsets, pages, versions and soft-deleted ones);
generation and metageneration preconditions on every verb; checksums sent by the client; partial responses; batches of
metadata calls; object versioning; holds, retention policies and the retention of single objects; soft delete (off
unless a bucket's policy sets a time); lifecycle rules, applied within an hour of virtual time; notification
configurations, which publish to the Pub/Sub that `Storage.notify` names; HMAC keys. The events of an object's life are
handed to listeners, and published, inside the transaction that makes them true.

Kept and shown without effect: ACLs and IAM policies (everybody may do everything), labels, CORS, encryption, website,
logging, autoclass and requester-pays settings. Absent: folders of hierarchical namespaces, Anywhere Cache, bucket
relocation, object contexts, listing filters, customer-supplied encryption keys, the XML API and signed URLs, gRPC.

State survives `kill -9`: metadata and payloads up to 64 KiB are rows, larger payloads files that a row names, written
before the row and removed after it.
"""

from localcloud.storage.api import routes
from localcloud.storage.state import Storage

__all__ = ["Storage", "routes"]
