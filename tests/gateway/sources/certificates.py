"""Certificates for tests: good ones, authorities, revocation lists, and each kind of wrong one."""

import ipaddress
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from runtime.clock import SystemClock

URI = "urn:test:server"
ADDRESS = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
NOW = datetime.fromtimestamp(SystemClock().wall_us() / 1e6, UTC)
DAY = timedelta(days=1)
USAGES = dict.fromkeys(
    ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"), True
) | dict.fromkeys(
    ("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"), False
)


@cache
def key(number=0, bits=2048):
    """A key; the same number is the same key, for making one takes a while."""
    del number
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


class Pair:
    """A certificate with its key, and what signs with it."""

    def __init__(self, certificate, private_key):
        self.certificate = certificate
        self.key = private_key

    @property
    def der(self):
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self):
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self):
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    @property
    def fingerprint(self):
        return self.certificate.fingerprint(hashes.SHA256()).hex()

    def write(self, directory, name="server"):
        """Write both as PEM files; return their paths."""
        directory.mkdir(parents=True, exist_ok=True)
        paths = directory / f"{name}.pem", directory / f"{name}.key.pem"
        paths[0].write_bytes(self.pem)
        paths[1].write_bytes(self.key_pem)
        return paths


def make(
    *,
    name="server",
    issuer=None,
    private_key=None,
    first=None,
    last=None,
    uri=URI,
    hosts=(ADDRESS,),
    usage=USAGES,
    extended=(ExtendedKeyUsageOID.SERVER_AUTH,),
    ca=False,
):
    """Make a certificate, good unless told otherwise; signed by itself without an issuer."""
    private_key = private_key or key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(private_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(first or NOW - DAY)
        .not_valid_after(last or NOW + 365 * DAY)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if uri is not None and not ca:
        names = [x509.UniformResourceIdentifier(uri), *hosts]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if usage is not None:
        builder = builder.add_extension(x509.KeyUsage(**usage), critical=True)
    if extended and not ca:
        builder = builder.add_extension(x509.ExtendedKeyUsage(extended), critical=False)
    signer = issuer.key if issuer else private_key
    return Pair(builder.sign(signer, hashes.SHA256()), private_key)


def signed_with_sha1(pair):
    """The same certificate, signed with SHA-1; the library only reads such ones."""
    sha256, sha1 = bytes.fromhex("06092a864886f70d01010b"), bytes.fromhex("06092a864886f70d010105")
    body = pair.certificate.tbs_certificate_bytes.replace(sha256, sha1)
    signature = pair.key.sign(body, padding.PKCS1v15(), hashes.SHA1())  # noqa: S303 - on purpose
    der = pair.der.replace(pair.certificate.tbs_certificate_bytes, body).replace(sha256, sha1)
    der = der[: -len(signature)] + signature
    return Pair(x509.load_der_x509_certificate(der), pair.key)


def authority(name="plant CA", number=90, issuer=None):
    """A certificate authority."""
    usage = USAGES | {"key_cert_sign": True, "crl_sign": True}
    return make(name=name, private_key=key(number), usage=usage, ca=True, issuer=issuer)


def revocations(issuer, *revoked, last=None):
    """The revocation list of an authority, DER."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(NOW - DAY)
        .next_update(last or NOW + 30 * DAY)
    )
    for pair in revoked:
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder()
            .serial_number(pair.certificate.serial_number)
            .revocation_date(NOW - DAY)
            .build()
        )
    crl = builder.sign(issuer.key, hashes.SHA256())
    return crl.public_bytes(serialization.Encoding.DER)
