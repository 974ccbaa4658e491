"""The project: all definitions together.

Invariant: within a project a name means one thing, and whatever a definition refers to is in the project too.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from feature_assets.definition.entity import Entity
from feature_assets.definition.model import Model
from feature_assets.definition.naming import require_name
from feature_assets.definition.on_demand import OnDemandView
from feature_assets.definition.place import Place, assign, current_place, refusal
from feature_assets.definition.service import FeatureService
from feature_assets.definition.source import BatchSource
from feature_assets.definition.view import FeatureView
from feature_assets.errors import UnknownNameError, did_you_mean


class _Named(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def place(self) -> Place: ...


_N = TypeVar("_N", bound=_Named)


@dataclass(frozen=True, slots=True, init=False)
class Project:
    """Sources, views, services and models that are run as one. `entities` may be left out: then they are the views'."""

    name: str
    sources: tuple[BatchSource, ...]
    views: tuple[FeatureView, ...]
    services: tuple[FeatureService, ...]
    models: tuple[Model, ...]
    entities: tuple[Entity, ...]
    place: Place = field(init=False, compare=False, repr=False)

    def __init__(
        self,
        name: str,
        sources: Sequence[BatchSource],
        views: Sequence[FeatureView],
        services: Sequence[FeatureService],
        models: Sequence[Model] = (),
        entities: Sequence[Entity] = (),
    ) -> None:
        derived = tuple(entities) or tuple(dict.fromkeys(view.entity for view in views))
        assign(self, name=name, sources=tuple(sources), views=tuple(views), services=tuple(services))
        assign(self, models=tuple(models), entities=derived, place=current_place())
        require_name("Project", name)
        for kind, members in self._members():
            self._require_distinct(kind, members)
        self._require_distinct("view", (*self.views, *self.on_demand))
        for view in self.views:
            for source in view.sources:
                self._require_member("FeatureView", view, "source", source, self.sources)
            self._require_member("FeatureView", view, "entity", view.entity, self.entities)
        for service in self.services:
            for used in service.views:
                self._require_member("FeatureService", service, "view", used, self.views)
        for model in self.models:
            self._require_member("Model", model, "service", model.service, self.services)

    @property
    def on_demand(self) -> tuple[OnDemandView, ...]:
        """The on-demand views of all services, each once."""
        return tuple(dict.fromkeys(view for service in self.services for view in service.on_demand))

    def source(self, name: str) -> BatchSource:
        """The source called `name`. Raises `UnknownNameError`."""
        return self._found("source", name, self.sources)

    def view(self, name: str) -> FeatureView:
        """The view called `name`. Raises `UnknownNameError`."""
        return self._found("view", name, self.views)

    def service(self, name: str) -> FeatureService:
        """The service called `name`. Raises `UnknownNameError`."""
        return self._found("service", name, self.services)

    def model(self, name: str) -> Model:
        """The model called `name`. Raises `UnknownNameError`."""
        return self._found("model", name, self.models)

    def entity(self, name: str) -> Entity:
        """The entity called `name`. Raises `UnknownNameError`."""
        return self._found("entity", name, self.entities)

    def _members(self) -> tuple[tuple[str, Sequence[_Named]], ...]:
        return (
            ("entity", self.entities),
            ("source", self.sources),
            ("view", self.views),
            ("service", self.services),
            ("model", self.models),
        )

    def _found(self, kind: str, name: str, members: Iterable[_N]) -> _N:
        by_name = {member.name: member for member in members}
        if name not in by_name:
            raise UnknownNameError(kind, name, by_name, f"project {self.name!r}")
        return by_name[name]

    def _require_distinct(self, kind: str, members: Iterable[_Named]) -> None:
        seen: dict[str, _Named] = {}
        for member in members:
            if member.name in seen:
                first, again = seen[member.name].place, member.place
                what = f"two definitions are the {kind} {member.name!r}: {first} and {again}"
                raise refusal("Project", self.name, what, "rename one of them, or list it once", self.place)
            seen[member.name] = member

    def _require_member(self, kind: str, user: _Named, role: str, used: _Named, members: Sequence[_Named]) -> None:
        if used in members:
            return
        names = [member.name for member in members]
        if used.name in names:
            what = f"its {role} {used.name!r} ({used.place}) is not the one that project {self.name!r} has by that name"
            raise refusal(
                kind, user.name, what, f"use the one that the project lists, or list {used.name!r} itself", user.place
            )
        what = f"its {role} {used.name!r} is not in project {self.name!r}"
        hint = f"add it to the project, or {did_you_mean(used.name, names)}"
        raise refusal(kind, user.name, what, hint, user.place)
