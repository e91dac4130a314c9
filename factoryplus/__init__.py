"""The one command: ``factoryplus gateway | central | plant | demo``."""
