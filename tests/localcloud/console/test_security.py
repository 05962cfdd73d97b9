"""Can a page of somebody else change something here, or have its markup run in ours?"""

from __future__ import annotations

import re

import pytest
from google.cloud import storage

from localcloud.cloud import LocalCloud
from tests.localcloud.console.console_http import DATA, Http

CHANGES = [
    ("POST", f"{DATA}/publish", {"topic": "orders", "data": "forged"}),
    ("POST", f"{DATA}/republish", {"subscription": "dead-pull", "id": "1"}),
    ("POST", f"{DATA}/run-job?job=crunch", {}),
    ("POST", f"{DATA}/cancel-job?job=crunch&name=x", {}),
    ("POST", f"{DATA}/cancel?workflow=hello&id=x", {}),
    ("DELETE", f"{DATA}/object?bucket=uploads&name=x", None),
    ("POST", "/_localcloud/clock", {"advance_s": 1}),
    ("POST", "/_localcloud/faults", {"call": "*"}),
    ("DELETE", "/_localcloud/faults", None),
    ("POST", "/_localcloud/identity-token?audience=x", None),
]


FOREIGN = [
    {"Origin": "http://localhost:3000"},  # a development server of this machine
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Host": "evil.example"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=lambda headers: " ".join(map("=".join, headers.items())))
def test_a_page_of_another_origin_changes_nothing(http: Http, cloud: LocalCloud, headers: dict[str, str]):
    before = cloud.context.activity.latest

    answers = {path: http.ask(method, path, body=body, headers=headers).status for method, path, body in CHANGES}

    assert set(answers.values()) == {403}, answers
    assert cloud.context.activity.latest == before
    assert cloud.faults.standing() == []


def test_our_own_page_changes_things(http: Http):
    headers = {"Origin": http.base, "Sec-Fetch-Site": "same-origin"}

    assert http.ask("POST", "/_localcloud/clock", body={"advance_s": 0}, headers=headers).status == 200


def test_the_page_may_load_only_its_own(http: Http):
    page = http.ask("GET", "/")

    policy = page.headers["Content-Security-Policy"]
    assert page.status == 200
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    text = page.data.decode()
    assert re.findall(r"<script(?![^>]*\bsrc=)", text) == []
    assert all(path.startswith((DATA, "#")) for path in re.findall(r'(?:src|href)="([^"]*)"', text))


@pytest.mark.parametrize(
    "path", ["/storage/v1/b/uploads/o/evil.html?alt=media", f"{DATA}/preview?bucket=uploads&name=evil.html"]
)
def test_a_page_in_a_bucket_is_none_of_our_origin(http: Http, client: storage.Client, path: str):
    client.bucket("uploads").blob("evil.html").upload_from_string("<script>alert(1)</script>", content_type="text/html")

    headers = http.ask("GET", path).headers

    assert "sandbox" in headers["Content-Security-Policy"]
    assert "allow" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_every_file_of_the_page_is_shipped_and_names_no_foreign_address(http: Http):
    wanted = set(re.findall(rf'{DATA}/static/([\w.]+)"', http.ask("GET", "/").data.decode()))
    seen: dict[str, str] = {}
    while missing := wanted - set(seen):
        name = missing.pop()
        response = http.ask("GET", f"{DATA}/static/{name}")
        assert response.status == 200, name
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        seen[name] = response.data.decode()
        wanted |= set(re.findall(r'from "\./([\w.]+)"', seen[name]))

    addresses = {a for text in seen.values() for a in re.findall(r"(?:https?:)?//[\w-]+\.[\w.-]+", text)}
    assert addresses == {"http://www.w3.org"}  # a namespace, in the icon
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", "".join(seen.values()))
