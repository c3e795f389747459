"""Make `operator/littoral/core/capacity/latency.yaml`: the latency of the batch-service queue, solved exactly.

`python -m bench.capacity_table` takes some minutes. It is run anew when the knots or the percentiles change.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path

import click

from littoral.core.capacity import knots
from littoral.core.capacity.batch_time import BatchTime
from littoral.sim.batch_service import solve

PATH = Path(__file__).parents[1] / "operator/littoral/core/capacity/latency.yaml"
MAX_BATCH = (1, 2, 3, 4, 6, 8, 16, 32, 64, 128)
# base / per_item; the last one stands for infinity.
RATIOS = (0.0, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 1e9)
PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9, 99.99)

HEADER = """\
# The latency of the batch-service queue: a table that `python -m bench.capacity_table` made. Do not edit.
#
# Unit: the time of a batch of one, base + per_item. Each block holds, for each max_batch, one line for each
# base_share = base / (base + per_item); a line holds the latency at each of the rates of knots.py.
"""


def curve(case: tuple[int, float]) -> list[list[float]]:
    """The mean and each percentile at each knot, for (max_batch, base_share)."""
    max_batch, share = case
    batch_time = BatchTime(base=share, per_item=1 - share)
    throughput = batch_time.throughput(max_batch)
    rows: list[list[float]] = [[1.0] for _ in range(1 + len(PERCENTILES))]
    for index in range(1, knots.COUNT):
        latency = solve(batch_time=batch_time, max_batch=max_batch, rate=knots.knot(index, throughput=throughput))
        values = [latency.mean, *(latency.percentile(percentile) for percentile in PERCENTILES)]
        for row, value in zip(rows, values, strict=True):
            # The last digits are the solver's; a latency that falls with the rate would have no inverse.
            row.append(max(value, row[-1]))
    return rows


@click.command()
@click.option("--processes", default=2, show_default=True)
def main(processes: int) -> None:
    """Solve every case and write the table."""
    shares = [ratio / (1 + ratio) for ratio in RATIOS]
    cases = list(product(MAX_BATCH, shares))
    with ProcessPoolExecutor(processes) as pool:
        curves = list(pool.map(curve, cases))
    lines = [
        HEADER.rstrip(),
        f"max_batch: {list(MAX_BATCH)}",
        f"base_share: [{', '.join(f'{share:.9f}' for share in shares)}]",
        f"percentiles: {list(PERCENTILES)}",
    ]
    for number, name in enumerate(("mean", *PERCENTILES)):
        lines.append(f"{name}: |")
        lines += ["  " + " ".join(f"{value:.5g}" for value in rows[number]) for rows in curves]
    PATH.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
