"""What crosses a wire or a version boundary: samples, batches, uploads, configuration, fleet.

Imports msgspec, arro3, numpy and ``sparkplug_b`` only. No I/O, no clock.
"""
