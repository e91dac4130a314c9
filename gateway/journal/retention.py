"""What the journal may forget: pure decisions over row numbers, sizes and cursors.

A row goes when every enabled consumer has it *and* the retention window is over. At the size limit
the oldest rows go whether or not everybody has them, and what a consumer misses by that is entered
in the loss ledger.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.journal.cursors import Cursor

FULL_RATIO = 0.95
"""Above this part of ``max_bytes`` the oldest rows are dropped ..."""
EASED_RATIO = 0.90
"""... down to this part, so that it does not happen at every commit."""


def expired_to(cursors: Mapping[str, Cursor], before_window: int) -> int:
    """Return the last row that may go because nobody needs it.

    Args:
        cursors: of the enabled consumers.
        before_window: the last row committed before the retention window.
    """
    return min([before_window, *(cursor.confirmed for cursor in cursors.values())])


def unconfirmed_count(cursors: Mapping[str, Cursor], first: int, last: int) -> dict[str, int]:
    """Return, for each consumer that lacks any, how many of rows ``first`` to ``last`` it lacks."""
    lacking = {}
    for name, cursor in cursors.items():
        count = cursor.pending_count(last) - cursor.pending_count(first - 1)
        if count > 0:
            lacking[name] = count
    return lacking
