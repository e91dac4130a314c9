"""Hands each sub-command to the program that owns it; imports only that one."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.metadata import version

PROGRAMS = {
    "gateway": ("gateway.cli", "the edge appliance: OPC UA to Sparkplug B and the hub"),
    "central": ("central.cli", "the hub that a fleet of gateways reports to"),
    "plant": ("plant.cli", "a simulated OPC UA plant, for trying and testing"),
    "demo": ("factoryplus.demo_cli", "plant, broker, hub and gateway together, to look at"),
}


def main() -> None:
    """Run the sub-command named by the first word."""
    words = sys.argv[1:]
    if words and words[0] in PROGRAMS:
        import_module(PROGRAMS[words[0]][0]).app(words[1:])
        return
    if words == ["--version"]:
        print(version("factoryplus"))
        return
    print("usage: factoryplus PROGRAM ...\n")
    for name, (_, what) in PROGRAMS.items():
        print(f"  {name:9} {what}")
    sys.exit(0 if words in (["--help"], ["-h"]) else 2)
