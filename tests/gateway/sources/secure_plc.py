"""An asyncua server that speaks every policy, knows users, and can show any certificate."""

from asyncua import ua
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.server import Server

from contract.config import SecurityConfig
from contract.config_security import Login
from gateway.sources.opcua.access import Access, Pki, Target
from gateway.sources.opcua.session import SessionToken, open_session
from runtime.clock import SystemClock
from tests.gateway.sources.certificates import URI
from tests.gateway.sources.plc import Plc

POLICIES = ("Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss")
OLD_POLICIES = ("Basic128Rsa15", "Basic256")
MODES = ("Sign", "SignAndEncrypt")
PASSWORD = "oil-and-vinegar"


class Users:
    """Knows one user by password and one by certificate; notes what came."""

    def __init__(self):
        self.certificate = b""
        self.seen = []

    def get_user(self, _iserver, username=None, password=None, certificate=None):
        self.certificate = certificate
        self.seen.append((username, password))
        if username is not None:
            return (
                User(role=UserRole.User, name="op")
                if (username, password) == ("op", PASSWORD)
                else None
            )
        return User(role=UserRole.User, name="somebody")


class SecurePlc(Plc):
    """A server with all policies; ``show`` changes its certificate between connections."""

    def __init__(self, pair, port=0):
        super().__init__(port)
        self.pair = pair
        self.users = Users()

    async def start(self, *, policies=None, tokens=None):
        self.server = Server(user_manager=self.users)
        await self.server.init()
        self.server._application_uri = URI
        self.server.iserver._application_uri = URI
        self.server.iserver.certificate = self.pair.certificate
        self.server.iserver.private_key = self.pair.key
        self.server.set_security_policy(policies or all_policies())
        if tokens is not None:
            self.server.set_identity_tokens(tokens)
        self.server.set_endpoint(self.endpoint)
        self.index = await self.server.register_namespace("urn:test:plc")
        await self.server.start()
        await self.variable("v", 4.5)

    def show(self, pair, *, chain=(), uri=URI):
        """Show another certificate (with its issuers) from the next connection on."""
        self.pair = pair
        blob = pair.der + b"".join(issuer.der for issuer in chain)
        iserver = self.server.iserver
        iserver.certificate, iserver.private_key = pair.certificate, pair.key
        for endpoint in iserver.endpoints:
            endpoint.ServerCertificate = blob
            endpoint.Server.ApplicationUri = uri
        for factory in self.server._policies:
            factory.certificate, factory.private_key = pair.certificate, pair.key


def all_policies():
    """Every policy that asyncua's server has, in every mode."""
    names = [n.replace("_", "") for n in (*OLD_POLICIES, *POLICIES)]
    return [
        ua.SecurityPolicyType.NoSecurity,
        *(getattr(ua.SecurityPolicyType, f"{n}_{m}") for n in names for m in MODES),
    ]


def access_to(endpoint, tmp_path, *, login=None, name="line1", clock=None, **security):
    """What a source of that name would reach the server by."""
    target = Target(
        name=name, endpoint=endpoint, security=SecurityConfig(**security), login=login or Login()
    )
    return Access(target, Pki(tmp_path / "pki", clock or SystemClock()))


async def read_once(access, tmp_path, node="s=v"):
    """Open a session, read one value, close it; return value and notices."""
    token = SessionToken(tmp_path / f"{access.target.name}.session")
    async with open_session(access, token) as session:
        index = session.namespaces.node_id(f"nsu=urn:test:plc;{node}")
        value = (await session.read([index], ua.AttributeIds.Value))[0].Value.Value
        return value, session.notices
