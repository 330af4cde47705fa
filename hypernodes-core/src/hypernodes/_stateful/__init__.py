"""Heavy objects that are built late and once: ``@stateful``.

Calling a stateful class gives a *stand-in* that holds the init arguments. The first use that needs the object (an
attribute, a call, ``len``, a comparison …) builds it, once, whatever the number of threads; from then on the stand-in
passes everything on. Only the init arguments are pickled, and equal arguments that arrive in one process give one object.

The class stays the class that was written, but for its ``__new__``: ``isinstance``, ``super()``, subclasses, class
attributes and metaclasses keep their meaning, and nothing intercepts what the constructor does. A stand-in is no instance
for the interpreter, it only says so through ``__class__``. What to know:

- ``repr`` of an object that is not built shows its arguments and does not build it. Probes for special names that the
  class does not define (``__array__``, ``_repr_html_`` …) are answered with ``AttributeError`` without building.
- ``copy.copy`` and ``copy.deepcopy`` give the object itself, as pickling within one process does: it is a resource,
  not a value. What was set on it after construction does not travel to other processes.
- A C function that insists on a real instance (of a ``dict`` subclass, say) refuses a stand-in.
- A subclass that defines ``__new__`` needs its own ``@stateful``.
"""

from hypernodes._stateful.decorator import stateful
from hypernodes._stateful.memo import release
from hypernodes._stateful.stand_in import built, is_stateful

__all__ = ["built", "is_stateful", "release", "stateful"]
