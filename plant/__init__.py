"""A simulated OPC UA plant: for the demo, tests and benchmarks, never for the product."""
