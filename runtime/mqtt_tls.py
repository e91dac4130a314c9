"""TLS to a broker: its context, and what is wrong, in words that name the remedy.

Part of ``runtime.mqtt``.
"""

from __future__ import annotations

import ssl

from contract.config import BrokerConfig


class MqttError(Exception):
    """Raised when a connection cannot be made, is refused, or is over; the next one may hold."""

    code = "mqtt.failed"
    retryable = True


_VERIFY_REMEDIES = {
    9: "is not valid yet: is this box's clock right?",
    10: "has expired: renew it, or set this box's clock",
    18: "is signed by itself: give it as ca_file",
    19: "is not signed by a CA we trust: give its CA as ca_file",
    20: "is not signed by a CA we trust: give its CA as ca_file",
    62: "is for another name: write the name it has in the broker's URL",
    64: "is for another address: write the name it has in the broker's URL",
}
"""By OpenSSL's X509_V_ERR number (x509_vfy.h)."""

_ALERTS = {
    "CERTIFICATE_REQUIRED": "it wants a certificate of ours: give certificate_file and key_file",
    "HANDSHAKE_FAILURE": "no common cipher, or it wants a certificate of ours",
    "UNKNOWN_CA": "it does not know the CA of our certificate_file",
    "BAD_CERTIFICATE": "it does not accept our certificate_file",
    "CERTIFICATE_EXPIRED": "our certificate_file has expired",
    "CERTIFICATE_REVOKED": "our certificate_file is revoked",
    "PROTOCOL_VERSION": "it speaks no TLS 1.2 or newer",
    "WRONG_VERSION_NUMBER": "it does not speak TLS there: is the port right?",
}
"""By the end of OpenSSL's reason, as in TLSV13_ALERT_CERTIFICATE_REQUIRED."""


def tls_trouble(error: ssl.SSLError) -> str:
    """Say what is wrong with TLS and what mends it; holds no secret."""
    if isinstance(error, ssl.SSLCertVerificationError):
        remedy = _VERIFY_REMEDIES.get(error.verify_code, "is not accepted")
        return f"the broker's certificate {remedy} ({error.verify_message})"
    reason = error.reason or str(error)
    found = [text for end, text in _ALERTS.items() if reason.endswith(end)]
    return f"TLS with the broker failed: {found[0] if found else reason}"


def tls_context(broker: BrokerConfig) -> ssl.SSLContext:
    """Make the TLS context. Raises MqttError naming the key whose file cannot be used."""
    try:
        context = ssl.create_default_context(cafile=broker.ca_file)
    except (OSError, ValueError) as error:
        raise MqttError(f"ca_file {broker.ca_file} cannot be used: {_why(error)}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if broker.certificate_file is not None:
        try:
            context.load_cert_chain(broker.certificate_file, broker.key_file, _no_passphrase)
        except (OSError, ValueError) as error:
            files = f"certificate_file {broker.certificate_file} with key_file {broker.key_file}"
            raise MqttError(f"{files} cannot be used: {_why(error)}") from error
    return context


def _no_passphrase() -> str:
    """Refuse an encrypted key, for which OpenSSL would ask on the terminal."""
    raise ValueError("the key is encrypted: give one without a passphrase, readable by us alone")


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        if error.reason == "KEY_VALUES_MISMATCH":
            return "the key is not that of the certificate"
        return f"it is not PEM of what it should be ({error.reason or error})"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
