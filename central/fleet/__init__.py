"""The registry of gateways: the hub's CA, one-time codes, enrolment, certificates, revocation."""
