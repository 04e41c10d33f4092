"""Clashes between routes, and routes that are sound alone and weaken the node: each is reported at its table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from hsm_dicom.gateway.services import Service
from hsm_dicom.gateway.settings import PlainDevice, RouteSettings
from hsm_dicom.network.settings import Peer
from hsm_dicom.node.plan import RoutePlan
from hsm_dicom.node.problems import ProblemCollector
from hsm_dicom.tls import AuthenticationMode


def find_route_problems(routes: Mapping[str, RoutePlan], problems: ProblemCollector) -> None:
    """Report all of these in the routes that can be used."""
    settings = [route.settings for route in routes.values()]
    find_routes_alike(settings, problems)
    find_devices_alike(settings, problems)
    find_open_entrances(settings, problems)
    find_rewriting_risks(settings, problems)
    find_unproven_callers(routes, problems)


def find_routes_alike(routes: Sequence[RouteSettings], problems: ProblemCollector) -> None:
    """Report two routes that the same caller reaches by the same called AE title."""
    for first, second in combinations(routes, 2):
        if _get_entrance(first) != _get_entrance(second):
            continue
        called = sorted(set(first.called_ae_titles) & set(second.called_ae_titles))
        caller = next(_find_common_callers(first.sources, second.sources), None)
        if called and caller is not None:
            problems.add(
                ("routes", second.name),
                f"It cannot be distinguished from route '{first.name}': {caller} reaches both by the called AE title "
                f"{called[0]}.",
                "Give each its own called, from, or listen.",
            )


def find_devices_alike(routes: Sequence[RouteSettings], problems: ProblemCollector) -> None:
    """Report two plain devices of one route that have the same AE title and address."""
    for route in routes:
        for first, second in combinations(route.plain_sources, 2):
            title = _find_common_title(first, second)
            if title is not None:
                problems.add(
                    ("plain", second.name),
                    f"It cannot be distinguished from '{first.name}' on route '{route.name}': both may use the AE "
                    f"title {title} from the same address.",
                    "Remove one of the two, or give each its own AE title or addresses.",
                )


def find_open_entrances(routes: Sequence[RouteSettings], problems: ProblemCollector) -> None:
    """Report plain callers that may call from nowhere, and those as which every machine could call."""
    for route in routes:
        for source in route.plain_sources:
            remedy = f'Write where it calls from in [plain.{source.name}], like addresses = ["192.168.10.21"].'
            if not source.addresses:
                what = f"'{source.name}' may use route '{route.name}', but has no addresses to call from."
                problems.add(("plain", source.name), what, remedy)
            elif any(network.prefixlen == 0 for network in source.networks):
                what = f"Every machine may call as '{source.name}', and use the identity of this node on route "
                what += f"'{route.name}'."
                problems.warn(("plain", source.name, "addresses"), what, remedy)


def find_rewriting_risks(routes: Sequence[RouteSettings], problems: ProblemCollector) -> None:
    """Warn about AE titles that are rewritten in the association only, while messages name them as well."""
    for route in routes:
        calling, called = route.calling_ae_title, route.called_ae_title
        rewrites_calling = calling is not None and any(set(one.ae_titles) != {calling} for one in route.sources)
        rewrites_called = called is not None and set(route.called_ae_titles) != {called}
        for service in (Service.QUERY_RETRIEVE, Service.COMMITMENT):
            if not route.services & {service, Service.ANY}:
                continue
            if rewrites_calling:
                what, remedy = _CALLING_RISKS[service]
                what = what.format(title=calling)
                problems.warn(("routes", route.name, "calling_ae_title"), what, remedy.format(title=calling))
            if rewrites_called:
                what, remedy = _CALLED_RISKS[service]
                problems.warn(("routes", route.name, "called_ae_title"), what.format(title=called), remedy)


_UNUSED = ' If nobody uses {service} here, leave "{service}" out of services.'

_CALLING_RISKS = {
    Service.QUERY_RETRIEVE: (
        "This breaks C-MOVE: the target knows the caller as {title}, and the Move Destination (0000,0600) in the "
        "caller's request, which is not rewritten, has its own AE title.",
        "Remove calling_ae_title, and register the caller's own AE title at the target."
        + _UNUSED.format(service=Service.QUERY_RETRIEVE),
    ),
    Service.COMMITMENT: (
        "The target sends reports of storage commitment on a new association to {title}, not to the caller's own AE "
        "title.",
        "Remove calling_ae_title, and register the caller's own AE title at the target; or write a route back with "
        'called = ["{title}"].' + _UNUSED.format(service=Service.COMMITMENT),
    ),
}

_CALLED_RISKS = {
    Service.QUERY_RETRIEVE: (
        "This breaks retrieval by the Retrieve AE Title (0008,0054): the target's answers to C-FIND, which are not "
        "rewritten, name {title}, and the caller knows another AE title.",
        "Remove called_ae_title, and let the caller use the target's own AE title."
        + _UNUSED.format(service=Service.QUERY_RETRIEVE),
    ),
    Service.COMMITMENT: (
        "Reports of storage commitment come from {title}, on a new association and in the Retrieve AE Title "
        "(0008,0054), and the caller knows another AE title.",
        "Remove called_ae_title, and let the caller use the target's own AE title."
        + _UNUSED.format(service=Service.COMMITMENT),
    ),
}


def find_unproven_callers(routes: Mapping[str, RoutePlan], problems: ProblemCollector) -> None:
    """Warn about routes on a listener whose callers need no certificate."""
    for name, route in routes.items():
        listener = None if route.listener is None else route.listener.settings
        if listener is None or listener.iscl is not None:
            continue
        if listener.authentication is AuthenticationMode.ONE_WAY:
            what = (
                f"Callers of the listener '{listener.name}' need no certificate: anyone who reaches it can use the AE "
            )
            what += f"titles of {', '.join(source.name for source in route.settings.sources)}."
            remedy = f'Write authentication = "mutual" in [listeners.{listener.name}], or name another listener.'
            problems.warn(("routes", name, "listener"), what, remedy)


def _get_entrance(route: RouteSettings) -> tuple[object, ...]:
    return route.listen, route.socket, route.listener


def _find_common_callers(first: Sequence[PlainDevice | Peer], second: Sequence[PlainDevice | Peer]) -> Iterator[str]:
    """Yield, for a message, who is among both of these, by name or by AE title and address."""
    for one in first:
        for other in second:
            if one.name == other.name:
                yield f"'{one.name}'"
            elif isinstance(one, PlainDevice) and isinstance(other, PlainDevice):
                title = _find_common_title(one, other)
                if title is not None:
                    yield f"the AE title {title} of '{one.name}' and '{other.name}'"


def _find_common_title(first: PlainDevice, second: PlainDevice) -> str | None:
    """Return an AE title that both devices may use from one address; None if there is no such address."""
    titles = sorted(set(first.ae_titles) & set(second.ae_titles))
    if not titles or not _overlap(first, second):
        return None
    return titles[0]


def _overlap(first: PlainDevice, second: PlainDevice) -> bool:
    """Return whether two devices may call from one address."""
    return any(
        one.version == other.version and one.overlaps(other) for one in first.networks for other in second.networks
    )
