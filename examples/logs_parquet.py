#!/usr/bin/env python3
"""Writes a log of Zeek to a Parquet file, in row groups of ten thousand records.

    pip install pyarrow
    python3 logs_parquet.py zeek://sensor:9999 conn conn.parquet
"""

import sys
from collections.abc import Iterable
from typing import Any

import pyarrow
import pyarrow.parquet

import broker
from broker.zeek import LogRecord, LogSchema

ROWS = 10_000
# What is none of these is written as text.
TYPES = {"bool": pyarrow.bool_(), "int": pyarrow.int64(), "count": pyarrow.uint64(), "double": pyarrow.float64(),
         "time": pyarrow.timestamp("us", "UTC"), "interval": pyarrow.duration("us")}


def columns(schema: LogSchema) -> Any:
    return pyarrow.schema([(field.name, TYPES.get(field.type, pyarrow.string())) for field in schema.fields])


def cell(value: Any, kind: Any) -> Any:
    if value is None or kind != pyarrow.string():
        return value
    if isinstance(value, (tuple, frozenset)):
        return ",".join(sorted(map(str, value)))
    return str(value)


def batch(records: list[LogRecord], shape: Any) -> Any:
    arrays = [pyarrow.array([cell(record.get(field.name), field.type) for record in records], field.type)
              for field in shape]
    return pyarrow.record_batch(arrays, schema=shape)


def write(records: Iterable[LogRecord], path: str, rows: int = ROWS) -> int:
    """Writes all records of one log; returns how many there were."""
    writer: Any = None
    waiting: list[LogRecord] = []
    written = 0
    try:
        for record in records:
            if writer is None:
                writer = pyarrow.parquet.ParquetWriter(path, columns(record.schema))
            waiting.append(record)
            written += 1
            if len(waiting) == rows:
                writer.write_batch(batch(waiting, writer.schema))
                waiting.clear()
    finally:
        # Without its end a Parquet file cannot be read: also after Ctrl-C.
        if writer is not None:
            if waiting:
                writer.write_batch(batch(waiting, writer.schema))
            writer.close()
    return written


def main(url: str, log: str, path: str) -> None:
    with broker.Endpoint() as endpoint, broker.zeek.logs(endpoint, [log]) as records:
        endpoint.peer_nosync(url, retry=5)
        try:
            write(records, path)
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main(*sys.argv[1:])
