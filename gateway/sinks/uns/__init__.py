"""A mirror of last values in the Unified Namespace, as JSON over MQTT 5."""
