"""What is wrong with TLS to a broker, in words that name the remedy. Part of ``runtime.mqtt``."""

from __future__ import annotations

import ssl

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
