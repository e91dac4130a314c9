"""A hub for enrolment: a CA, a real TLS server, and an answer that the test chooses.

It records every byte that came after the handshake.
"""

import contextlib
import datetime as dt
import ipaddress
import ssl

import anyio
import msgspec
from anyio.abc import SocketAttribute
from anyio.streams.tls import TLSListener
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from contract.fleet import EnrolAnswer, EnrolmentCode, EnrolRequest, write_code
from runtime.tls import private_key_pem, server_context

DAY = dt.timedelta(days=1)


def named(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


class Authority:
    """A CA that signs what the test asks for."""

    def __init__(self):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._sign(named("Test CA"), self.key.public_key(), ca=True)
        self.pem = pem_of(self.certificate)
        self.fingerprint = self.certificate.fingerprint(hashes.SHA256())

    def server_files(self, directory):
        """Write chain and key of a certificate for 127.0.0.1; return their paths."""
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = self._sign(named("hub"), key.public_key(), ca=False)
        chain, key_path = directory / "chain.pem", directory / "server.key"
        chain.write_text(pem_of(leaf) + self.pem)
        key_path.write_bytes(private_key_pem(key))
        return chain, key_path

    def issue(self, csr_pem, gateway_id, *, begins=-DAY, ends=DAY * 90):
        csr = x509.load_pem_x509_csr(csr_pem.encode())
        return pem_of(
            self._sign(named(gateway_id), csr.public_key(), ca=False, begins=begins, ends=ends)
        )

    def _sign(self, subject, public_key, *, ca, begins=-DAY, ends=DAY * 90):
        now = dt.datetime(2027, 1, 15, 8, tzinfo=dt.UTC)
        if ca or subject == named("hub"):
            begins, ends = -DAY * 3650, DAY * 3650
        issuer = named("Test CA")
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + begins)
            .not_valid_after(now + ends)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([address]), critical=False)
            .sign(self.key, hashes.SHA256())
        )


def pem_of(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


class ScriptedHub:
    """What a test knows of the hub it serves; ``answer`` makes status and body of a request."""

    def __init__(self, authority, url):
        self.authority = authority
        self.url = url
        self.requests = []
        self.received_bytes = 0
        self.answer = self.enrol

    def code(self, **changes):
        code = EnrolmentCode(
            url=self.url, fingerprint=self.authority.fingerprint, token="token-of-the-test"
        )
        return write_code(msgspec.structs.replace(code, **changes))

    def enrol(self, request):
        return 201, self.good_answer(request)

    def good_answer(self, request, **changes):
        answer = EnrolAnswer(
            gateway_id="gw-7",
            certificate_pem=self.authority.issue(request.csr_pem, "gw-7"),
            ca_pem=self.authority.pem,
            uplink_url=self.url,
        )
        return msgspec.json.encode(msgspec.structs.replace(answer, **changes))

    async def serve(self, stream):
        received = b""
        with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError, ssl.SSLError):
            async with stream:
                while (length := _body_length(received)) is None or len(received) < length:
                    part = await stream.receive()
                    self.received_bytes += len(part)
                    received += part
                head, _, body = received.partition(b"\r\n\r\n")
                request = msgspec.json.decode(body, type=EnrolRequest)
                self.requests.append((head.split(b"\r\n")[0].decode(), request))
                status, answer = self.answer(request)
                await stream.send(
                    f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n"
                    f"content-length: {len(answer)}\r\nconnection: close\r\n\r\n".encode()
                    + answer
                )


def _body_length(received):
    """Return the length of the whole request once its head is there."""
    head, found, _ = received.partition(b"\r\n\r\n")
    if not found:
        return None
    lengths = [
        int(line.split(b":")[1])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length")
    ]
    return len(head) + 4 + lengths[0]


@contextlib.asynccontextmanager
async def scripted_hub(directory):
    """Serve on a free port of the loopback address."""
    authority = Authority()
    context = server_context(*authority.server_files(directory))
    tcp = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = tcp.extra(SocketAttribute.local_port)  # noqa: S610 - not Django
    hub = ScriptedHub(authority, f"https://127.0.0.1:{port}")
    async with TLSListener(tcp, context) as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, hub.serve)
        try:
            yield hub
        finally:
            tasks.cancel_scope.cancel()
