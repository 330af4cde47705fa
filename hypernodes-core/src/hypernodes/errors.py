"""Every error and warning that HyperNodes raises on its own account.

::

    HyperNodesError
    ├── PipelineError (ValueError)            building a pipeline
    │   ├── CycleError                        nodes that need each other
    │   ├── DependencyError                   two producers of one output
    │   ├── TypeMismatchError (TypeError)     annotations that contradict, under strict
    │   └── MappingError                      as_node(input_mapping=, output_mapping=, map_over=)
    ├── NodeDefinitionError (TypeError)       a function that cannot be a node
    ├── InputError (ValueError)               calling a pipeline
    │   ├── MissingInputError
    │   ├── UnknownInputError
    │   ├── UnknownOutputError
    │   ├── MapLengthError                    zip over unequal lengths
    │   └── MapInputError (TypeError)         a mapped value that is not a collection of items
    ├── OptionError (TypeError)               an unknown keyword, mode or setting
    ├── ConfigError (ValueError)              pyproject.toml, environment, user file
    ├── OutputCountError (ValueError)         a node returned the wrong number of outputs
    ├── BatchLengthError (ValueError)         a batch twin returned the wrong number of items
    ├── MutationError (ValueError)            a node changed what it was given, under strict
    ├── NodeTimeoutError (TimeoutError)       a node took longer than its timeout
    ├── TooManyFailuresError                  more failed items than max_failures
    ├── CapabilityError                       an engine that cannot run what a node asks for
    ├── TaskError                             a packed task that cannot be unpacked or run here
    ├── WorkerLostError                       a worker process ended while it ran an item
    ├── RunEndedError                         what callbacks are told of a node that its run did not wait for
    ├── ResultTransferError (TypeError)       a result that cannot leave the process it was made in
    ├── RemoteError                           stands in for an exception that could not travel
    └── PluginError
        ├── PluginConflictError               two packages claim one name
        ├── PluginLoadError (ImportError)     a plugin that cannot be imported
        ├── UnknownPluginError (ValueError)   a name nobody registered
        └── PipelineVeto                      raised by a plugin to refuse a pipeline

    HyperNodesWarning (UserWarning)
    ├── TypeMismatchWarning                   annotations that contradict
    ├── RedefinedWarning                      a notebook cell was run again, and a pipeline holds what it defined before
    ├── CallbackWarning                       a callback raised and was dropped
    ├── PluginWarning                         a plugin is broken or an installation is mixed up
    └── CacheWarning                          the cache did less than it was asked to

An exception raised by a node's own function is never wrapped: it propagates as itself, with a note that
names pipeline, node and item.
"""

from __future__ import annotations


class HyperNodesError(Exception):
    """Root of every error that HyperNodes raises on its own account."""


class PipelineError(HyperNodesError, ValueError):
    """A pipeline cannot be built from these nodes."""


class CycleError(PipelineError):
    """Nodes depend on each other in a circle; the message shows the path."""


class DependencyError(PipelineError):
    """Two nodes produce one output; the message names both."""


class TypeMismatchError(PipelineError, TypeError):
    """A node's return annotation contradicts the parameter that consumes it (``strict`` only)."""


class MappingError(PipelineError):
    """An ``as_node`` mapping names something that the inner pipeline does not have."""


class NodeDefinitionError(HyperNodesError, TypeError):
    """A function, or the options given with it, cannot make a node."""


class InputError(HyperNodesError, ValueError):
    """The inputs or outputs of a call do not fit the pipeline."""


class MissingInputError(InputError):
    """An input that some needed node takes was not given."""


class UnknownInputError(InputError):
    """An input was given that the pipeline does not know."""


class UnknownOutputError(InputError):
    """An output was asked for that no node produces."""


class MapLengthError(InputError):
    """Inputs mapped in ``zip`` mode have different lengths."""


class MapInputError(InputError, TypeError):
    """A mapped input is a string, a mapping, or not iterable at all."""


class OptionError(HyperNodesError, TypeError):
    """An unknown keyword argument, mode or setting."""


class ConfigError(HyperNodesError, ValueError):
    """A configuration file or environment variable holds something unusable."""


class OutputCountError(HyperNodesError, ValueError):
    """A node declares several outputs and returned another number of them."""


class BatchLengthError(HyperNodesError, ValueError):
    """A batch twin returned another number of results than it was given items."""


class MutationError(HyperNodesError, ValueError):
    """Under ``strict``, a node changed what it was given."""


class NodeTimeoutError(HyperNodesError, TimeoutError):
    """A node took longer than its ``timeout``."""


class TooManyFailuresError(HyperNodesError):
    """More items failed than ``max_failures`` allows.

    Attributes:
        failures: The ``NodeFailure`` of every failed item so far.
        failed_inputs: The mapped values of these items, as inputs of a map over those only; empty for a stream.
    """

    failures: tuple[object, ...] = ()
    failed_inputs: dict[str, list[object]] = {}  # noqa: RUF012 - a default; each error gets its own


class CapabilityError(HyperNodesError):
    """A node asks for something that the engine cannot give."""


class TaskError(HyperNodesError):
    """A packed task cannot be unpacked, or was packed by another version."""


class WorkerLostError(HyperNodesError):
    """A worker process ended while it ran an item: it was killed, ran out of memory, or crashed.

    Attributes:
        node: The node that ran, where that is known.
        overdue: The error of the call for which it was killed because it took too long; ``None`` otherwise.
    """

    node: str = ""
    overdue: NodeTimeoutError | None = None


class RunEndedError(HyperNodesError):
    """A node was cut short because its run ended before it: another item failed, or somebody stopped it.

    Callbacks are told of it; it is never raised.
    """


class ResultTransferError(HyperNodesError, TypeError):
    """A node's result cannot be sent back from the process that made it; the message names output and cure."""


class RemoteError(HyperNodesError):
    """Stands in for an exception of a worker that could not be pickled.

    The message holds the original type, text and traceback.
    """


class PluginError(HyperNodesError):
    """Something is wrong with an installed plugin."""


class PluginConflictError(PluginError):
    """Two packages registered one name; the message names both."""


class PluginLoadError(PluginError, ImportError):
    """What a plugin registered under a name cannot be imported."""


class UnknownPluginError(PluginError, ValueError):
    """No installed package registered this name."""


class PipelineVeto(PluginError):  # noqa: N818 - the plugin author raises it as a verdict, not as a fault
    """Raised by a plugin's ``hypernodes_pipeline_built`` to refuse a pipeline."""


class HyperNodesWarning(UserWarning):
    """Root of every warning that HyperNodes gives."""


class TypeMismatchWarning(HyperNodesWarning):
    """A node's return annotation contradicts the parameter that consumes it."""


class RedefinedWarning(HyperNodesWarning):
    """A definition was run again in a notebook; a pipeline that was built before holds the earlier one."""


class CallbackWarning(HyperNodesWarning):
    """A callback raised; it was dropped for the run and the run went on."""


class PluginWarning(HyperNodesWarning):
    """A plugin is broken, or an installation is mixed up."""


class CacheWarning(HyperNodesWarning):
    """The cache did less than it was asked to; results are right all the same."""
