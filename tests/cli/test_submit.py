"""`zeroidle submit`: what it asks for, and what it refuses before anybody hears of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cli.conftest import Call, zeroidle
from tests.cli.machine_factories import CATALOG
from zeroidle.contracts.machines import Provisioning, Wanted
from zeroidle.contracts.messages import LimitsAsked, Start
from zeroidle_cli import starts
from zeroidle_cli.exits import WrongUsage
from zeroidle_cli.options import listed, pairs, seconds


def a_start(**fields: Any) -> Start:
    run = {"image": None, "command": ["true"], "env": {}, "keep_alive_s": None, **fields.pop("run", {})}
    wanted = {"accelerators": ["1xl4"], "regions": [], "provisioning": "standard", **fields.pop("wanted", {})}
    values = {"job_id": "job", "user_id": "ada", "limits": {}, "labels": {}, **fields}
    return starts.start(wanted=wanted, run=run, **values)


def test_what_was_not_asked_for_is_left_to_the_bundle() -> None:
    start = a_start(limits={"max_runtime_s": 60, "max_errors": None})

    assert start.limits == LimitsAsked(max_runtime_s=60)
    assert starts.run_of(start).keep_alive_s == 0


@pytest.mark.parametrize(
    ("fields", "field", "option"),
    [
        ({"job_id": "No!"}, "field job_id", "--job-id"),
        ({"user_id": "a b"}, "field user_id", "--user"),
        ({"labels": {"Team": "x"}}, "field labels", "--label"),
        ({"limits": {"max_runtime_s": 1}}, "field limits.max_runtime_s", "--max-runtime"),
        ({"limits": {"max_cost_usd": -1.0}}, "field limits.max_cost_usd", "--max-cost"),
        ({"limits": {"max_errors": 101}}, "field limits.max_errors", "--max-errors"),
        ({"wanted": {"hedge": 3}}, "field run.wanted.hedge", "--hedge"),
        ({"wanted": {"accelerators": ["l4"]}}, "field run.wanted.accelerators[0]", "--accelerator"),
        ({"wanted": {"regions": ["Mars"]}}, "field run.wanted.regions[0]", "--region"),
        ({"run": {"env": {"ZEROIDLE_X": "1"}}}, "ZEROIDLE_X", ""),
        ({"run": {"keep_alive_s": 9999}}, "field run.keep_alive_s", "--keep-alive"),
        ({"run": {"image": "Bad Image"}}, "field run.image", "--image"),
        ({"run": {"command": []}}, "needs `image` or `command`", ""),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_option_is_refused_by_the_contract_with_field_and_option(
    fields: dict[str, Any], field: str, option: str
) -> None:
    with pytest.raises(WrongUsage) as refused:
        a_start(**fields)

    assert field in refused.value.message
    assert option in refused.value.hint


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (Wanted(accelerators=["2xl4"]), "there is no cluster '2xl4'; there are 1xl4"),
        (Wanted(accelerators=["1xl4"], regions=["us-east1"]), "none of 1xl4 is in 'us-east1'"),
        (Wanted(accelerators=["1xl4"]), "none of 1xl4 is sold as 'standard'"),
    ],
    ids=["cluster", "region", "way of buying"],
)
def test_what_no_machine_can_ever_fit_is_refused_as_the_function_would(wanted: Wanted, told: str) -> None:
    with pytest.raises(WrongUsage, match=told):
        starts.check(wanted, CATALOG)


@pytest.mark.parametrize(
    ("image", "command", "name"),
    [
        (None, ["python", "train.py", "--lr", "1"], "train"),
        (None, ["/usr/bin/python3.11", "-m", "pkg.train"], "pkg"),
        (None, ["sh", "-c", "echo hello; cat /x/y"], "echo"),
        (None, ["bash"], "job"),
        (None, ["./Run_Me.SH"], "run-me"),
        (None, ["7z", "x"], "job-7z"),
        ("gcr.io/me/bert:2", [], "bert"),
        ("gcr.io/me/bert@sha256:0", ["serve"], "serve"),
        (None, ["x" * 99], "x" * 20),
    ],
    ids=str,
)
def test_a_job_gets_a_readable_id_that_the_contract_takes(image: str | None, command: list[str], name: str) -> None:
    job_id = starts.readable_id(image, command, "k3x9q")

    assert job_id == f"{name}-k3x9q"
    assert a_start(job_id=job_id).job_id == job_id


def test_the_command_that_lists_all_offers_asks_for_the_same() -> None:
    wanted = Wanted(accelerators=["1xl4", "8xh100"], regions=["us-east1"], provisioning=Provisioning.FLEX_START)

    words = "offers --accelerator 1xl4,8xh100 --region us-east1 --flex-start"
    assert " ".join(starts.offers_words(wanted)) == words


def test_options_that_take_several_and_times_with_units() -> None:
    assert listed(["1xl4, 8xh100", "1xa100-40gb"]) == ["1xl4", "8xh100", "1xa100-40gb"]
    assert [seconds(text, "--x") for text in (None, "90", "90s", "15m", "2h", "1d")] == [None, 90, 90, 900, 7200, 86400]
    assert pairs(["A=b=c", "D="], "--env") == {"A": "b=c", "D": ""}
    for wrong in ("1.5h", "h", "-1", "1w"):
        with pytest.raises(WrongUsage, match="--x is"):
            seconds(wrong, "--x")
    with pytest.raises(WrongUsage, match="--env is A"):
        pairs(["A"], "--env")


def test_without_a_terminal_nobody_can_be_asked() -> None:
    called = zeroidle("submit", "--accelerator", "1xl4", "--json", "--", "true")

    assert (called.code, called.out, called.error["code"]) == (2, "", "WRONG_USAGE")
    assert "-y goes on without" in called.error["hint"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--", "true"], "--accelerator is missing"),
        (["--accelerator", "1xl4"], "needs `image` or `command`"),
        (["--accelerator", "1xl4", "--spot", "--flex-start", "true"], "exclude each other"),
        (["--accelerator", "1xl4", "--max-runtime", "soon", "true"], "--max-runtime is 'soon'"),
        (["--accelerator", "1xl4", "--env", "A", "true"], "--env is A"),
    ],
    ids=["accelerator", "nothing to run", "two ways of buying", "time", "env"],
)
def test_a_wrong_option_is_wrong_usage_before_any_cloud_is_started(
    call: Call, tmp_path: Any, arguments: list[str], told: str
) -> None:
    called = call("submit", "-y", "--state", tmp_path / "state", *arguments)

    assert called.code == 2
    assert told in called.err
    assert not (tmp_path / "state").exists()
