"""The jobs that meet the answers: what a node, an officer and an ISCL peer do with a token.

A job is carried out by `run`, which raises what our code raises, and `Wrong` if the result is wrong. `prepare` and
`settle` are called before and after it while the token answers well; they leave the token as they found it.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import tokens
from tests.tokens.answers.job import (
    DES_KEY,
    OTHER_DES_KEY,
    PIN,
    SO_PIN,
    Job,
)
from tests.tokens.answers.key_jobs import (
    ChangePin,
    CheckToken,
    Decrypt,
    DeleteKey,
    GenerateKey,
    ImportCertificate,
    InitialiseToken,
    ListKeys,
    Load,
    Open,
    OpenFirst,
    SetUserPin,
    SignEc,
    SignFirst,
    SignRsa,
)
from tests.tokens.answers.secret_jobs import (
    Authenticate,
    DeleteSecret,
    DeriveKey,
    ImportSecret,
    ListSecrets,
    Mac,
)
from tokens import DeviceManager
from tokens.pkcs11.ceremony import KeyKind, Usage, generate_key
from tokens.pkcs11.officer import initialise_token
from tokens.pkcs11.secret_keys.ceremony import import_secret
from tokens.secrets import Use
from tokens.uri import Pkcs11Uri

JOBS: dict[str, type[Job]] = {
    "open a key for the first time": OpenFirst,
    "sign for the first time": SignFirst,
    "sign with RSA": SignRsa,
    "sign with EC": SignEc,
    "decrypt": Decrypt,
    "list keys": ListKeys,
    "generate a key pair": GenerateKey,
    "delete a key pair": DeleteKey,
    "import a certificate": ImportCertificate,
    "test the token": CheckToken,
    "load a module and sign": Load,
    "open a key and sign": Open,
    "change the PIN": ChangePin,
    "set the user PIN": SetUserPin,
    "initialise a token": InitialiseToken,
    "authenticate": Authenticate,
    "make a MAC": Mac,
    "derive a session key": DeriveKey,
    "list secret keys": ListSecrets,
    "import a secret key": ImportSecret,
    "delete a secret key": DeleteSecret,
}


OWN_FUNCTIONS: dict[str, str] = {
    "open a key for the first time": "C_Login",
    "load a module and sign": "C_GetInfo",
    "open a key and sign": (
        "C_Initialize C_Finalize C_GetSlotList C_GetSlotInfo C_GetTokenInfo C_GetMechanismList "
        "C_GetMechanismInfo C_OpenSession C_CloseSession C_Login C_FindObjectsInit C_FindObjects C_FindObjectsFinal "
        "C_GetAttributeValue"
    ),
    "sign for the first time": "C_SignInit C_Sign",
    "sign with RSA": "C_SignInit C_Sign",
    "decrypt": "C_DecryptInit C_Decrypt C_GenerateRandom",
    "list keys": "C_GetSessionInfo",
    "generate a key pair": "C_GenerateKeyPair",
    "delete a key pair": "C_DestroyObject",
    "import a certificate": "C_CreateObject",
    "change the PIN": "C_SetPIN",
    "set the user PIN": "C_Login C_InitPIN C_Logout",
    "initialise a token": "C_InitToken",
    "authenticate": "C_EncryptInit C_Encrypt C_DecryptInit C_Decrypt C_GenerateRandom",
    "make a MAC": "C_EncryptInit C_Encrypt",
    "derive a session key": "C_DeriveKey",
    "import a secret key": "C_CreateObject",
}
"""The functions that are each job's purpose. They return every CK_RV there, and a few in the other jobs."""


def fill(module: Path) -> Pkcs11Uri:
    """Initialise the two tokens of the jobs and return the URI of the one with keys."""
    with DeviceManager() as manager:
        for label in ("spare", "answers"):
            info = initialise_token(manager.tokens.module(module), label, SO_PIN, PIN)
        uri = dataclasses.replace(info.uri, pin_source="env:ANSWERS_PIN")
        _make_keys(uri, manager)
    return uri


def _make_keys(uri: Pkcs11Uri, manager: DeviceManager) -> None:
    with tokens.open_token(uri, manager=manager) as connection:
        generate_key(connection, "rsa", KeyKind.RSA_2048, Usage.SIGN)
        generate_key(connection, "decrypt", KeyKind.RSA_2048, Usage.DECRYPT)
        generate_key(connection, "ec", KeyKind.P_256, Usage.SIGN)
        import_secret(connection, Use.AUTHENTICATION, 1, bytearray.fromhex(DES_KEY))
        import_secret(connection, Use.ENCRYPTION, 1, bytearray.fromhex(OTHER_DES_KEY))
