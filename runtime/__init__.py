"""Process machinery, a closed list: clock, tasks, backoff, log, metrics, sqlite, http, tls."""
