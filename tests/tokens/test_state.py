"""What a process has once only: every module-level object of `tokens` that changes, each with its reason."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import tokens

ROOT = Path(tokens.__file__).parent

ALLOWED = {
    "errors.py _tables": "applications register how they word remedies",
    "events/bus.py _bus": "one bus for every package; logging subscribes to it",
    "manager.py _default": "the manager of keys that are opened without one; a test replaces it",
    "pins/companions.py _groups": "a PIN that one token refused is not presented to its companion by any manager",
    "pins/refusal_record.py _digests": "computed once, under a key of this process",
    "pins/sources.py _read_descriptors": "a file descriptor belongs to the process",
    "pkcs11/module.py _table": "a PKCS#11 module is initialised once in a process",
    "pkcs11/calls/call_threads.py _here": "what a thread is for",
    "pkcs11/isolation/child.py _here": "what a thread is for, in the process of a module",
    "pkcs11/isolation/messages.py @cache": "the methods of this version and their results, which do not change",
    "pkcs11/isolation/process.py _processes": "they end with this process",
    "pkcs11/secret_keys/des_forms.py @cache": "the names of mechanisms, which do not change",
    "process/ending.py _registry": "the process ends as a whole",
    "process/forking.py _hooks": "the process forks as a whole",
    "process/forking.py _refusals": "the process forks as a whole",
    "process/openssl_errors.py @cache": "OpenSSL is loaded once",
    "process/state_folder.py _held": "a file lock belongs to the process",
    "smartcard/readers/pcsc.py _client": "pcsc-lite's client library is loaded once",
}

_CONTAINERS = {"set", "dict", "list", "deque", "defaultdict", "OrderedDict", "count", "local"}
_LOCKS = {"Lock", "RLock", "Condition", "Event", "Semaphore", "LockAcrossForks"}
_WEAK = {"WeakSet", "WeakValueDictionary", "WeakKeyDictionary"}
_OURS = {"DeviceManager", "Deadlines", "Contexts", "Cards", "TokenConnections", "Gate", "Repetition"}


def _changes(value: ast.expr) -> bool:
    if isinstance(value, ast.Dict):
        return not value.keys
    if isinstance(value, ast.List):
        return not value.elts
    if not isinstance(value, ast.Call):
        return False
    name = ast.unparse(value.func).split(".")[-1]
    return name in _CONTAINERS | _LOCKS | _WEAK | _OURS or (name.startswith("_") and name[1:2].isupper())


def _state() -> Iterator[str]:
    for path in sorted(ROOT.rglob("*.py")):
        place = path.relative_to(ROOT)
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                name = ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target)
                if _changes(node.value) and name.lstrip("_").islower():
                    yield f"{place} {name}"
            elif isinstance(node, ast.FunctionDef) and any("cache" in ast.unparse(d) for d in node.decorator_list):
                yield f"{place} @cache"


def test_only_what_a_process_has_once_is_held_by_a_module() -> None:
    assert set(_state()) == set(ALLOWED)
