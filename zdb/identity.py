"""By which ids a database is found."""

from __future__ import annotations

import json
from typing import Any

from zdb.catalogs import remember
from zdb.errors import DatabaseNotFoundError, InvalidReferenceError, NotADatabaseError
from zdb.handle import Handle
from zdb.records import FORMER_IDS, ids_in, is_id

__all__ = ["Identity"]


class Identity(Handle):
    """What a database can do about its ids."""

    def add_id(self, id: str) -> None:
        """Let this database be found by another id too, such as that of the one that it was made of.

        ``zdb.open(id=...)`` and ``mdb://<id>/...`` lead here from now on, and no more to where the catalog said. The id
        is kept in the database, so that it is known again after a move and in other catalogs.

        Parameters
        ----------
        id : str
            Letters, digits, "-" and "_".

        Raises
        ------
        InvalidReferenceError
            It is no id.
        DatabaseNotFoundError
            It was deleted meanwhile.
        NotADatabaseError
            This is a sub-database, which has no place in the catalog.
        ReadOnlyError
            The database is open for reading.
        """
        self._engine.nodes.require_writable()
        if not is_id(id):
            raise InvalidReferenceError(f"{id!r} is no id of a database, which has letters, digits, '-' and '_'")
        if self._path:
            raise NotADatabaseError(f"{self.url}: is a sub-database; only whole databases have ids in the catalog")

        def with_id(document: dict[str, Any]) -> dict[str, Any]:
            if not document:
                raise DatabaseNotFoundError(f"{self.url}: the database was deleted")
            attributes = document["attributes"]
            own, *former = ids_in(attributes)
            if id in (own, *former):
                return document
            return {**document, "attributes": {**attributes, FORMER_IDS: json.dumps([*former, id])}}

        self._engine.change_root(with_id)
        remember(id, self.url, moved=True)
