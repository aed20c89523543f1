#!/usr/bin/env python3
"""Writes a log of Zeek to a Parquet file, in row groups of ten thousand records.

    pip install pyarrow
    python3 logs_parquet.py zeek://sensor:9999 conn conn.parquet
"""

import sys

import pyarrow
import pyarrow.parquet

import broker

ROWS = 10_000
# What is none of these is written as text.
TYPES = {"bool": pyarrow.bool_(), "int": pyarrow.int64(), "count": pyarrow.uint64(), "double": pyarrow.float64(),
         "time": pyarrow.timestamp("us", "UTC"), "interval": pyarrow.duration("us")}


def columns(schema):
    return pyarrow.schema([(field.name, TYPES.get(field.type, pyarrow.string())) for field in schema.fields])


def cell(value, kind):
    if value is None or kind != pyarrow.string():
        return value
    if isinstance(value, (tuple, frozenset)):
        return ",".join(sorted(map(str, value)))
    return str(value)


def write(records, path, rows=ROWS):
    """Writes all records of one log; returns how many there were."""
    writer, waiting, written = None, [], 0

    def flush():
        batch = [pyarrow.array([cell(record.get(field.name), field.type) for record in waiting], field.type)
                 for field in shape]
        writer.write_batch(pyarrow.record_batch(batch, schema=shape))
        waiting.clear()

    try:
        for record in records:
            if writer is None:
                shape = columns(record.schema)
                writer = pyarrow.parquet.ParquetWriter(path, shape)
            waiting.append(record)
            written += 1
            if len(waiting) == rows:
                flush()
    finally:
        # Without its end a Parquet file cannot be read: also after Ctrl-C.
        if writer is not None:
            if waiting:
                flush()
            writer.close()
    return written


def main(url, log, path):
    with broker.Endpoint() as endpoint, broker.zeek.logs(endpoint, [log]) as records:
        endpoint.peer_nosync(url, retry=5)
        try:
            write(records, path)
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main(*sys.argv[1:])
