"""Modbus TCP source: registers and coils, read in blocks on a fixed beat."""
