"""zeroidle offers: which machines are there, where, at what price, and may they be asked for now?"""

from __future__ import annotations

from zeroidle.contracts.machines import Wanted
from zeroidle_cli import project, starts
from zeroidle_cli.connection import connect
from zeroidle_cli.offers import DERIVED, document, market, offers_table, ranked
from zeroidle_cli.options import (
    AcceleratorOption,
    FlexStartOption,
    JsonOption,
    RegionOption,
    SpotOption,
    StateOption,
    listed,
)
from zeroidle_cli.output import err, out, print_json


def offers(
    accelerator: AcceleratorOption = None,
    region: RegionOption = None,
    spot: SpotOption = False,
    flex_start: FlexStartOption = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """List machines with their prices, in the order in which they would be asked for.

    Prices are list prices on demand, unless --spot or --flex-start is given, as bundle.yaml has them: not today's, and
    without disks. One that begins with ~ is derived, not listed. A place that refused lately is closed for a while, and
    one at the caps of bundle.yaml until other jobs end.
    """
    here = project.find()
    prices = here.bundle.machines.price_list
    how = starts.way_of_buying(spot, flex_start)
    with connect(here, state) as connection:
        catalog, now = connection.deployment.catalog, connection.clock.now()
        asked = listed(accelerator)
        wanted = Wanted(accelerators=asked or list(catalog.clusters), regions=listed(region), provisioning=how)
        starts.check(wanted, catalog)
        found = ranked(wanted, catalog, market(connection), now)
    if not asked:  # no order was asked for, so the cheapest come first
        found.sort(key=lambda offer: (offer.usd_per_hour, offer.cluster, offer.region))
    if as_json:
        told = {"read_on": prices.read_on, "source": prices.source}
        print_json({"provisioning": how, "prices": told, "offers": [document(offer, catalog) for offer in found]})
        return
    out.print(offers_table(found, catalog, now))
    err.print(f"[dim]{len(found)} places, {sum(offer.is_open for offer in found)} open, bought {how.value}[/]")
    err.print(f"[dim]prices as listed in {prices.source} on {prices.read_on}; {DERIVED}: derived[/]")
