"""Report on the test of secret keys on a token: text for people, JSON for programs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rich.text import Text

from hsm_dicom.cli.render import output
from hsm_dicom.cli.render.key_report import operations_json, print_operations
from hsm_dicom.node.acceptance import assess_iscl
from tokens.pkcs11.secret_keys.check import FormCheck, SecretCheck, SecretOperation
from tokens.pkcs11.secret_keys.des_forms import DesForm
from tokens.trials import OperationCheck

_MEGABYTE = 1_000_000


def print_secret_check(check: SecretCheck) -> None:
    """Print the tested forms of DES keys, and the operations and speed of the form that an import uses."""
    print()
    output.say(("Temporary secret keys", "bold"), "  for ISCL, deleted again")
    rows = output.Table("", "form", "secret import", "operations that work")
    for form in check.forms:
        failed = next((o for o in form.operations if not o.works), None)
        result = Text(f"{failed.operation}: {output.shown(failed.problem)}", output.UNSURE) if failed else Text("all")
        rows.add_row(
            Text(*output.mark(failed is None)), form.form.name, "accepts it" if form is check.taken else "", result
        )
    rows.print()
    if check.taken is None:
        return
    print()
    print_operations(map(_explain, check.taken.operations), "token")
    output.say(_speed(check.taken))


def _explain(tried: OperationCheck) -> OperationCheck:
    if tried.operation == SecretOperation.MAC and tried.mechanism.endswith("_CBC"):
        return replace(tried, mechanism=f"{tried.mechanism}, last block")
    return tried


def _speed(taken: FormCheck) -> str:
    if not taken.rate_with_1_session:
        return "Not measured: it does not encrypt with DES-CBC."
    rates = (rate / _MEGABYTE for rate in (taken.rate_with_1_session, taken.rate_with_4_sessions))
    one, four = (f"{rate:,.{0 if rate >= 100 else 1 if rate >= 1 else 3}f}" for rate in rates)
    return f"{one} MB/s of DES-CBC with 1 session, {four} with 4"


def secret_check_json(check: SecretCheck) -> dict[str, Any]:
    """Return the test of secret keys as JSON."""
    verdict, taken = assess_iscl(check), check.taken
    return {
        "ready": verdict.is_ready,
        "form": None if taken is None else _form(taken.form),
        "authenticates": verdict.authenticates,
        "fixed_keys": verdict.fixed_keys,
        "session_keys": verdict.session_keys,
        "des_cbc_megabytes_per_second": None
        if taken is None
        else {"1": taken.rate_with_1_session / _MEGABYTE, "4": taken.rate_with_4_sessions / _MEGABYTE},
        "forms": [{"form": _form(each.form), "operations": operations_json(each.operations)} for each in check.forms],
    }


def _form(form: DesForm) -> str:
    return form.key_type.name.lstrip("_")
