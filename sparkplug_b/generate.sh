#!/bin/sh
# Regenerate sparkplug_b_pb2.py and its stub from sparkplug_b.proto (needs grpcio-tools).
# The generated code needs a protobuf runtime at least as new as the protoc inside grpcio-tools.
set -eu
cd "$(dirname "$0")/.."
"${PYTHON:-.venv/bin/python}" -m grpc_tools.protoc -I . \
    --python_out=. --pyi_out=. sparkplug_b/sparkplug_b.proto
stub=sparkplug_b/sparkplug_b_pb2.pyi
{ echo "# ruff: noqa: A002, E501, I001, RUF023, UP007, UP045"; echo "# fmt: off"; cat "$stub"; } > "$stub.tmp"
mv "$stub.tmp" "$stub"
