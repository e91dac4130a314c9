"""The durable middle of the gateway: rows, cursors, tags, marks and the loss ledger."""
