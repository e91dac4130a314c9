"""Who may use the hub: the one admin of today, its one-time code, sessions, attempts."""
