#!/usr/bin/env python3
"""An async web service beside Zeek: shows the latest notices, and has addresses blocked.

    pip install fastapi uvicorn
    ZEEK=zeek://manager:9999 uvicorn web_service:app
"""

import asyncio
import collections
import contextlib
import datetime
import ipaddress
import json
import os
from collections.abc import AsyncIterator
from typing import Any

import fastapi

import broker
from broker.zeek import Event, Logs

latest: collections.deque[Any] = collections.deque(maxlen=100)


async def collect(notices: Logs) -> None:
    async for record in notices:
        latest.append(json.loads(record.json()))


@contextlib.asynccontextmanager
async def lifespan(app: fastapi.FastAPI) -> AsyncIterator[None]:
    with broker.Endpoint() as endpoint, broker.zeek.logs(endpoint, ["notice"]) as notices:
        # Connects, and connects again, in the background.
        endpoint.peer_nosync(os.environ["ZEEK"], retry=5)
        app.state.endpoint = endpoint
        collecting = asyncio.create_task(collect(notices))
        try:
            yield
        finally:
            collecting.cancel()
            await asyncio.gather(collecting, return_exceptions=True)


app = fastapi.FastAPI(lifespan=lifespan)


@app.get("/notices")
async def notices() -> list[Any]:
    return list(latest)


@app.post("/block/{address}")
async def block(address: ipaddress.IPv4Address, seconds: int = 3600) -> dict[str, str]:
    endpoint = app.state.endpoint
    if not endpoint.peers():
        raise fastapi.HTTPException(503, "no peering with Zeek")
    endpoint.publish("/block/do", Event("Block::drop", address, datetime.timedelta(seconds=seconds)))
    return {"asked": str(address)}
