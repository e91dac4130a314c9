"""This box as a member of a fleet: enrol at a hub, and what it then knows of it."""
