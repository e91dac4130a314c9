"""The uplink: journal rows to the hub's ingest over mutual TLS."""
