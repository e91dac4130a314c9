"""The hub: fleet, ingest, time series, and what people see of them."""
