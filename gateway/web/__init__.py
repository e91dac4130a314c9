"""The gateway's HTTP side: one file per page or URL prefix."""
