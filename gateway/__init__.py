"""The edge appliance: reads OPC UA, journals durably, publishes Sparkplug B, syncs to the hub."""
