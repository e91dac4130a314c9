"""The configuration document on this box: read it, check it, keep the last good one."""
