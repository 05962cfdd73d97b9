"""Does the page show what happens, in a browser, and nothing of it as markup?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from google.cloud import pubsub_v1, storage

from localcloud.cloud import LocalCloud
from localcloud.faults import Fault
from localcloud.run.logs import LogWriter
from tests.localcloud.console import browser
from tests.localcloud.console.browser import Browser
from tests.localcloud.console.console_http import Http, until

pytestmark = pytest.mark.skipif(browser.executable() is None, reason="no Chromium; CHROMIUM names one")

MARKUP = "<img src=x onerror=alert(1)>"
HEADING = "document.querySelector('h1')?.textContent"
MAIN = "document.getElementById('main').innerText"


@pytest.fixture(scope="module")
def page(cloud: LocalCloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    profile: Path = tmp_path_factory.mktemp("profile")
    with browser.running(profile) as page:
        page.open(cloud.http_url)
        page.until(f"{HEADING} === 'Overview'")
        yield page


@pytest.fixture(autouse=True)
def _no_complaint(page: Browser) -> Iterator[None]:
    yield
    assert page.problems == []


def show(page: Browser, place: str, heading: str) -> None:
    page.evaluate(f"location.hash = {place!r}")
    page.until(f"{HEADING} === {heading!r}")


def test_what_happens_appears_without_a_reload(page: Browser, client: storage.Client):
    show(page, "#/events", "Events")

    client.bucket("uploads").blob("appears.txt").upload_from_string(b"x")

    page.until(f"{MAIN}.includes('uploads/appears.txt')")


def test_events_are_filtered_and_held_back_by_a_pause(page: Browser, client: storage.Client):
    show(page, "#/events?service=storage&text=held", "Events")
    client.bucket("uploads").blob("held/before").upload_from_string(b"x")
    page.until(f"{MAIN}.includes('held/before')")
    page.evaluate("document.querySelector('button[aria-pressed]').click()")

    client.bucket("uploads").blob("held/after").upload_from_string(b"x")
    page.until(f"{MAIN}.includes('1 more since the pause')")
    paused = page.evaluate(MAIN)
    page.evaluate("document.querySelector('button[aria-pressed]').click()")
    page.until(f"{MAIN}.includes('held/after')")

    assert "held/after" not in paused
    rows = page.evaluate("[...document.querySelectorAll('tbody tr')].map((row) => row.innerText)")
    assert all("held/" in row for row in rows)


def test_names_and_contents_are_never_markup(page: Browser, client: storage.Client, http: Http):
    blob = client.bucket("uploads").blob(f"{MARKUP}/{MARKUP}")
    blob.metadata = {"note": MARKUP}
    blob.upload_from_string(MARKUP, content_type="text/html")

    show(page, "#/events", "Events")
    page.until(f"{MAIN}.includes({MARKUP!r})")
    show(page, f"#/storage/uploads?prefix={MARKUP}/", f"{MARKUP}/")
    page.until("document.querySelector('tbody a') !== null")
    page.evaluate("document.querySelector('tbody a').click()")
    page.until(f"document.querySelector('pre')?.textContent === {MARKUP!r}")

    assert page.evaluate("document.querySelectorAll('img').length") == 0


def test_the_page_asks_nobody_else(page: Browser, cloud: LocalCloud):
    assert len(page.requested) > 10
    assert [url for url in page.requested if not url.startswith((cloud.http_url, "about:"))] == []


def test_a_person_publishes_a_message(page: Browser, http: Http):
    show(page, "#/pubsub/topic/orders", "orders")

    page.evaluate("document.querySelector('textarea[name=data]').value = 'by hand'")
    page.evaluate("document.querySelector('form button').click()")

    page.until("document.getElementById('toast').textContent === 'Published.'")
    assert http.get("messages?subscription=orders-pull")[-1]["data"] == "by hand"


def test_what_a_person_types_stays_while_the_page_updates(page: Browser, publisher: pubsub_v1.PublisherClient):
    show(page, "#/pubsub/topic/orders", "orders")
    page.evaluate("document.querySelector('textarea[name=data]').focus()")
    page.evaluate("document.activeElement.value = 'half a'")
    before = page.evaluate("document.querySelector('td.num').textContent")

    publisher.publish("projects/local/topics/orders", b"another").result()

    page.until(f"document.querySelector('td.num').textContent !== {before!r}")
    assert page.evaluate("document.activeElement.value") == "half a"


def test_a_fault_is_ordered_and_withdrawn(page: Browser, cloud: LocalCloud):
    show(page, "#/faults", "Faults")
    page.evaluate("document.querySelector('input[name=call]').value = 'storage.*'")
    page.evaluate("document.querySelector('input[name=times]').value = ''")
    page.evaluate("document.querySelector('input[name=probability]').value = '0.001'")
    page.evaluate("document.querySelector('form button').click()")
    page.until(f"{MAIN}.includes('storage.*')")
    ordered = cloud.faults.standing()

    page.evaluate("[...document.querySelectorAll('td button')].find((b) => b.textContent === 'Withdraw').click()")

    page.until(f"!{MAIN}.includes('storage.*')")
    assert ordered == [Fault("storage.*", times=None, probability=0.001)]
    assert cloud.faults.standing() == []


def test_an_execution_is_shown_step_by_step(page: Browser, http: Http, cloud: LocalCloud):
    parent = cloud.workflows.resource_name("waiting")
    id_ = http.ask("POST", f"/v1/{parent}/executions", body={}).json()["name"].rpartition("/")[2]

    show(page, f"#/workflows/waiting/{id_}", id_)
    page.until("document.querySelector('.steps tbody')?.innerText.includes('running')")
    cloud.clock.advance(hours=1)
    page.until("document.querySelector('.steps tbody').innerText.includes('done')")

    row = page.evaluate("document.querySelector('.steps tbody tr').innerText").split("\t")
    assert (row[0], row[2], row[4]) == ("wait", "done", "60 min 0 s")


def test_a_page_stays_small_however_much_there_is(page: Browser, cloud: LocalCloud):
    log, number = LogWriter(cloud.run.logs_directory, "receiver"), 10_000
    for line in range(number):
        log.line("receiver-0", "stdout", f"line {line} {MARKUP}".encode())
    log.close()

    def happen() -> None:
        for event in range(number):
            cloud.context.activity.emit("storage", f"uploads/{event} {MARKUP}", "finalized")

    cloud.call(happen)
    show(page, "#/services/receiver", "receiver")
    page.until(f"{MAIN}.includes('line {number - 1} <img')")
    lines = page.evaluate("document.querySelectorAll('.lines li').length")
    show(page, "#/events", "Events")
    page.until(f"{MAIN}.includes('uploads/{number - 1} <img')")
    events = page.evaluate("document.querySelectorAll('tbody tr').length")

    assert (lines, events) == (200, 300)
    assert page.evaluate("document.querySelectorAll('img').length") == 0


def test_a_link_followed_by_keyboard_leaves_the_keyboard_where_it_was(page: Browser):
    show(page, "#/storage", "Buckets")
    page.until("document.querySelector('tbody a') !== null")
    page.evaluate("document.querySelector('tbody a').focus()")

    for kind in ("keyDown", "keyUp"):
        page.call("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", text="\r", windowsVirtualKeyCode=13)

    page.until(f"{HEADING}.startsWith('gs://')")
    assert page.evaluate("document.activeElement.id") == "main"


def test_a_vm_is_shown_and_lost_by_hand(page: Browser, cloud: LocalCloud):
    cloud.call(lambda: cloud.compute.create_in(cloud.compute.group("us-central1", "workers"), ["lost"]))

    def runs() -> bool:
        cloud.clock.advance(seconds=1)
        return [each.status.value for each in cloud.compute.machines.values()] == ["RUNNING"]

    until(runs)
    show(page, "#/machines", "Machines")
    page.until("document.querySelector('tbody a')?.textContent === 'lost'")

    page.evaluate("document.querySelector('tbody a').click()")
    page.until(f"{HEADING} === 'lost' && {MAIN}.includes('at work')")
    page.evaluate("[...document.querySelectorAll('button')].find((b) => b.textContent === 'Lose').click()")

    page.until(f"{MAIN}.includes('There is no such VM')")
    show(page, "#/machines", "Machines")
    page.until(f"{MAIN}.includes('No VM')")


def test_the_clock_is_advanced_by_a_button(page: Browser, cloud: LocalCloud):
    before = cloud.clock.time()

    page.evaluate("[...document.querySelectorAll('#clock button')].find((b) => b.textContent === '+1 h').click()")

    page.until("document.getElementById('toast').textContent.includes('advanced')")
    assert cloud.clock.time() == before + 3600


@pytest.mark.parametrize(
    ("place", "heading"),
    [
        ("#/", "Overview"),
        ("#/storage", "Buckets"),
        ("#/storage/uploads", "gs://uploads"),
        ("#/pubsub", "Pub/Sub"),
        ("#/pubsub/subscription/orders-pull", "orders-pull"),
        ("#/services", "Services"),
        ("#/services/receiver", "receiver"),
        ("#/jobs", "Jobs"),
        ("#/jobs/crunch", "crunch"),
        ("#/machines", "Machines"),
        ("#/machines/us-central1-a/gone", "gone"),
        ("#/workflows", "Workflows"),
        ("#/workflows/hello", "hello"),
        ("#/triggers", "Triggers"),
        ("#/schedules", "Schedules"),
        ("#/faults", "Faults"),
        ("#/events", "Events"),
    ],
)
def test_every_view_fits_a_narrow_window(page: Browser, place: str, heading: str):
    page.call("Emulation.setDeviceMetricsOverride", width=400, height=800, deviceScaleFactor=1, mobile=False)

    show(page, place, heading)

    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    assert "cannot be shown" not in page.evaluate(MAIN)
