"""Where samples go: a sink owns its protocol; the engine (``flow``) owns lanes, pacing, retry."""
