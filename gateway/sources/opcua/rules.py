"""Which browse paths a rule takes. Matching takes time linear in the path, whatever the pattern.

Globs and regular expressions run on RE2 (docs/decisions/0016): Python's own engine can be kept
busy for hours by a pattern of ten characters. A path is the browse names below the rule's node,
joined by "/"; a glob's ``*`` and ``?`` stay within a level, ``**`` spans levels (also none).
"""

from __future__ import annotations

import re2

from contract.config import RuleConfig

_MEMORY_BYTES_MAX = 1 << 20
"""RE2 gives up on a pattern whose program is larger."""


class PatternError(Exception):
    """Raised when RE2 refuses a pattern; the text says why."""


class RuleFilter:
    """Decides for one rule. Made from its configuration.

    Raises PatternError.
    """

    def __init__(self, rule: RuleConfig) -> None:
        self.rule = rule
        self._wanted = [
            _compiled(text)
            for text in (
                glob_as_regex(rule.match) if rule.match is not None else None,
                rule.regex,
            )
            if text is not None
        ]
        self._left_out = [_compiled(glob_as_regex(glob)) for glob in rule.exclude]

    def enters(self, path: str, depth: int) -> bool:
        """Decide whether to look at a node and below it; ``depth`` is 1 for direct children."""
        if depth > self.rule.depth_max:
            return False
        return not any(pattern.fullmatch(path) for pattern in self._left_out)

    def takes(self, path: str) -> bool:
        """Decide whether a variable that was entered becomes a tag."""
        return all(pattern.fullmatch(path) for pattern in self._wanted)


def glob_as_regex(glob: str) -> str:
    """Write a glob in RE2's language."""
    parts: list[str] = []
    at = 0
    while at < len(glob):
        if glob.startswith("**/", at):
            parts.append("(?:.*/)?")
            at += 3
        elif glob.startswith("**", at):
            parts.append(".*")
            at += 2
        else:
            parts.append({"*": "[^/]*", "?": "[^/]"}.get(glob[at]) or re2.escape(glob[at]))
            at += 1
    return "(?s)" + "".join(parts)


def _compiled(text: str) -> re2._Regexp:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MEMORY_BYTES_MAX
    try:
        return re2.compile(text, options)
    except re2.error as error:
        told = error.args[0] if error.args else error
        why = told.decode("utf-8", "replace") if isinstance(told, bytes) else str(told)
        raise PatternError(why) from error
