"""Values from the tree of a pickle (:mod:`zdb.legacy.inert`): plain ones by a fixed list, others on request only."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from zdb.errors import PickleRefusedError, UnreadableValueError, ZdbError
from zdb.legacy.inert import NOT_SET, Noted, NotedCall, read_inert
from zdb.legacy.standard_pickles import NAMED, is_zone, zone_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Makers", "Rebuilder", "load"]

# Makers get the rebuilder and what was noted, and return the value.
Maker = "Callable[[Rebuilder, Noted], Any]"
Makers = "Mapping[str, Callable[[Rebuilder, Noted], Any]]"

PLAIN = frozenset({type(None), bool, int, float, complex, str, bytes})
# Modules in which a maker may be; imported when a name of their package is met.
MAKER_MODULES = {
    "numpy": "zdb.legacy.numpy_pickles",
    "pandas": "zdb.legacy.pandas_pickles",
}
STANDARD = "zdb.legacy.standard_pickles"


def load(content: bytes, what: str, *, trusted: bool = False, records: frozenset[str] = frozenset()) -> Any:
    """Read a pickle of builtin, numpy and pandas values, of any version of these packages.

    Parameters
    ----------
    content : bytes
    what : str
        File or row that holds it, for errors.
    trusted : bool
        Import and call whatever else it names, as :func:`pickle.loads` does.
    records : frozenset of str
        Top-level packages whose objects become dicts of their attributes, with the name of the class as "class".

    Raises
    ------
    PickleRefusedError
        It names something that is not on the list, and `trusted` is false.
    UnreadableValueError
        It is damaged, or what it names is not there.
    """
    tree = read_inert(content, what)
    try:
        return Rebuilder(trusted=trusted, records=records).build(tree)
    except PickleRefusedError as error:
        raise PickleRefusedError(f"{what}: {error}") from error
    except ZdbError as error:
        raise UnreadableValueError(f"{what}: {error}") from error
    except RecursionError as error:
        raise UnreadableValueError(f"{what}: is nested too deeply") from error
    except Exception as error:
        raise UnreadableValueError(f"{what}: cannot be rebuilt ({type(error).__name__}: {error})") from error


class Rebuilder:
    """Makes values of one tree. What is met twice is made once, as it was one object.

    Parameters
    ----------
    trusted : bool
        Import and call names that are not on the list.
    records : frozenset of str
        Top-level packages whose objects become dicts.
    """

    def __init__(self, *, trusted: bool = False, records: frozenset[str] = frozenset()) -> None:
        self.trusted = trusted
        self.records = records
        self._made: dict[int, Any] = {}
        self._under_way: set[int] = set()

    def build(self, tree: Any) -> Any:
        """Make the value of a part of the tree."""
        kind = type(tree)
        if kind in PLAIN or kind is bytearray:
            return tree
        if id(tree) in self._made:
            return self._made[id(tree)]
        if kind is list:
            return self._list(tree)
        if kind is dict:
            return self._dict(tree)
        if id(tree) in self._under_way:
            raise UnreadableValueError("an object is made of itself")
        self._under_way.add(id(tree))
        if kind in (tuple, set, frozenset):
            made = kind(map(self.build, tree))
        elif isinstance(tree, type) and issubclass(tree, Noted):
            made = self._named(tree)
        elif isinstance(tree, Noted):
            made = self._noted(tree)
        else:
            raise PickleRefusedError(f"a pickle holds a {kind.__module__}.{kind.__qualname__}")
        self._under_way.discard(id(tree))
        self._made[id(tree)] = made
        return made

    def _list(self, tree: list[Any]) -> list[Any]:
        if PLAIN.issuperset(map(type, tree)):
            return tree
        made: list[Any] = []
        self._made[id(tree)] = made
        made.extend(map(self.build, tree))
        return made

    def _dict(self, tree: dict[Any, Any]) -> dict[Any, Any]:
        if PLAIN.issuperset(map(type, tree)) and PLAIN.issuperset(map(type, tree.values())):
            return tree
        made: dict[Any, Any] = {}
        self._made[id(tree)] = made
        for key, value in tree.items():
            made[self.build(key)] = self.build(value)
        return made

    def _named(self, cls: type[Noted]) -> Any:
        """A class or function that is a value itself, such as ``float`` or ``numpy.float64``."""
        if cls.name in NAMED:
            return NAMED[cls.name]()
        if not self.trusted:
            raise self._refused(cls)
        return _import(cls)

    def _noted(self, noted: Noted) -> Any:
        noted = _of_its_class(noted)
        if isinstance(noted, NotedCall) and is_zone(noted):
            return zone_of(self, noted)
        maker = _maker(type(noted).name)
        if maker is not None:
            return maker(self, noted)
        if _package(noted) in self.records:
            return self._record(noted)
        if not self.trusted:
            raise self._refused(type(noted))
        return self._trusted(noted)

    def _record(self, noted: Noted) -> dict[str, Any]:
        made = {"class": ".".join(noted.original)}
        self._made[id(noted)] = made
        if noted.args:
            made["args"] = self.build(noted.args)
        if noted.pairs:
            made |= {str(self.build(key)): self.build(value) for key, value in noted.pairs}
        if noted.items:
            made["items"] = self.build(noted.items)
        state = None if noted.state is NOT_SET else self.build(noted.state)
        if isinstance(state, dict):
            made |= {str(name): value for name, value in state.items()}
        elif state is not None:
            made["state"] = state
        return made

    def _trusted(self, noted: Noted) -> Any:
        """Do what :func:`pickle.loads` does, in its order."""
        if isinstance(noted, NotedCall):
            target, arguments = self.build(noted.args[0]), noted.args[1:]
        else:
            target, arguments = _import(type(noted)), noted.args
        args, kwargs = self.build(arguments), self.build(noted.kwargs)
        made = target(*args, **kwargs) if noted.called else target.__new__(target, *args, **kwargs)
        self._made[id(noted)] = made
        for item in noted.items:
            (made.add if isinstance(made, set) else made.append)(self.build(item))
        for key, value in noted.pairs:
            made[self.build(key)] = self.build(value)
        if noted.state is not NOT_SET:
            _set_state(made, self.build(noted.state))
        return made

    def _refused(self, cls: type[Noted]) -> PickleRefusedError:
        return PickleRefusedError(
            f"the pickle asks for {'.'.join(cls.original) or cls.name}, which is no plain data. If you trust who wrote "
            "it, open the database with allow_pickle=True"
        )


def _of_its_class(noted: Noted) -> Noted:
    """Undo ``copyreg._reconstructor(cls, object, None)``, by which protocols 0 and 1 make an object of a class."""
    if noted.name != "copyreg._reconstructor" or len(noted.args) != 3:
        return noted
    cls, base, base_state = noted.args
    names = [getattr(part, "name", None) for part in (cls, base)]
    if (
        not (isinstance(cls, type) and issubclass(cls, Noted))
        or names[1] != "builtins.object"
        or base_state is not None
    ):
        return noted
    made = cls.__new__(cls)
    made.state, made.items, made.pairs = noted.state, noted.items, noted.pairs
    return made


def _maker(name: str) -> Callable[[Rebuilder, Noted], Any] | None:
    module = MAKER_MODULES.get(name.partition(".")[0], STANDARD)
    makers: Mapping[str, Callable[[Rebuilder, Noted], Any]] = importlib.import_module(module).MAKERS
    return makers.get(name)


def _package(noted: Noted) -> str:
    return noted.original[0].partition(".")[0]


def _import(cls: type[Noted]) -> Any:
    module, name = cls.original
    for candidate in (module, cls.name.removesuffix(f".{name}")):
        try:
            found: Any = importlib.import_module(candidate)
            for part in name.split("."):
                found = getattr(found, part)
        except (ImportError, AttributeError):
            continue
        return found
    raise UnreadableValueError(f"{module}.{name} is not installed; it is needed to read this value")


def _set_state(made: Any, state: Any) -> None:
    if hasattr(made, "__setstate__"):
        made.__setstate__(state)
        return
    attributes, slots = state if isinstance(state, tuple) and len(state) == 2 else (state, None)
    if attributes:
        made.__dict__.update(attributes)
    for name, value in (slots or {}).items():
        setattr(made, name, value)
