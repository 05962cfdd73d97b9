"""Which resources does a list answer with: filters, order, pages."""

from __future__ import annotations

import pytest
from google.api_core import exceptions
from google.cloud import compute_v1

from localcloud.compute.errors import ComputeError
from localcloud.compute.listing import page, predicate
from tests.localcloud.compute.conftest import GROUP, PROJECT, REGION, Compute

VMS = [
    {
        "name": f"vm-{n}",
        "status": "RUNNING" if n % 2 else "TERMINATED",
        "labels": {"pool": "gpu", "n": str(n)} if n else {},
        "scheduling": {"preemptible": n == 3},
        "creationTimestamp": f"2026-11-25T0{n}:00:00Z",
        "size": n,
    }
    for n in range(5)
]


def found(text: str) -> list[int]:
    matches = predicate(text)
    return [n for n, vm in enumerate(VMS) if matches(vm)]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", [0, 1, 2, 3, 4]),
        ("name = vm-2", [2]),
        ('name = "vm-2"', [2]),
        ("name != vm-2", [0, 1, 3, 4]),
        ("labels.pool:*", [1, 2, 3, 4]),
        ("labels.n = 3", [3]),
        ("status = RUNNING AND labels.pool = gpu", [1, 3]),
        ("(status = RUNNING) (labels.pool = gpu)", [1, 3]),
        ("(name = vm-0) OR (name = vm-4)", [0, 4]),
        ("name = vm-0 OR name = vm-4", [0, 4]),
        ("NOT status = RUNNING", [0, 2, 4]),
        ("-name = vm-0", [1, 2, 3, 4]),
        ("name:vm-*", [0, 1, 2, 3, 4]),
        ("scheduling.preemptible = true", [3]),
        ("size > 2", [3, 4]),
        ("size <= 1", [0, 1]),
        ('creationTimestamp >= "2026-11-25T03:00:00Z"', [3, 4]),
        ("name eq vm-[02]", [0, 2]),
        ("name ne .*[02]", [1, 3, 4]),
        ("name eq 'vm-1'", [1]),
        ("(name eq vm-.) (status eq RUN.*)", [1, 3]),
        ("nothing.there = x", []),
        ("name.first = x", []),
    ],
)
def test_filters(text: str, wanted: list[int]) -> None:
    assert found(text) == wanted


@pytest.mark.parametrize(
    "text", ["name", "name =", "= x", "(name = x", "name = x)", "name eq [", "name ~ x", "x" * 3000, "(" * 60 + "a=b"]
)
def test_a_filter_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ComputeError, match="Invalid value for field 'filter'") as caught:
        predicate(text)
    assert caught.value.status == 400


def test_a_regular_expression_takes_no_time() -> None:
    assert predicate("name eq (a*)*b")({"name": "a" * 40}) is False


def test_pages_go_on_where_the_last_one_ended() -> None:
    names, query = [], {"maxResults": "2"}
    for _ in range(3):
        items, token = page(query, VMS)
        names.append([each["name"] for each in items])
        query["pageToken"] = token

    assert names == [["vm-0", "vm-1"], ["vm-2", "vm-3"], ["vm-4"]]
    assert token == ""


@pytest.mark.parametrize(
    ("name", "value"), [("maxResults", "501"), ("maxResults", "-1"), ("pageToken", "x"), ("orderBy", "size")]
)
def test_parameters_that_are_wrong_are_named(name: str, value: str) -> None:
    with pytest.raises(ComputeError, match=f"Invalid value for field '{name}': '{value}'"):
        page({name: value}, VMS)


def test_the_newest_come_first_if_so_ordered() -> None:
    items, _ = page({"orderBy": "creationTimestamp  desc"}, VMS)

    assert [each["name"] for each in items] == ["vm-4", "vm-3", "vm-2", "vm-1", "vm-0"]


def test_googles_client_pages_and_filters(compute: Compute) -> None:
    names = [f"vm-{n}" for n in range(5)]
    compute.create(*names)
    for name in names:
        compute.until_running(name)

    by_page = compute.instances.list(
        compute_v1.ListInstancesRequest(project=PROJECT, zone="us-central1-a", max_results=1)
    )
    everywhere = compute.instances.aggregated_list(
        compute_v1.AggregatedListInstancesRequest(project=PROJECT, max_results=2, filter="name ne vm-3")
    )
    groups = compute.groups.list(
        compute_v1.ListRegionInstanceGroupManagersRequest(project=PROJECT, region=REGION, filter="targetSize > 4")
    )
    managed = compute.groups.list_managed_instances(
        compute_v1.ListManagedInstancesRegionInstanceGroupManagersRequest(**GROUP, max_results=2)
    )

    assert len(list(by_page.pages)) == len(list(compute.instances.list(project=PROJECT, zone="us-central1-a"))) >= 2
    assert sorted(each.name for _, scoped in everywhere for each in scoped.instances) == [
        "vm-0",
        "vm-1",
        "vm-2",
        "vm-4",
    ]
    assert [each.name for each in groups] == ["workers"]
    assert sorted(each.name for each in managed) == names
    with pytest.raises(exceptions.BadRequest, match="'filter'"):
        list(compute.instances.list(compute_v1.ListInstancesRequest(project=PROJECT, zone="us-central1-a", filter="(")))
