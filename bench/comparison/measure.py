"""What the programs of this folder share: their command line, and what they print."""

import json
import statistics


def main(serve, drive, words):
    """`serve [PORT]` prints its port and runs; `drive PORT COUNT PINGS` prints what it measured."""
    if words[1] == "serve":
        serve(*map(int, words[2:]))
    else:
        rate, trips = drive(*map(int, words[2:]))
        print(json.dumps({"rate": rate, "median_us": statistics.median(trips) * 1e6,
                          "p99_us": statistics.quantiles(trips, n=100)[98] * 1e6}))
