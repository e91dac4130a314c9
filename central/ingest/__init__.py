"""Uploads: verified, spooled durably, acknowledged, drained into the lake; completeness."""
