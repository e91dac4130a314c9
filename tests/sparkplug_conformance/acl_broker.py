"""A mosquitto that lets in whom it knows and obeys an access list made by `contract.broker_acl`."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

from bench.processes import Broker

PASSWORD = "only a test's"


class AclBroker(Broker):
    """`Broker` with users, each with `PASSWORD`, and an access list."""

    def __init__(self, directory: Path, users: Iterable[str], acl: str, port: int = 0) -> None:
        super().__init__(directory, port)
        passwords, list_path = directory / "passwords", directory / "acl"
        passwords.touch(mode=0o600)
        for user in users:
            command = ["mosquitto_passwd", "-b", str(passwords), user, PASSWORD]
            subprocess.run(command, check=True, capture_output=True)
        list_path.write_text(acl, encoding="utf-8")
        config = directory / "mosquitto.conf"
        text = config.read_text().replace("allow_anonymous true", "allow_anonymous false")
        config.write_text(f"{text}password_file {passwords}\nacl_file {list_path}\n")
