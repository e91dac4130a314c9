"""Local sign-in: the one-time claim, passwords, sessions and back-off. Knows no HTTP."""
