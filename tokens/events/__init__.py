"""Events of devices, and the bus that delivers every event of this process.

| module       | contents                                                                                   |
|--------------|--------------------------------------------------------------------------------------------|
| `event`      | `Event`, the base of every event                                                            |
| `bus`        | `emit`, `subscribe`, and the count of the events that a subscriber lost                     |
| `devices`    | the events of tokens and cards, such as `Login`, `KeyUse` and `Reconnection`                |
| `reporting`  | `report`, which measures an operation of a device and emits its event                        |
| `log`        | the subscriber that writes events to `logging`                                              |
| `repetition` | which repeated log lines are omitted                                                        |

An event names the token, the key, the operation, its mechanism, its outcome and its duration. It never
holds a PIN, a secret key, or any byte of the data that a key was used on.

>>> received = []
>>> with subscribe(received.append):
...     emit(Login(token_serial="1", token_label="CT room", outcome=OperationOutcome.SUCCEEDED, duration=0.01))
>>> received[0].token_label
'CT room'
"""

from tokens.events.bus import EventLostError, Subscription, emit, subscribe, subscriptions
from tokens.events.devices import (
    CeremonyStep,
    DeviceEvent,
    FailedOver,
    KeyUse,
    KeyUseSummary,
    Login,
    OperationOutcome,
    Reconnection,
    Restored,
)
from tokens.events.event import Event, event_name

__all__ = [
    "CeremonyStep",
    "DeviceEvent",
    "Event",
    "EventLostError",
    "FailedOver",
    "KeyUse",
    "KeyUseSummary",
    "Login",
    "OperationOutcome",
    "Reconnection",
    "Restored",
    "Subscription",
    "emit",
    "event_name",
    "subscribe",
    "subscriptions",
]
