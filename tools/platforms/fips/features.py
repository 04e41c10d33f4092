"""What is rehearsed in FIPS mode: a row of the table for each feature, with the commands that use it.

| OpenSSL      | whose it is                                                                                   |
|--------------|-----------------------------------------------------------------------------------------------|
| Python's     | the machine's libssl and libcrypto, which Python's `ssl` and `hashlib` use: in FIPS mode      |
| cryptography's | the one inside the wheel of the package cryptography: never in FIPS mode                    |
| the token's  | whatever the token has; SoftHSM uses the machine's                                            |
"""

from __future__ import annotations

from dataclasses import dataclass

PROFILES = ("bcp195-rfc9325", "modified-bcp195-rfc9325", "bcp195", "bcp195-non-downgrading", "bcp195-extended")
FIRST_PORT = 20000

IMAGE = "$(python -c 'from pydicom.data import get_testdata_file as get; print(get(\"CT_small.dcm\"))')"
_SIGN = f"hsm-dicom sign {IMAGE} --identity"
_VERIFY = "hsm-dicom verify --trust ca.pem"


@dataclass(frozen=True)
class Feature:
    """One row. `commands` are those of a shell; `listener` runs meanwhile.

    `shows` is a regular expression of what the output must have; its group, if it has one, goes into the table.
    `is_refused` says that the last command must fail with the sentence that `shows` finds.
    """

    name: str
    computed_by: str
    commands: str
    listener: str = ""
    shows: str = ""
    is_refused: bool = False


def _sign_and_verify(identity: str, profile: str, *macs: str) -> str:
    return "\n".join(
        f"{_SIGN} {identity} --profile {profile} --mac {mac} --allow-weak --out {identity}-{mac}.dcm\n"
        f"{_VERIFY} {identity}-{mac}.dcm"
        for mac in macs
    )


def _echo(profile: str, group: str) -> Feature:
    return Feature(
        f"TLS, `{profile}`: listener, client and `tls probe`, with RSA and with EC keys on a token",
        "Python's; signatures by the token",
        f"hsm-dicom tls probe 127.0.0.1:{FIRST_PORT + PROFILES.index(profile)} --profile {profile}\n"
        f"hsm-dicom echo {profile}-rsa\nhsm-dicom echo {profile}-ec\n"
        'grep -o \'"group": *"[^"]*"\' events.jsonl | tail -n 1',
        profile,
        f'"group": ?"({group})"',
    )


_GROUPS = dict(
    zip(PROFILES, ("X25519MLKEM768", "secp256r1", "X25519MLKEM768", "X25519MLKEM768", "secp256r1"), strict=True)
)

_TIME_STAMP = f"""
hsm-dicom signatures ask-timestamp rsa-sha256.dcm --query ct.tsq
openssl ts -reply -config tsa.cnf -queryfile ct.tsq -signer tsa.pem -inkey tsa.key -out ct.tsr
hsm-dicom signatures add-timestamp rsa-sha256.dcm --query ct.tsq --out stamped.dcm
{_VERIFY} stamped.dcm --tsa ca.pem --require timestamp
"""
_PKCS12 = r"""
openssl pkcs12 -export -keypbe AES-256-CBC -certpbe AES-256-CBC -nomac -inkey ca.key -in ca.pem -out ca.p12 \
  -passout env:PASSWORD
hsm-dicom key import-cert t/rsa ca.p12
"""
_SECRETS = """
for use in authentication encryption; do
  hsm-dicom secret generate t --use $use --index 1 --out $use.a --out $use.b
done
"""

FEATURES = (
    Feature("`token init`, `key generate`: RSA 2048, P-256, P-384", "the token's", "hsm-dicom key list t"),
    Feature(
        "A PIN is presented, and its digest kept (scrypt)",
        "cryptography's, since FIPS mode has no scrypt",
        "hsm-dicom check-config",
        shows="Token t accepted its PIN",
    ),
    Feature(
        "`key csr` with RSA and EC keys",
        "the token's; checked by cryptography's",
        "openssl req -verify -noout -in rsa.csr\nopenssl req -verify -noout -in ec.csr",
    ),
    Feature(
        "DICOM signatures, RSA, profile `base`, SHA-256, SHA-384, SHA-512: `sign` and `verify`",
        "hashes: Python's; signing: the token's; verifying: cryptography's",
        _sign_and_verify("rsa", "base", "sha256", "sha384", "sha512"),
    ),
    Feature(
        "DICOM signatures, EC P-256, profile `none`: `sign` and `verify`",
        "the same",
        _sign_and_verify("ec", "none", "sha256", "sha384"),
    ),
    Feature("`verify` of a signature with SHA-1", "the same", _sign_and_verify("rsa", "base", "sha1")),
    Feature(
        "`verify` of a signature with MD5",
        "hashes: none, Python computes MD5 itself; verifying: cryptography's",
        _sign_and_verify("rsa", "base", "md5"),
    ),
    Feature(
        "`verify` of a signature with RIPEMD-160",
        "hashes: Python's",
        f"{_VERIFY} outside-ripemd160.dcm",
        shows=r"(cannot tell, because the hash RIPEMD160 is not offered by Python's .*? FIPS mode)\b",
        is_refused=True,
    ),
    Feature(
        "`sign --mac ripemd160`",
        "hashes: Python's",
        f"{_SIGN} rsa --mac ripemd160 --allow-weak --out refused.dcm",
        shows=r"(Python's OpenSSL does not have the hash of MAC algorithm RIPEMD160\.)",
        is_refused=True,
    ),
    Feature("Time stamps (RFC 3161): query, reply, `verify --tsa`", "cryptography's; hashes: Python's", _TIME_STAMP),
    Feature(
        "A PKCS #12 file for `key import-cert`",
        "none",
        _PKCS12,
        shows=r"is a (PKCS#12 file, .*? so it is not read\.)",
        is_refused=True,
    ),
    *(_echo(profile, _GROUPS[profile]) for profile in PROFILES),
    Feature(
        "`tls profiles`: the groups that are missing",
        "Python's",
        "hsm-dicom tls profiles",
        shows=r"does not have these groups: (x25519, x448)\.",
    ),
    Feature("`demo`: signatures, checked by DCMTK, too", "all three", "hsm-dicom demo"),
    Feature("`demo gateway`", "Python's; signatures by the token", "hsm-dicom demo gateway"),
    Feature(
        'A token with `isolation = "process"`',
        "the token's",
        "sed 's/^label.*/&\\nisolation = \"process\"/' hsm-dicom.toml > isolated.toml\n"
        "hsm-dicom token login t --config isolated.toml",
    ),
    Feature("`secret generate` for ISCL: DES keys on a token", "the token's", _SECRETS),
    Feature(
        "ISCL with DES and MD5, session keys on the token",
        "the token's; MD5: Python itself",
        "hsm-dicom echo iscl-md5",
        "iscl-md5",
        "DES-CBC, MD5",
    ),
    Feature("ISCL with DES-MAC", "the token's", "hsm-dicom echo iscl-des", "iscl-des", "DES-MAC"),
    Feature(
        "ISCL with `host_session_keys = true`",
        "the token's; session keys: cryptography's",
        "hsm-dicom echo iscl-host",
        "iscl-host",
        "DES-CBC, MD5",
    ),
    Feature(
        "Any command with `OPENSSL_CONF` set to the file for FIPS mode",
        "cryptography's",
        f"OPENSSL_CONF=/etc/ssl/openssl.cnf {_VERIFY} rsa-sha256.dcm",
        shows=r"(The Python package cryptography, which has an OpenSSL of its own, cannot work with OPENSSL_CONF)",
        is_refused=True,
    ),
)
