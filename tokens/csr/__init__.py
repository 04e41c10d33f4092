"""Certificate requests (RFC 2986), signed with any private key, on a device or not.

    request = certificate_request(
        key,
        parse_subject("C=DE, O=Klinik, CN=CT 1"),
        Usage.TLS,
        alternative_names=[parse_alternative_name(NameKind.DNS, "ct1.example")],
        extended_usages=[parse_extended_usage("serverAuth")],
    )

| module              | holds                                                                     |
|---------------------|---------------------------------------------------------------------------|
| `request`           | `certificate_request`: the request, and its signature                     |
| `subjects`          | subjects as people type them                                              |
| `alternative_names` | host names, addresses, e-mail addresses and URIs, each checked            |
| `extended_usages`   | extended key usages by name or object identifier                          |
| `renewal`           | what a certificate has, for the request for the next one                  |
"""

from tokens.csr.alternative_names import NameKind, parse_alternative_name
from tokens.csr.extended_usages import format_extended_usage, parse_extended_usage
from tokens.csr.renewal import RequestFields, read_request_fields
from tokens.csr.request import certificate_request, choose_usage, extended_usages_of
from tokens.csr.subjects import parse_subject

__all__ = [
    "NameKind",
    "RequestFields",
    "certificate_request",
    "choose_usage",
    "extended_usages_of",
    "format_extended_usage",
    "parse_alternative_name",
    "parse_extended_usage",
    "parse_subject",
    "read_request_fields",
]
