"""Where values come from: a source owns its protocol; the engine (``flow``) owns resilience."""
