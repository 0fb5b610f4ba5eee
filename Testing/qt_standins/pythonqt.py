"""PySide6 objects behind wrappers that behave as PythonQt's do in Slicer.

Properties are attributes and hide their getters, signals are named by their normalised C++ signature, nothing takes
keyword arguments, an unknown name is an AttributeError, lists come back as tuples, no wrapped class derives from
another. What PythonQt only prints (an exception in a slot, a connection to an unknown signal) is printed here too and
kept in `complaints`, so that a test can ask whether anything went wrong.
"""

from __future__ import annotations

import enum
import inspect
import numbers
import sys
import traceback
import types
import weakref

import shiboken6
from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

complaints: list[str] = []

_MODULES = (QtCore, QtGui, QtWidgets, QtUiTools)
_PYTHON_ONLY = {"Signal", "Slot", "Property", "QEnum", "QFlag", "ClassInfo", "SIGNAL", "SLOT"}
# Virtual functions that a Python subclass of a wrapped class may override.
_VIRTUAL = ("eventFilter",)
# Slots and methods that PySide6 has under another name or that belong to Python alone.
_HIDDEN = {"exec", "connect", "disconnect", "emit", "tr", "metaObject", "staticMetaObject", "receivers", "sender"}
_RENAMED = {"exec_": "exec"}

_classes: dict[type, type] = {}
_wrappers: dict[int, weakref.ref] = {}
_connections: dict[int, list[tuple[str, object, object]]] = {}


def complain(text: str) -> None:
    """What PythonQt prints to stderr."""
    complaints.append(text)
    print(text, file=sys.stderr)


def wrap(value):
    """A Qt value as Python code in Slicer gets it."""
    if isinstance(value, QtCore.QObject):
        return _wrapper(value)
    if isinstance(value, list | tuple):
        return tuple(wrap(item) for item in value)
    return value


def unwrap(value):
    """The PySide6 object of a wrapper; other values as they are, numpy scalars as numbers."""
    if isinstance(value, PythonQtInstanceWrapper):
        return object.__getattribute__(value, "_cpp")
    if isinstance(value, WrapperType):
        return value._pyside
    if isinstance(value, list | tuple):
        return [unwrap(item) for item in value]
    if type(value).__module__ == "numpy" and hasattr(value, "item"):
        return value.item()
    return value


def _pointer(cpp) -> int:
    return shiboken6.getCppPointer(cpp)[0]


def _wrapper(cpp: QtCore.QObject) -> PythonQtInstanceWrapper:
    known = _wrappers.get(_pointer(cpp))
    known = known() if known else None
    if known is not None and object.__getattribute__(known, "_cpp") is cpp:
        return known
    wrapper = object.__new__(wrapper_class(type(cpp)))
    _bind(wrapper, cpp)
    return wrapper


def _bind(wrapper: PythonQtInstanceWrapper, cpp: QtCore.QObject) -> None:
    object.__setattr__(wrapper, "_cpp", cpp)
    object.__setattr__(wrapper, "_address", _pointer(cpp))
    _wrappers[_pointer(cpp)] = weakref.ref(wrapper)


def wrapper_class(pyside: type) -> type:
    """The Python class of a wrapped Qt class; its only base is PythonQtInstanceWrapper."""
    if pyside not in _classes:
        _classes[pyside] = WrapperType(pyside.__name__, (PythonQtInstanceWrapper,), {"_pyside": pyside})
    return _classes[pyside]


def _without_keywords(function, name: str):
    """A callable as PythonQt exposes it."""

    def call(*args, **kwargs):
        if kwargs:
            raise ValueError(f"{name}: called slot does not support kwargs")
        try:
            return wrap(function(*map(unwrap, args)))
        except (TypeError, OverflowError) as error:
            if isinstance(function, types.FunctionType | types.MethodType):
                raise
            raise ValueError(f"Called {name} with wrong arguments: {args} ({error})") from error

    call.__name__ = name
    return call


class WrapperType(type):
    """Class level of a wrapper: enums and static functions."""

    def __getattr__(cls, name: str):
        pyside = next((vars(base)["_pyside"] for base in cls.__mro__ if "_pyside" in vars(base)), None)
        if pyside is None or name.startswith("_") or name in _HIDDEN or not hasattr(pyside, name):
            raise AttributeError(f"type object '{cls.__name__}' has no attribute '{name}'")
        value = getattr(pyside, name)
        if isinstance(value, enum.Enum) or (isinstance(value, type) and issubclass(value, enum.Enum)):
            return value
        if callable(value):
            return _without_keywords(value, name)
        raise AttributeError(f"type object '{cls.__name__}' has no attribute '{name}'")


class SignalProxy:
    """`object.signal`: connect, disconnect, emit, and callable."""

    def __init__(self, wrapper: PythonQtInstanceWrapper, signature: str):
        self._wrapper, self._signature = wrapper, signature

    def connect(self, function) -> bool:
        return self._wrapper.connect(self._signature, function)

    def disconnect(self, function) -> bool:
        return self._wrapper.disconnect(self._signature, function)

    def emit(self, *args) -> None:
        cpp = unwrap(self._wrapper)
        name = getattr(type(cpp), "_signals", {}).get(self._signature)
        if name:
            getattr(cpp, name).emit(*map(unwrap, args))
        else:
            cpp.emit(QtCore.SIGNAL(self._signature), *map(unwrap, args))

    __call__ = emit


class PythonQtInstanceWrapper(metaclass=WrapperType):
    """A QObject as Python code in Slicer sees it."""

    def __init__(self, *args, **kwargs):
        if kwargs:
            raise ValueError(f"{type(self).__name__}: called constructor does not support kwargs")
        derived = "_pyside" not in vars(type(self))
        pyside = _overriding(type(self)) if derived else type(self)._pyside
        try:
            _bind(self, pyside(*map(unwrap, args)))
        except TypeError as error:
            raise ValueError(f"Could not find matching overload for given arguments: {args}. {error}") from error
        if derived:
            unwrap(self)._python = self

    # --- identity and lifetime

    def __bool__(self) -> bool:
        return shiboken6.isValid(object.__getattribute__(self, "_cpp"))

    def __eq__(self, other) -> bool:
        if other is None:
            return not self
        return isinstance(other, PythonQtInstanceWrapper) and other._address == self._address

    def __hash__(self) -> int:
        return hash(self._address)

    def __repr__(self) -> str:
        return f"{type(self).__name__} ({type(self).__name__} at: {self._address:#x})"

    # --- attributes

    def __getattr__(self, name: str):
        cpp = object.__getattribute__(self, "_cpp")
        if not shiboken6.isValid(cpp):
            raise ValueError(f"Trying to read property '{name}' from a destroyed {type(self).__name__} object")
        if name == "name":
            name = "objectName"
        if name != "singleShot" and (cpp.metaObject().indexOfProperty(name) >= 0 or name in _dynamic(cpp)):
            return wrap(cpp.property(name))
        signature = _fullest_signature(cpp, name)
        if signature:
            return SignalProxy(self, signature)
        method = _RENAMED.get(name, name)
        if not name.startswith("_") and name not in _HIDDEN and callable(getattr(type(cpp), method, None)):
            value = getattr(cpp, method)
            if isinstance(value, type | enum.Enum):
                return value
            return _without_keywords(value, name)
        if isinstance(getattr(type(cpp), name, None), enum.Enum):
            return getattr(type(cpp), name)
        raise AttributeError(f"{type(self).__name__} has no attribute named '{name}'")

    def __setattr__(self, name: str, value) -> None:
        cpp = object.__getattribute__(self, "_cpp")
        if not shiboken6.isValid(cpp):
            raise ValueError(f"Trying to set property '{name}' of a destroyed {type(self).__name__} object")
        if name == "name":
            name = "objectName"
        index = cpp.metaObject().indexOfProperty(name)
        if index < 0 and "_pyside" not in vars(type(self)):
            object.__setattr__(self, name, value)
            return
        if index < 0:
            if callable(getattr(type(cpp), name, None)):
                raise AttributeError(f"Slot '{name}' can not be overwritten")
            raise AttributeError(
                f"'{name}' does not exist on {type(self).__name__} and creating new attributes on"
                " C++ objects is not allowed"
            )
        of_type = cpp.metaObject().property(index).typeName()
        if not cpp.setProperty(name, _converted(value, name, of_type)):
            raise AttributeError(
                f"Property '{name}' of type '{of_type}' does not accept an object of type"
                f" {type(value).__name__} ({value!r})"
            )

    # --- signals

    def connect(self, signature: str, *target) -> bool:
        """connect(signal, callable) or connect(signal, receiver, slot)."""
        cpp = self._alive("connect")
        if not _has_signal(cpp, signature):
            complain(f"QObject::connect() signal '{signature}' does not exist on {self.className()}")
            return False
        if len(target) == 2:
            receiver, slot = target
            function = getattr(receiver, slot.partition("(")[0])
        elif len(target) == 1:
            function = target[0]
        else:
            raise ValueError(f"Could not find matching overload for given arguments: {(signature, *target)}")
        trampoline = _trampoline(function, _argument_count(signature))
        name = getattr(type(cpp), "_signals", {}).get(signature)
        if name:
            getattr(cpp, name).connect(trampoline)
        else:
            QtCore.QObject.connect(cpp, QtCore.SIGNAL(signature), trampoline)
        _connections.setdefault(self._address, []).append((signature, function, trampoline))
        return True

    def disconnect(self, signature: str, function) -> bool:
        """Take away one connection; False when there is none."""
        cpp = self._alive("disconnect")
        known = _connections.get(self._address, [])
        for n, (of_signature, of_function, trampoline) in enumerate(known):
            if of_signature == signature and of_function == function:
                name = getattr(type(cpp), "_signals", {}).get(signature)
                if name:
                    getattr(cpp, name).disconnect(trampoline)
                else:
                    QtCore.QObject.disconnect(cpp, QtCore.SIGNAL(signature), trampoline)
                del known[n]
                return True
        return False

    def _alive(self, method: str):
        cpp = unwrap(self)
        if not shiboken6.isValid(cpp):
            raise ValueError(f"Trying to call '{method}' on a destroyed {type(self).__name__} object")
        return cpp

    # --- what PythonQt adds to every QObject

    def className(self) -> str:
        return type(unwrap(self)).__name__

    def inherits(self, name: str) -> bool:
        return any(base.__name__ == name for base in type(unwrap(self)).__mro__)

    def delete(self) -> None:
        shiboken6.delete(unwrap(self))

    def setProperty(self, name: str, value) -> bool:
        return bool(unwrap(self).setProperty(name, unwrap(value)))

    def property(self, name: str):
        return wrap(unwrap(self).property(name))

    def findChildren(self, of_class, name: str = ""):
        return wrap(unwrap(self).findChildren(unwrap(of_class), *([name] if name else [])))

    def findChild(self, of_class, name: str = ""):
        found = self.findChildren(of_class, name)
        return found[0] if found else None


def _overriding(derived: type) -> type:
    """The Qt class of a Python subclass: Qt calls its overrides; what they raise is printed."""
    pyside = derived._pyside

    def forwarded(name: str):
        def call(self, *args):
            try:
                return getattr(self._python, name)(*(wrap(arg) for arg in args))
            except Exception:
                complain(traceback.format_exc())
                return getattr(pyside, name)(self, *args)

        return call

    own = [base for base in derived.__mro__ if "_pyside" not in vars(base) and base is not PythonQtInstanceWrapper]
    names = [name for name in _VIRTUAL if any(name in vars(base) for base in own)]
    return type(derived.__name__, (pyside,), {name: forwarded(name) for name in names})


def _dynamic(cpp) -> set[str]:
    return {bytes(name.data()).decode() for name in cpp.dynamicPropertyNames()}


def _converted(value, name: str, of_type: str):
    """A value as a property of the given C++ type takes it."""
    value = unwrap(value)
    if of_type == "QString":
        return str(value)
    if of_type == "bool":
        return bool(value)
    if of_type in ("int", "double"):
        if not isinstance(value, numbers.Real):
            raise AttributeError(
                f"Property '{name}' of type '{of_type}' does not accept an object of type"
                f" {type(value).__name__} ({value!r})"
            )
        return int(value) if of_type == "int" else float(value)
    if of_type == "QStringList":
        return [str(item) for item in value]
    return value


def _signatures(cpp) -> list[str]:
    meta = cpp.metaObject()
    methods = [meta.method(n) for n in range(meta.methodCount())]
    names = [
        bytes(m.methodSignature().data()).decode()
        for m in methods
        if m.methodType() == QtCore.QMetaMethod.MethodType.Signal
    ]
    return [*getattr(type(cpp), "_signals", {}), *(name for name in names if "PyObject" not in name)]


def _has_signal(cpp, signature: str) -> bool:
    return signature in _signatures(cpp)


def _fullest_signature(cpp, name: str) -> str | None:
    signatures = [s for s in _signatures(cpp) if s.partition("(")[0] == name]
    return max(signatures, key=_argument_count, default=None)


def _argument_count(signature: str) -> int:
    arguments = signature.partition("(")[2].rstrip(")")
    return arguments.count(",") + 1 if arguments else 0


def _trampoline(function, count: int):
    """Calls a slot with as many arguments as it takes; what it raises is printed, never propagated."""

    def call(*args):
        try:
            function(*wrap(args[: min(count, _accepted(function))]))
        except Exception:
            complain(traceback.format_exc())

    return call


def _accepted(function) -> int:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return sys.maxsize
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return sys.maxsize
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)


class FlatModule(types.ModuleType):
    """`qt` or `ctk`: one flat namespace; unknown names are AttributeErrors."""

    def __init__(self, name: str, own: dict[str, object], sources: tuple = ()):
        super().__init__(name)
        self.__dict__.update(own)
        self._sources = sources

    def __getattr__(self, name: str):
        found = (
            None
            if name.startswith("_") or name in _PYTHON_ONLY
            else next((getattr(module, name) for module in self.__dict__["_sources"] if hasattr(module, name)), None)
        )
        if found is None:
            raise AttributeError(f"module '{self.__name__}' has no attribute '{name}'")
        if isinstance(found, type) and issubclass(found, QtCore.QObject):
            return wrapper_class(found)
        return found


def qt_module(own: dict[str, object]) -> FlatModule:
    return FlatModule("qt", own, _MODULES)
