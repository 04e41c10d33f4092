"""The program: registers the commands, and turns every error into one line and an exit status."""

from __future__ import annotations

import contextlib
import signal
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated, NoReturn

import typer

from hsm_dicom.cli import exits, logs
from hsm_dicom.cli.commands.card import app as card_app
from hsm_dicom.cli.commands.check_config import EXAMPLE as CHECK_CONFIG_EXAMPLE
from hsm_dicom.cli.commands.check_config import check_config
from hsm_dicom.cli.commands.demo import EXAMPLE as DEMO_EXAMPLE
from hsm_dicom.cli.commands.demo import demo
from hsm_dicom.cli.commands.gateway import app as gateway_app
from hsm_dicom.cli.commands.identity import app as identity_app
from hsm_dicom.cli.commands.inventory import EXAMPLE as INVENTORY_EXAMPLE
from hsm_dicom.cli.commands.inventory import inventory
from hsm_dicom.cli.commands.iscl import app as iscl_app
from hsm_dicom.cli.commands.key import app as key_app
from hsm_dicom.cli.commands.key_requests import register as register_key_requests
from hsm_dicom.cli.commands.network import ECHO_EXAMPLE, LISTEN_EXAMPLE, STORE_EXAMPLE, echo, listen, store
from hsm_dicom.cli.commands.purposes import EXAMPLE as PURPOSES_EXAMPLE
from hsm_dicom.cli.commands.purposes import purposes
from hsm_dicom.cli.commands.secret import app as secret_app
from hsm_dicom.cli.commands.sign import EXAMPLE as SIGN_EXAMPLE
from hsm_dicom.cli.commands.sign import sign
from hsm_dicom.cli.commands.signatures import app as signatures_app
from hsm_dicom.cli.commands.tls import app as tls_app
from hsm_dicom.cli.commands.token import app as token_app
from hsm_dicom.cli.commands.token_reset import register as register_token_reset
from hsm_dicom.cli.commands.verify import EXAMPLE as VERIFY_EXAMPLE
from hsm_dicom.cli.commands.verify import verify
from hsm_dicom.cli.options import Operator, Verbose
from hsm_dicom.cli.render.wording import apply_wording
from hsm_dicom.cli.runs.device_waits import device_waits
from hsm_dicom.cli.runs.termination import (
    Terminated,
    end_by_signal,
    get_received_signal,
    raise_when_terminated,
)

app = typer.Typer(
    name="hsm-dicom",
    help="Sign, verify and transfer DICOM objects with keys that never leave their token.",
    epilog="Begin with: hsm-dicom demo",
    no_args_is_help=True,
    # Frames around usage errors would break their words; `render.wording` writes the pages of help.
    rich_markup_mode=None,
    # Our own handler says what went wrong; a traceback with the values of variables could hold a PIN.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_BEGIN, _OBJECTS, _NETWORK, _DEVICES = "To begin", "DICOM objects", "DICOM network", "Tokens and keys"
app.command("demo", epilog=DEMO_EXAMPLE, rich_help_panel=_BEGIN)(demo)
app.command("check-config", epilog=CHECK_CONFIG_EXAMPLE, rich_help_panel=_BEGIN)(check_config)
app.command("inventory", epilog=INVENTORY_EXAMPLE, rich_help_panel=_BEGIN)(inventory)
app.command("sign", epilog=SIGN_EXAMPLE, rich_help_panel=_OBJECTS)(sign)
app.command("verify", epilog=VERIFY_EXAMPLE, rich_help_panel=_OBJECTS)(verify)
app.add_typer(signatures_app, name="signatures", rich_help_panel=_OBJECTS)
app.command("purposes", epilog=PURPOSES_EXAMPLE, rich_help_panel=_OBJECTS)(purposes)
app.command("echo", epilog=ECHO_EXAMPLE, rich_help_panel=_NETWORK)(echo)
app.command("store", epilog=STORE_EXAMPLE, rich_help_panel=_NETWORK)(store)
app.command("listen", epilog=LISTEN_EXAMPLE, rich_help_panel=_NETWORK)(listen)
app.add_typer(gateway_app, name="gateway", rich_help_panel=_NETWORK)
app.add_typer(tls_app, name="tls", rich_help_panel=_NETWORK)
app.add_typer(iscl_app, name="iscl", rich_help_panel=_NETWORK)
register_token_reset(token_app)
app.add_typer(token_app, name="token", rich_help_panel=_DEVICES)
register_key_requests(key_app)
app.add_typer(key_app, name="key", rich_help_panel=_DEVICES)
app.add_typer(identity_app, name="identity", rich_help_panel=_DEVICES)
app.add_typer(secret_app, name="secret", rich_help_panel=_DEVICES)
app.add_typer(card_app, name="card", rich_help_panel=_DEVICES)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"hsm-dicom {version('hsm-dicom')}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    operator: Operator = None,
    verbose: Verbose = False,
) -> None:
    """Options of the program itself."""


apply_wording(app)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and end the process with its exit status (see `exits`).

    With `arguments`, the caller is another program, whose devices stay open.
    """
    logs.set_up()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):
            # A terminal that has no ✓ gets an escape, not an exception.
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        with device_waits.watch(), raise_when_terminated():
            try:
                app(args=None if arguments is None else list(arguments), prog_name="hsm-dicom")
            finally:
                if arguments is None:
                    _release_devices()
    except Terminated as ending:
        end_by_signal(ending.number)
    except SystemExit as ending:
        _end_process(int(ending.code or exits.OK))
    except KeyboardInterrupt:
        _end_process(exits.INTERRUPTED)
    except Exception as error:
        from hsm_dicom.cli.errors import exit_status, sentence
        from tokens.printable import printable_lines

        if logs.verbose():
            sys.stderr.write(printable_lines(traceback.format_exc()))
        typer.echo(f"hsm-dicom: {sentence(error)}", err=True)
        _end_process(exit_status(error))
    sys.exit(exits.OK)


def _release_devices() -> None:
    """Close the devices of this process, while a signal still ends the wait for them."""
    managers = sys.modules.get("tokens.manager")
    if managers is not None:
        managers.default_manager().close()


def _end_process(status: int) -> NoReturn:
    """End the process, without waiting for calls that have not returned from a device.

    After a signal it ends by the signal, though its exception never came here: a callback from C may have swallowed it.
    """
    received = get_received_signal()
    if received == signal.SIGINT:
        status = exits.INTERRUPTED
    elif received is not None:
        end_by_signal(received)
    ending = sys.modules.get("tokens.process.ending")  # without it, no device was ever called
    if ending is not None:
        ending.end_process(status)
    sys.exit(status)
