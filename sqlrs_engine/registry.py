"""Looks up instances by id or name, and binds names.

Text in the form of an id is looked up as an id first, so no name may have that form.
"""

import re
import threading
from collections.abc import Callable

from sqlrs_engine import ids
from sqlrs_engine.clock import Clock, utc_now
from sqlrs_engine.errors import Conflict, InvalidArgument, NotFound
from sqlrs_engine.store import Store
from sqlrs_engine.store.records import Instance, Name

__all__ = ["NAME_PATTERN", "Registry", "check_name"]

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
"""A letter or digit, then up to 62 letters, digits, dots, underscores and hyphens."""

_NAME = re.compile(NAME_PATTERN.strip("^$"))


def check_name(name: str) -> None:
    """Raise InvalidArgument unless ``name`` may be bound to an instance."""
    if ids.is_instance_id(name):
        raise InvalidArgument(
            "invalid name", "a name must not have the form of an instance id: choose another"
        )
    if _NAME.fullmatch(name) is None:
        raise InvalidArgument(
            "invalid name",
            "a name is 1 to 63 letters, digits, dots, underscores and hyphens,"
            " the first a letter or a digit",
        )


class Registry:
    """Looks up instances and names; safe to use from any thread."""

    def __init__(
        self,
        store: Store,
        *,
        clock: Clock = utc_now,
        on_names_changed: Callable[[str], object] = lambda instance_id: None,
    ) -> None:
        """``on_names_changed`` is called with the id of each instance that gained or lost a name.

        It is called after the change, in the thread that made it.
        """
        self._store = store
        self._clock = clock
        self._on_names_changed = on_names_changed
        self._binding = threading.Lock()

    def instance(self, ref: str) -> tuple[Instance, bool]:
        """Return the instance an id or a name refers to, and whether it was a name.

        HTTP redirects a lookup by name to the instance. Raises NotFound.
        """
        if ids.is_instance_id(ref):
            instance = self._store.instances.get(ref.lower())
            if instance is not None:
                return instance, False
        name = self._store.names.get(ref)
        if name is not None and name.instance_id is not None:
            instance = self._store.instances.get(name.instance_id)
            if instance is not None:
                return instance, True
        raise NotFound.of("instance", ref)

    def name(self, name: str) -> Name:
        """Return a name's binding. Raises NotFound."""
        found = self._store.names.get(name)
        if found is None:
            raise NotFound.of("name", name)
        return found

    def touch(self, name: str) -> None:
        """Record that a name was used."""
        self._store.names.touch(name, self._clock())

    def bind(self, name: str, instance_ref: str) -> tuple[Name, bool]:
        """Bind a name to an instance, replacing its binding if any; return whether it is new.

        Raises InvalidArgument on a name that breaks the rules, NotFound without such an
        instance.
        """
        check_name(name)
        instance, _ = self.instance(instance_ref)
        with self._binding:
            return self._put(name, instance, self._store.names.get(name))

    def check_free(self, name: str) -> None:
        """Raise InvalidArgument or Conflict unless ``claim`` could bind the name now."""
        check_name(name)
        _refuse_live(self._store.names.get(name))

    def claim(self, name: str, instance: Instance) -> Name:
        """Bind a name that is bound to no living instance.

        Raises InvalidArgument on a name that breaks the rules, Conflict when it is taken,
        NotFound when the instance is gone.
        """
        check_name(name)
        with self._binding:
            former = self._store.names.get(name)
            _refuse_live(former)
            return self._put(name, instance, former)[0]

    def unbind(self, name: str) -> None:
        """Delete a name; its instance stays. Raises NotFound."""
        with self._binding:
            former = self.name(name)
            self._store.names.remove(name)
        self._announce(former.instance_id)

    def _put(self, name: str, instance: Instance, former: Name | None) -> tuple[Name, bool]:
        binding = Name(
            name=name,
            instance_id=instance.instance_id,
            image_id=instance.image_id,
            state_id=instance.state_id,
            state_fingerprint=instance.state_id,
            last_used_at=self._clock(),
        )
        is_new = self._store.names.put(binding)
        if self._store.instances.get(instance.instance_id) is None:
            # It was deleted in the meantime: no name may be bound to it.
            self._restore(name, former)
            raise NotFound.of("instance", instance.instance_id)
        if former is not None and former.instance_id != instance.instance_id:
            self._announce(former.instance_id)
        self._announce(instance.instance_id)
        return self.name(name), is_new

    def _restore(self, name: str, former: Name | None) -> None:
        if former is None:
            self._store.names.remove(name)
        else:
            self._store.names.put(former)

    def _announce(self, instance_id: str | None) -> None:
        if instance_id is not None:
            self._on_names_changed(instance_id)


def _refuse_live(name: Name | None) -> None:
    if name is not None and name.status == "active":
        raise Conflict(
            "the name is taken",
            f"{name.name} is bound to instance {name.instance_id}: choose another name,"
            " or delete that instance or name first",
        )
