"""The time series: appended in groups, flushed into the lake exactly once, queried by tag."""
