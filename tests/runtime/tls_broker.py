"""A mosquitto that speaks TLS, and the certificates for it."""

import datetime as dt
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bench.processes import Broker
from runtime.clock import SystemClock

DAY = dt.timedelta(days=1)


def _name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


class Authority:
    """A CA; its certificate stands in ``ca_file``."""

    def __init__(self, directory, name="Test CA"):
        self.directory = directory
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = _name(name)
        certificate = self._build(self.name, self.key, is_ca=True)
        self.ca_file = directory / f"{name.replace(' ', '-')}.pem"
        self.ca_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name, *, host="127.0.0.1", days=(-1, 30), passphrase=None):
        """Issue a certificate; return the files of it and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._build(_name(name), key, host=host, days=days)
        files = self.directory / f"{name}.pem", self.directory / f"{name}.key"
        files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        sealing = (
            serialization.BestAvailableEncryption(passphrase)
            if passphrase
            else serialization.NoEncryption()
        )
        form = serialization.PrivateFormat.PKCS8
        files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, form, sealing))
        return files

    def _build(self, name, key, *, host=None, days=(-1, 30), is_ca=False):
        # certificates are judged by the machine's clock
        now = dt.datetime.fromtimestamp(SystemClock().wall_us() / 1e6, dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + days[0] * DAY)
            .not_valid_after(now + days[1] * DAY)
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        )
        if host is not None:
            try:
                alternative = x509.IPAddress(ipaddress.ip_address(host))
            except ValueError:
                alternative = x509.DNSName(host)
            names = x509.SubjectAlternativeName([alternative])
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self.key, hashes.SHA256())


class TlsBroker(Broker):
    """A mosquitto on a TLS port; with ``client_ca`` it wants a client certificate of that CA."""

    def __init__(self, directory, files, *, client_ca=None, password_file=None):
        super().__init__(directory)
        path = directory / "mosquitto.conf"
        lines = path.read_text()
        lines += f"certfile {files[0]}\nkeyfile {files[1]}\n"
        if client_ca is not None:
            lines += f"cafile {client_ca}\nrequire_certificate true\n"
        if password_file is not None:
            lines = lines.replace("allow_anonymous true", "allow_anonymous false")
            lines += f"password_file {password_file}\n"
        path.write_text(lines)

    @property
    def url(self):
        return f"mqtts://127.0.0.1:{self.port}"
