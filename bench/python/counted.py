"""Conversions between Python values and the wire form, a number of times: what instruction counts
are taken of.

    counted.py CASE ITERATIONS

Everything happens on one thread. All cases run a little before, so that whoever counts takes the
difference to a run of no iterations, in which the start of Python cancels.
"""

import sys

import broker
from roles import connection_record

WARM_UP = 20

# The content of a Zeek event: a format, a kind, and a name with its arguments.
SMALL = (broker.Count(1), broker.Count(1), ("ping", (7,)))
MEDIUM = (broker.Count(1), broker.Count(1), ("connection", (7, connection_record())))


def value_to_wire(value, iterations):
    convert = broker.Data
    for _ in range(iterations):
        convert(value)


def wire_to_value(value, iterations):
    data = broker.Data(value)
    convert = broker.Data.to_py
    for _ in range(iterations):
        convert(data)
    if convert(data) != value:
        sys.exit("the value came back changed: %r" % (convert(data),))


CASES = {
    "python-encode-small": (value_to_wire, SMALL),
    "python-encode-medium": (value_to_wire, MEDIUM),
    "python-decode-small": (wire_to_value, SMALL),
    "python-decode-medium": (wire_to_value, MEDIUM),
}


def main():
    chosen, iterations = sys.argv[1], int(sys.argv[2])
    for work, value in CASES.values():
        work(value, WARM_UP)
    work, value = CASES[chosen]
    work(value, iterations)


if __name__ == "__main__":
    main()
