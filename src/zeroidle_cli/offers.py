"""Where could a machine be asked for now, and at what price? As placement ranks it on what the ledger knows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from zeroidle.contracts.machines import Wanted
from zeroidle.contracts.messages import Start
from zeroidle.core import machines, placement
from zeroidle.core.events import NothingOffered, Submitted, VmsAsked
from zeroidle.core.job import begin
from zeroidle.core.pipeline import Deployment
from zeroidle.core.placement import Catalog, Market, Offer
from zeroidle_cli.connection import Connection
from zeroidle_cli.output import Column, age, table

Place = tuple[str, str]  # cluster, region
CHOSEN = "✔"
DERIVED = "~"  # before a price that is no list price


def market(connection: Connection) -> Market:
    """What is known of capacity: refusals, and the VMs that are live or asked for."""
    from zeroidle.gcp.vmstore import BucketVmStore

    vms = BucketVmStore(connection.objects, connection.bucket("jobs"))
    return Market(vms.blocks(), vms.entries())


def ranked(wanted: Wanted, catalog: Catalog, known: Market, now: float) -> list[Offer]:
    """Every place that fits, the best first. Clusters that the bundle has no more have no places."""
    there = [name for name in wanted.accelerators if name in catalog.clusters]
    fits = Wanted(accelerators=there, regions=wanted.regions, provisioning=wanted.provisioning, hedge=wanted.hedge)
    return placement.offers(fits, catalog, known, now)


def first_choice(start: Start, deployment: Deployment, known: Market, now: float) -> set[Place] | None:
    """Where the function will ask for this job's VMs if it is told now; None where a VM waits that may take it."""
    submitted = Submitted(
        job_id=start.job_id,
        user_id=start.user_id,
        run=start.run,
        limits=start.limits.over(deployment.machine_limits),
        labels=start.labels,
        usd_per_second={},
        at=now,
    )
    match machines.first_event(begin(submitted), deployment.catalog, known, now):
        case VmsAsked(vms=vms):
            return {(vm.ref.cluster, vm.ref.region) for vm in vms}
        case NothingOffered():
            return set()
        case _:
            return None


def offers_table(
    shown: Sequence[Offer], catalog: Catalog, now: float, chosen: Collection[Place] | None = None
) -> Table:
    """A line for each place; without `chosen` nothing is being chosen."""
    columns = [
        Column("ACCELERATOR"),
        Column("MACHINE", long=True),
        Column("GPUS", right=True),
        Column("REGION"),
        Column("$/H", right=True),
        Column("OPEN", long=True),
        *([] if chosen is None else [Column("CHOSEN")]),
    ]
    rows: list[list[str | Text]] = []
    for offer in shown:
        cluster = catalog.clusters[offer.cluster]
        price = f"{DERIVED if _is_derived(offer, catalog) else ''}{offer.usd_per_hour:,.2f}"
        row: list[str | Text] = [offer.cluster, cluster.machine_type, str(cluster.gpus), offer.region, price]
        row.append(Text("open", "green") if offer.is_open else Text(closed(offer, now), "yellow"))
        if chosen is not None:
            row.append(Text(CHOSEN if (offer.cluster, offer.region) in chosen else "", "bold green"))
        rows.append(row)
    return table(columns, rows)


def _is_derived(offer: Offer, catalog: Catalog) -> bool:
    return offer.provisioning in catalog.clusters[offer.cluster].derived.get(offer.region, ())


def closed(offer: Offer, now: float) -> str:
    """Why nobody asks there now, and until when: `STOCKOUT, opens in 48 s`."""
    if offer.closed_for is None:
        return ""
    why = offer.code or offer.closed_for.value
    return why if offer.opens_at is None else f"{why}, opens in {age(offer.opens_at - now)}"


def document(offer: Offer, catalog: Catalog, chosen: Collection[Place] | None = None) -> dict[str, Any]:
    """All of it for programs."""
    cluster = catalog.clusters[offer.cluster]
    told = {
        "accelerator": offer.cluster,
        "machine_type": cluster.machine_type,
        "gpu": cluster.gpu,
        "gpus": cluster.gpus,
        "region": offer.region,
        "provisioning": offer.provisioning,
        "usd_per_hour": offer.usd_per_hour,
        "price_derived": _is_derived(offer, catalog),
        "open": offer.is_open,
        "closed_for": offer.closed_for,
        "code": offer.code or None,
        "opens_at": offer.opens_at,
        "recent_refusals": offer.failures,
    }
    return told if chosen is None else {**told, "chosen": (offer.cluster, offer.region) in chosen}
