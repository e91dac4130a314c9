"""Start hubs quickly: import once, fork a real process per hub (tests kill it as any other).

Reads one JSON line per hub from stdin: arguments, environment, stdout and stderr paths; answers
with the child's pid. Forking is safe here: nothing but imports has run.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import traceback
import warnings

import central.app
import central.cli
import central.timeseries.ducklake


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    warnings.simplefilter("error")
    _say("ready")
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _run(order)
        _say(str(pid))


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _run(order: dict[str, object]) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, key in ((1, "stdout"), (2, "stderr")):
        descriptor = os.open(str(order[key]), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(descriptor, number)
    environment = order["environment"]
    assert isinstance(environment, dict)
    os.environ.update(environment)
    if order["file_bytes_max"] is not None:
        limit = int(str(order["file_bytes_max"]))
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    arguments = order["arguments"]
    assert isinstance(arguments, list)
    code = 1
    try:
        central.cli.app(arguments, result_action="return_value")
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:  # noqa: BLE001 - the child ends here
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
