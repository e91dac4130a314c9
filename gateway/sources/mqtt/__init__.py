"""MQTT source: topics with plain JSON, acknowledged to the broker after their commit."""
