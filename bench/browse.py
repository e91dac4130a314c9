"""`bench browse`: time, CPU and memory of walking and describing a large address space.

The plant's folder of load tags is walked as a rule does, and its variables are described as they
are for tags (type, unit, range, description). o6 (open62541) pages its answers; asyncua sends a
folder whole. All tags lie in one folder: the worst case for a page.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from bench.processes import HarnessError, Plant, running
from bench.results import Figures, progress
from contract.config import GroupConfig, OpcUaSourceConfig, SecurityConfig
from gateway.sources.opcua.access import Access, Pki, target_of
from gateway.sources.opcua.datatypes import DataTypes
from gateway.sources.opcua.explorer import short_session
from gateway.sources.opcua.requests import Requests
from gateway.sources.opcua.session import Session
from gateway.sources.opcua.variables import learn_variables
from gateway.sources.opcua.walk import Walk, walk
from plant.model import LOAD_FOLDER_ID, NAMESPACE_URI
from runtime.clock import SystemClock

DESCRIBED_AT_ONCE = 1000


@dataclass(frozen=True, kw_only=True)
class BrowseLoad:
    """What is browsed.

    Attributes:
        nodes: Variables in the folder.
        engine: The plant's server.
        describe: Describe the variables too, for the figures of `described_`.
    """

    nodes: int = 100_000
    engine: Literal["o6", "asyncua"] = "o6"
    describe: bool = True


async def run_browse(load: BrowseLoad, directory: Path) -> Figures:
    """Measure once."""
    plant = Plant(
        directory,
        *("--tags", str(load.nodes), "--engine", load.engine, "--period-ms", "600000"),
    )
    async with running(plant):
        config = OpcUaSourceConfig(
            name="bench",
            endpoint=plant.endpoint,
            security=SecurityConfig(policy="None", mode="None", allow_insecure=True),
            groups=[GroupConfig(name="g")],
        )
        access = Access(target_of(config), Pki(directory / "pki", SystemClock()))
        progress(f"{load.engine} serves {load.nodes} nodes")
        async with short_session(access) as session:
            return await _measure(session, load)


async def _measure(session: Session, load: BrowseLoad) -> Figures:
    clock = SystemClock()
    requests = Requests(session, clock)
    start = session.namespaces.node_id(f"nsu={NAMESPACE_URI};s={LOAD_FOLDER_ID}")
    rss_before = _rss_bytes()
    rss_most = rss_before
    began, cpu_before = time.perf_counter(), time.process_time()
    found = []
    async for node in walk(requests, start, Walk()):
        found.append(node.node_id)
        if not len(found) % 1000:
            rss_most = max(rss_most, _rss_bytes())
    took_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu_before
    if len(found) != load.nodes:
        raise HarnessError(f"{len(found)} of {load.nodes} nodes were found")
    figures: Figures = {
        "nodes": load.nodes,
        "engine": load.engine,
        "browse_s": round(took_s, 2),
        "browse_cpu_us_per_node": round(cpu_s * 1e6 / load.nodes, 1),
        "browse_requests": requests.requests_count,
        "rss_grown_mb": round((rss_most - rss_before) / 2**20, 1),
        "rss_grown_bytes_per_node": round((rss_most - rss_before) / load.nodes),
    }
    if load.describe:
        figures |= await _describe(requests, found)
    return figures


async def _describe(requests: Requests, found: list[object]) -> Figures:
    types = DataTypes(requests)
    began, cpu_before = time.perf_counter(), time.process_time()
    for first in range(0, len(found), DESCRIBED_AT_ONCE):
        await learn_variables(requests, types, found[first : first + DESCRIBED_AT_ONCE])
    took_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu_before
    return {
        "described_s": round(took_s, 2),
        "described_cpu_us_per_node": round(cpu_s * 1e6 / len(found), 1),
    }


def _rss_bytes() -> int:
    return int(psutil.Process().memory_info().rss)
