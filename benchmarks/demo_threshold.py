"""The threshold of the demo's profile: the most aggressive one that keeps the promise on the shop's own judgments.

    python -m benchmarks.demo_threshold [--max-loss 0.02]

The demo's servers judge the windows of the queries for training families, as the gateway has them judged. The held-out
families have no say in the threshold, and are shown beside it. It is the one that `csrm calibrate` would put into a
bundle: at most this share of the relevant products is lost, with 95 % confidence. Products near the profile's present
threshold go through all layers, so after a large change the profile is worth measuring again.
"""

from __future__ import annotations

import argparse
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from csrm.calibration import fit_threshold, loss_bound
from csrm.wire import RelevanceRequest, RelevanceResponse
from csrm_opensearch.profiles import load_settings
from demo.figures import RELEVANT
from demo.run import PROFILES, Urls, products_by_id, start
from demo.search import connect, search
from demo.shop import LOCALES, ShopQuery, judge, queries


@dataclass(frozen=True, slots=True)
class Judged:
    """The products in the windows of some queries: their irrelevance (n,), and which of them are relevant (n,)."""

    irrelevance: NDArray[np.float64]
    relevant: NDArray[np.bool_]

    def removed(self, threshold: float) -> tuple[int, int]:
        """How many relevant products and how many defects are above a threshold."""
        above = self.irrelevance > threshold
        return int((above & self.relevant).sum()), int((above & ~self.relevant).sum())


def judged(asked: Sequence[ShopQuery], urls: Urls) -> Judged:
    """Have the windows of some queries judged."""
    profile = load_settings(PROFILES).profiles[0]
    client, shop = connect(urls.opensearch), products_by_id()
    irrelevance: list[float] = []
    relevant: list[bool] = []
    for query in track(asked, description="Queries", transient=True):
        hits = search(client, query.locale, query.text, profile.window).hits
        if not hits:
            continue
        titles = [hit["_source"]["title"] for hit in hits]
        body = RelevanceRequest(
            query=query.text, products=titles, locale=query.locale, threshold=profile.threshold
        ).model_dump_json()
        request = urllib.request.Request(
            f"{urls.relevance}/v1/relevance", body.encode(), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            results = RelevanceResponse.model_validate_json(answer.read()).results
        irrelevance += [one.irrelevance for one in results]
        relevant += [judge(query, shop[hits[one.index]["_id"]]) in RELEVANT for one in results]
    return Judged(np.array(irrelevance), np.array(relevant))


def table(training: Judged, held_out: Judged, max_loss: float) -> Table:
    """What the fitted threshold, and others beside it, would lose and remove."""
    fitted = fit_threshold(training.irrelevance, training.relevant, max_loss=max_loss)
    shown = Table("threshold", "queries", "relevant lost", "at most, with 95 % confidence", "defects removed")
    for threshold in sorted({fitted, 0.1, 0.2, 0.3, 0.4, 0.5}):
        for name, one in (("training families", training), ("held-out families", held_out)):
            lost, removed = one.removed(threshold)
            of, defects = int(one.relevant.sum()), int((~one.relevant).sum())
            shown.add_row(
                f"{threshold:.3f}" + (" (fitted)" if threshold == fitted else ""),
                name,
                f"{lost} of {of} ({lost / of:.1%})",
                f"{loss_bound(lost, of):.1%}",
                f"{removed} of {defects} ({removed / defects:.1%})",
            )
    return shown


def main() -> None:
    """Start the demo's servers, judge, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--max-loss", type=float, default=0.02, help="share of relevant products (0.02)")
    arguments = parser.parse_args()
    console = Console()
    with ExitStack() as stack:
        urls = start(stack, console)
        asked = [query for locale in LOCALES for query in queries(locale)]
        sides = [
            judged([one for one in asked if one.held_out is held_out], urls) for held_out in (False, True)
        ]
        console.print(table(sides[0], sides[1], arguments.max_loss))


if __name__ == "__main__":
    main()
