"""An address at which callers arrive, and the routes behind it: the called AE title and the caller choose one."""

from __future__ import annotations

from collections.abc import Sequence

from hsm_dicom.gateway.authorisation import RouteRefusal, refuse_called
from hsm_dicom.gateway.route import Route, report_refusal
from hsm_dicom.network.addresses import Address
from hsm_dicom.network.listener import Serve
from hsm_dicom.network.upper_layer.negotiation import AssociateRequest
from hsm_dicom.network.upper_layer.pdu import rejection
from hsm_dicom.transport.port import Secured


class Entrance:
    """The routes of one listener. `otherwise` serves called AE titles of no route, such as those of the node itself."""

    def __init__(self, name: str, routes: Sequence[Route], otherwise: Serve | None = None) -> None:
        self.name = name
        self._routes = tuple(routes)
        self._otherwise = otherwise

    @property
    def route_names(self) -> tuple[str, ...]:
        """The names of the routes."""
        return tuple(route.settings.name for route in self._routes)

    def replace(self, routes: Sequence[Route]) -> None:
        """Use other routes for new associations."""
        self._routes = tuple(routes)

    def serve(self, secured: Secured, address: Address, request: AssociateRequest) -> bytes | None:
        """Pass an association to its route; a `hsm_dicom.network.listener.Serve`.

        Of several routes with the called AE title, the first that admits the caller relays it. If none does, the first
        one refuses it.
        """
        routes = self._routes
        called = request.called_ae_title
        named = [route for route in routes if called in route.settings.called_ae_titles]
        if not named:
            return self._serve_unnamed(routes, secured, address, request)
        first = found = named[0].find_source(secured, address, request)
        for route in named:
            if route is not named[0]:
                found = route.find_source(secured, address, request)
            if not isinstance(found, RouteRefusal):
                return route.begin_from(found, secured, address, request)
        return named[0].begin_from(first, secured, address, request)

    def _serve_unnamed(
        self, routes: Sequence[Route], secured: Secured, address: Address, request: AssociateRequest
    ) -> bytes | None:
        if self._otherwise is not None:
            return self._otherwise(secured, address, request)
        known = [title for route in routes for title in route.settings.called_ae_titles]
        refused = refuse_called(request.called_ae_title, list(dict.fromkeys(known)))
        report_refusal(self.name, refused, secured.facts, address, request)
        return rejection(refused.refusal.result, refused.refusal.source, refused.refusal.reason)
