"""The trust list on disk: who is trusted, who may issue, who was turned away.

Layout (OPC 10000-12, 7.5; the file store that other OPC UA programs use)::

    pki/trusted/{certs,crl}    approved for every source
    pki/issuers/{certs,crl}    may complete a chain, and their revocation lists
    pki/rejected/certs         shown by servers, not approved; the newest ``REJECTED_MAX`` are kept
    pki/sources/NAME/...       the same trusted and issuers, for one source alone

Nothing is ever trusted by itself: ``trust`` is a person's word, by the whole SHA-256 fingerprint.
Files are read anew for each check, so that a change by hand, by the command line or by the web
counts at once. Sizes and counts are bounded; a file that cannot be read is left out and named.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.errors import TrustError
from gateway.sources.opcua.certificate_check import Trusted
from gateway.sources.opcua.certificate_facts import (
    CertificateFacts,
    clean_fingerprint,
    facts_of,
    fingerprint,
    is_ca,
    load_certificate,
    name_text,
)
from runtime.log import logger
from runtime.tls import write_private

REJECTED_MAX = 100
REJECTED_PER_SOURCE_MAX = 20
FILES_MAX = 1_000
CERTIFICATE_BYTES_MAX = 65_536
CRL_BYTES_MAX = 5_000_000
SHARED = ""
"""The scope that counts for every source."""

_SOURCE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")
"""As in the configuration: it becomes a folder."""

ListName = Literal["trusted", "issuers", "rejected"]


class ListedCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate of the trust list.

    Attributes:
        list: where it stands.
        source: for which source; "" for all. Of a rejected one: which source was shown it.
        changed_us: when it came there, or was last shown; wall time.
    """

    list: ListName
    source: str
    certificate: CertificateFacts
    changed_us: int


class ListedRevocations(msgspec.Struct, frozen=True, kw_only=True):
    """A revocation list: of which issuer, how many, and until when it is current."""

    source: str
    issuer: str
    revoked_count: int
    next_update_us: int | None


class TrustStore:
    """The trust list in a directory; every call reads or writes files, so use a thread."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    # -- what counts ------------------------------------------------------------------------------

    def trusted_for(self, source: str, *, shared: bool = True) -> Trusted:
        """Load what counts for one source."""
        scopes = [source, SHARED] if shared and source != SHARED else [source]
        certificates: list[x509.Certificate] = []
        issuers: list[x509.Certificate] = []
        revocations: list[x509.CertificateRevocationList] = []
        own: frozenset[str] = frozenset()
        for scope in scopes:
            found = [c for _, c in self._certificates("trusted", scope)]
            if scope != SHARED:
                own = frozenset(fingerprint(c) for c in found)
            certificates += found
            issuers += [c for _, c in self._certificates("issuers", scope)]
            revocations += self._revocations(scope)
        return Trusted(certificates, issuers, revocations, own)

    def listing(self) -> list[ListedCertificate]:
        """List all certificates, newest first."""
        found: list[ListedCertificate] = []
        for scope in self._scopes():
            for name in ("trusted", "issuers"):
                found += [_listed(name, scope, *item) for item in self._certificates(name, scope)]
        for path, certificate in self._certificates("rejected", SHARED):
            found.append(_listed("rejected", path.name.rpartition("~")[0], path, certificate))
        return sorted(found, key=lambda item: -item.changed_us)

    def revocation_listing(self) -> list[ListedRevocations]:
        """List all revocation lists."""
        return [
            ListedRevocations(
                source=scope,
                issuer=name_text(crl.issuer),
                revoked_count=sum(1 for _ in crl),
                next_update_us=round(crl.next_update_utc.timestamp() * 1e6)
                if crl.next_update_utc is not None
                else None,
            )
            for scope in self._scopes()
            for crl in self._revocations(scope)
        ]

    # -- what people do ---------------------------------------------------------------------------

    def trust(self, wanted: str, source: str = SHARED) -> CertificateFacts:
        """Approve a certificate that a server has shown, for a source or for all (SHARED).

        Raises:
            TrustError: the fingerprint is none, or no such certificate was shown.
            OSError: the disk refused.
        """
        path, certificate = self._find("rejected", wanted)
        self._add("trusted", source, certificate)
        for shown, other in self._certificates("rejected", SHARED):
            if other == certificate:
                shown.unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        return facts_of(certificate)

    def reject(self, wanted: str) -> CertificateFacts:
        """Take back the approval of a certificate, in every scope.

        Raises:
            TrustError: it is not trusted.
            OSError: the disk refused.
        """
        found: x509.Certificate | None = None
        digits = _digits(wanted)
        for scope in self._scopes():
            for path, certificate in self._certificates("trusted", scope):
                if fingerprint(certificate) == digits:
                    path.unlink(missing_ok=True)
                    self.remember_rejected(certificate, scope)
                    found = certificate
        if found is None:
            raise TrustError(f"no trusted certificate has the fingerprint {digits}")
        return facts_of(found)

    def remove(self, wanted: str) -> int:
        """Forget a certificate wherever it is listed; return how many files that were.

        Raises:
            TrustError: it is listed nowhere.
            OSError: the disk refused.
        """
        digits = _digits(wanted)
        count = 0
        for scope in self._scopes():
            names: tuple[ListName, ...] = ("trusted", "issuers")
            for name in (*names, "rejected") if scope == SHARED else names:
                for path, certificate in self._certificates(name, scope):
                    if fingerprint(certificate) == digits:
                        path.unlink(missing_ok=True)
                        count += 1
        if not count:
            raise TrustError(f"no certificate has the fingerprint {digits}")
        return count

    def import_file(self, content: bytes, source: str = SHARED) -> str:
        """Take a certificate or revocation list (PEM or DER); return what it was.

        An authority becomes an issuer, which completes chains; a revocation list goes beside it;
        any other certificate becomes trusted. All of the file, or nothing.

        Raises:
            TrustError: it is neither, or too large.
            OSError: the disk refused.
        """
        if len(content) > CRL_BYTES_MAX:
            raise TrustError(f"the file is larger than {CRL_BYTES_MAX} bytes")
        crl = _read_crl(content)
        if crl is not None:
            self._write(self._folder("issuers", source, "crl"), f"{_crl_name(crl)}.crl", crl)
            return f"revocation list of {name_text(crl.issuer)}"
        certificates = _read_certificates(content)
        for certificate in certificates:
            self._add("issuers" if is_ca(certificate) else "trusted", source, certificate)
        kinds = {"issuer" if is_ca(c) else "trusted certificate" for c in certificates}
        names = "; ".join(name_text(c.subject) for c in certificates)
        return f"{' and '.join(sorted(kinds))}: {names}"

    def trust_issuer(self, wanted: str, source: str = SHARED) -> CertificateFacts:
        """Trust all that a known issuer has signed and not revoked, for a source or for all.

        Raises:
            TrustError: no such issuer was imported.
            OSError: the disk refused.
        """
        digits = _digits(wanted)
        for scope in self._scopes():
            for _, certificate in self._certificates("issuers", scope):
                if fingerprint(certificate) == digits:
                    self._add("trusted", source, certificate)
                    return facts_of(certificate)
        raise TrustError(f"no issuer has the fingerprint {digits}: import its certificate first")

    def remember_rejected(self, certificate: x509.Certificate, source: str) -> None:
        """Keep a certificate that was turned away, for a person to judge; the oldest goes."""
        folder = self._folder("rejected", SHARED, "certs")
        name = f"{source}~{fingerprint(certificate)}.der"
        if (folder / name).exists():
            os.utime(folder / name)
            return
        self._write(folder, name, certificate)
        self._bound_rejected(folder, source)

    def _bound_rejected(self, folder: Path, source: str) -> None:
        files = sorted(folder.glob("*.der"), key=lambda p: p.stat().st_mtime_ns, reverse=True)
        own = [path for path in files if path.name.startswith(f"{source}~")]
        for path in {*files[REJECTED_MAX:], *own[REJECTED_PER_SOURCE_MAX:]}:
            path.unlink(missing_ok=True)

    # -- files ------------------------------------------------------------------------------------

    def _scopes(self) -> list[str]:
        folder = self._directory / "sources"
        names = sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
        return [SHARED, *names]

    def _folder(self, name: ListName, scope: str, kind: str) -> Path:
        if scope and not _SOURCE_NAME.match(scope):
            raise TrustError(f"{scope!r} cannot be the name of a source")
        base = self._directory / "sources" / scope if scope else self._directory
        return base / name / kind

    def _add(self, name: ListName, scope: str, certificate: x509.Certificate) -> None:
        file = f"{fingerprint(certificate)}.der"
        self._write(self._folder(name, scope, "certs"), file, certificate)

    def _write(
        self,
        folder: Path,
        name: str,
        content: x509.Certificate | x509.CertificateRevocationList,
    ) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(folder / name, content.public_bytes(Encoding.DER))

    def _find(self, name: ListName, wanted: str) -> tuple[Path, x509.Certificate]:
        digits = _digits(wanted)
        for path, certificate in self._certificates(name, SHARED):
            if fingerprint(certificate) == digits:
                return path, certificate
        raise TrustError(
            f"no server has shown a certificate with the fingerprint {digits}: "
            "run the connection check first, or import the certificate's file"
        )

    def _certificates(self, name: ListName, scope: str) -> Iterator[tuple[Path, x509.Certificate]]:
        for path, content in _files(self._folder(name, scope, "certs"), CERTIFICATE_BYTES_MAX):
            try:
                yield path, _read_certificates(content)[0]
            except TrustError as error:
                logger().warning("opcua.trust_file_ignored", file=str(path), reason=str(error))

    def _revocations(self, scope: str) -> list[x509.CertificateRevocationList]:
        found: list[x509.CertificateRevocationList] = []
        for name in ("trusted", "issuers"):
            for path, content in _files(self._folder(name, scope, "crl"), CRL_BYTES_MAX):
                crl = _read_crl(content)
                if crl is not None:
                    found.append(crl)
                else:
                    logger().warning("opcua.trust_file_ignored", file=str(path), reason="no CRL")
        return found


def _files(folder: Path, bytes_max: int) -> Iterator[tuple[Path, bytes]]:
    """Read the files of a folder; what is hidden, too large or unreadable is left out."""
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir())[:FILES_MAX]:
        if path.name.startswith("."):
            continue
        try:
            if path.stat().st_size > bytes_max:
                logger().warning("opcua.trust_file_ignored", file=str(path), reason="too large")
                continue
            yield path, path.read_bytes()
        except OSError as error:
            logger().warning("opcua.trust_file_ignored", file=str(path), reason=str(error))


def _read_certificates(content: bytes) -> list[x509.Certificate]:
    try:
        if b"-----BEGIN" not in content:
            return [load_certificate(content)]
        found = x509.load_pem_x509_certificates(content)[:FILES_MAX]
        return [load_certificate(c.public_bytes(Encoding.DER)) for c in found]
    except (ValueError, x509.InvalidVersion) as error:
        raise TrustError("this is no X.509 certificate and no revocation list") from error


def _read_crl(content: bytes) -> x509.CertificateRevocationList | None:
    try:
        if b"-----BEGIN X509 CRL" in content:
            crl = x509.load_pem_x509_crl(content)
        elif b"-----BEGIN" in content:
            return None
        else:
            crl = x509.load_der_x509_crl(content)
        crl.issuer.rfc4514_string()
        _ = (crl.next_update_utc, crl.signature, len(crl))
    except (ValueError, x509.InvalidVersion):
        return None
    return crl


def _crl_name(crl: x509.CertificateRevocationList) -> str:
    """One file per issuer: a newer list takes the place of the older."""
    digest = hashes.Hash(hashes.SHA256())
    digest.update(crl.issuer.public_bytes())
    return digest.finalize().hex()


def _digits(text: str) -> str:
    try:
        return clean_fingerprint(text)
    except ValueError as error:
        raise TrustError(str(error)) from error


def _listed(
    name: ListName, source: str, path: Path, certificate: x509.Certificate
) -> ListedCertificate:
    try:
        changed_us = path.stat().st_mtime_ns // 1000
    except OSError:
        changed_us = 0
    return ListedCertificate(
        list=name, source=source, certificate=facts_of(certificate), changed_us=changed_us
    )
