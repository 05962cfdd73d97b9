"""Are access lists, policies and HMAC keys kept and shown, although nobody is refused?"""

from __future__ import annotations

import pytest
import requests
from google.api_core import exceptions as api
from google.cloud import storage as gcs

from tests.localcloud.storage.storage_cloud import Cloud


def test_everybody_has_every_permission(bucket: gcs.Bucket) -> None:
    wanted = ["storage.objects.get", "storage.buckets.delete"]

    assert bucket.test_iam_permissions(wanted) == wanted


def test_a_policy_is_replaced_if_nobody_was_faster(bucket: gcs.Bucket) -> None:
    policy, stale = (bucket.get_iam_policy(requested_policy_version=3) for _ in range(2))
    assert {binding["role"] for binding in policy.bindings} >= {"roles/storage.legacyBucketOwner"}
    policy.bindings.append({"role": "roles/storage.objectViewer", "members": {"user:ada@example.com"}})
    bucket.set_iam_policy(policy)

    seen = bucket.get_iam_policy(requested_policy_version=3)
    assert seen["roles/storage.objectViewer"] == {"user:ada@example.com"}
    with pytest.raises(api.PreconditionFailed):
        bucket.set_iam_policy(stale)


def test_a_conditional_binding_needs_the_newest_version(bucket: gcs.Bucket) -> None:
    policy = bucket.get_iam_policy(requested_policy_version=3)
    condition = {"title": "t", "description": "", "expression": "true"}
    policy.bindings.append({"role": "roles/storage.admin", "members": {"user:a@b.c"}, "condition": condition})
    policy.version = 1
    with pytest.raises(api.BadRequest, match="version 3"):
        bucket.set_iam_policy(policy)
    policy.version = 3
    bucket.set_iam_policy(policy)

    seen = bucket.get_iam_policy(requested_policy_version=3)
    assert [binding["condition"] for binding in seen.bindings if "condition" in binding] == [condition]


def test_a_bucket_has_an_access_list(bucket: gcs.Bucket) -> None:
    bucket.acl.user("ada@example.com").grant_owner()
    bucket.acl.save()
    bucket.default_object_acl.group("team@example.com").grant_read()
    bucket.default_object_acl.save()
    blob = bucket.blob("x")
    blob.upload_from_string("1")

    bucket.acl.reload()
    assert {"entity": "user-ada@example.com", "role": "OWNER"} in list(bucket.acl)
    assert "group-team@example.com" in {entry["entity"] for entry in blob.acl}
    bucket.acl.user("ada@example.com").revoke_owner()
    bucket.acl.save()
    bucket.acl.reload()
    assert "user-ada@example.com" not in {entry["entity"] for entry in bucket.acl}


def test_an_object_is_made_public_and_private(bucket: gcs.Bucket) -> None:
    blob = bucket.blob("x")
    blob.upload_from_string("1", predefined_acl="private")
    assert {entry["entity"] for entry in blob.acl} == {"project-owners-1"}
    blob.make_public()
    assert "READER" in blob.acl.all().get_roles()
    blob.make_private()
    blob.acl.reload()

    assert "allUsers" not in {entry["entity"] for entry in blob.acl}
    assert bucket.get_blob("x").metageneration == 3


def test_a_predefined_list_is_saved(bucket: gcs.Bucket) -> None:
    bucket.acl.save_predefined("publicRead")

    assert ("allUsers", "READER") in {(entry["entity"], entry["role"]) for entry in bucket.acl}
    with pytest.raises(ValueError, match="Invalid predefined ACL"):
        bucket.acl.save_predefined("nobody")


COLLECTIONS = {"bucket": "b/bkt/acl", "default": "b/bkt/defaultObjectAcl", "object": "b/bkt/o/x/acl"}


@pytest.mark.parametrize("collection", COLLECTIONS.values(), ids=COLLECTIONS)
def test_a_single_entry_comes_changes_and_goes(cloud: Cloud, bucket: gcs.Bucket, collection: str) -> None:
    bucket.blob("x").upload_from_string("1")
    url = f"{cloud.url}/storage/v1/{collection}"

    def ask(method: str, path: str = "", body: object = None) -> requests.Response:
        return requests.request(method, f"{url}{path}", json=body, timeout=10)

    made = ask("POST", body={"entity": "domain-example.com", "role": "READER"}).json()
    assert (made["domain"], made["role"]) == ("example.com", "READER")
    assert ask("GET", "/domain-example.com").json()["role"] == "READER"
    assert ask("PATCH", "/domain-example.com", {"role": "OWNER"}).json()["role"] == "OWNER"
    assert ask("PUT", "/domain-example.com", {"role": "READER"}).json()["role"] == "READER"
    assert "domain-example.com" in {entry["entity"] for entry in ask("GET").json()["items"]}
    assert ask("DELETE", "/domain-example.com").status_code == 204
    assert ask("GET", "/domain-example.com").status_code == 404
    assert ask("POST", body={"entity": "allUsers", "role": "KING"}).status_code == 400


def test_uniform_access_leaves_no_lists(bucket: gcs.Bucket) -> None:
    bucket.iam_configuration.uniform_bucket_level_access_enabled = True
    bucket.patch()

    assert bucket.iam_configuration.uniform_bucket_level_access_locked_time is not None
    with pytest.raises(api.BadRequest, match="uniform bucket-level access"):
        bucket.acl.reload()
    with pytest.raises(api.BadRequest, match="uniform bucket-level access"):
        bucket.blob("x").upload_from_string("1", predefined_acl="publicRead")


def test_uniform_access_stays_after_ninety_days(frozen: Cloud) -> None:
    bucket = frozen.client().bucket("bkt")
    for enabled in (True, False, True):
        bucket.iam_configuration.uniform_bucket_level_access_enabled = enabled
        bucket.patch()
    frozen.clock.advance(hours=91 * 24)
    bucket.iam_configuration.uniform_bucket_level_access_enabled = False
    with pytest.raises(api.BadRequest, match="90 days"):
        bucket.patch()


def test_an_hmac_key_lives_until_it_is_deleted(client: gcs.Client) -> None:
    key, secret = client.create_hmac_key(service_account_email="sa@p.iam.gserviceaccount.com")
    assert (len(secret), key.state) == (40, "ACTIVE")
    assert [found.access_id for found in client.list_hmac_keys()] == [key.access_id]
    with pytest.raises(api.BadRequest, match="INACTIVE"):
        key.delete()
    key.state = "INACTIVE"
    key.update()
    key.delete()

    assert list(client.list_hmac_keys()) == []
    assert [found.state for found in client.list_hmac_keys(show_deleted_keys=True)] == ["DELETED"]
    assert client.get_hmac_key_metadata(key.access_id).state == "DELETED"


def test_cloud_storage_has_an_account_of_its_own(client: gcs.Client) -> None:
    assert client.get_service_account_email().endswith("@gs-project-accounts.iam.gserviceaccount.com")
