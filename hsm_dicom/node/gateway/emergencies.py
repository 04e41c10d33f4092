"""Emergency settings in place of configured ones, for the routes of one plan."""

from __future__ import annotations

import logging

from hsm_dicom.gateway.emergency import EmergencySetting, EmergencySettingError, apply_emergency
from hsm_dicom.gateway.settings import RouteSettings

log = logging.getLogger("hsm_dicom.gateway")


def apply_to_route(
    settings: RouteSettings, emergency: EmergencySetting | None
) -> tuple[RouteSettings, EmergencySetting | None]:
    """Return the settings of a route with its emergency setting, and that setting; None if it cannot be used.

    A setting that does not fit the route does not stop the gateway: the route runs as configured, and an error in
    the log gives the reason.
    """
    if emergency is None:
        return settings, None
    problem: EmergencySettingError
    try:
        return apply_emergency(settings, emergency), emergency
    except EmergencySettingError as error:
        problem = error
    log.error("The emergency setting of route '%s' is not used: %s", settings.name, problem)
    return settings, None
