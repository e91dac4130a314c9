"""Joins the strangers: sources -> pipeline -> journal -> sinks; owns retry, back-off, pacing."""
