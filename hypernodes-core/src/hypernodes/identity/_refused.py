"""What has no identity that would be the same tomorrow, in plain words."""

from __future__ import annotations

from typing import Final

from hypernodes.identity._owner import full_name, module_of, of_library

_LOCK: Final = "a lock"
_THREAD: Final = "a thread"
_PROCESS: Final = "a process"
_QUEUE: Final = "a queue"
_DATABASE: Final = "a database connection"
_WEAK: Final = "a weak reference"
_WAITING: Final = "something that is waited for"

# By the name of the class or of one that it derives from, so that nothing is imported to look for it.
REASONS: Final = {
    "_io:_IOBase": "an open file",
    "_pyio:IOBase": "an open file",
    "tempfile:_TemporaryFileWrapper": "an open file",
    "tempfile:TemporaryDirectory": "a temporary directory",
    "codecs:StreamReaderWriter": "an open file",
    "zipfile:ZipFile": "an open file",
    "tarfile:TarFile": "an open file",
    "mmap:mmap": "a memory-mapped file",
    "posix:DirEntry": "an entry of a directory listing",
    "_socket:socket": "a socket",
    "_ssl:_SSLSocket": "a socket",
    "_ssl:_SSLContext": "an SSL context",
    "http.client:HTTPConnection": "a network connection",
    "smtplib:SMTP": "a network connection",
    "ftplib:FTP": "a network connection",
    "sqlite3:Connection": _DATABASE,
    "sqlite3:Cursor": "a database cursor",
    "sqlite3:Blob": "an open file",
    "_thread:lock": _LOCK,
    "_thread:RLock": _LOCK,
    "threading:_RLock": _LOCK,
    "threading:Condition": _LOCK,
    "threading:Semaphore": _LOCK,
    "threading:Event": _LOCK,
    "threading:Barrier": _LOCK,
    "threading:Thread": _THREAD,
    "_thread:_local": "data of one thread",
    "_threading_local:local": "data of one thread",
    "multiprocessing.synchronize:SemLock": _LOCK,
    "_multiprocessing:SemLock": _LOCK,
    "multiprocessing.synchronize:Condition": _LOCK,
    "multiprocessing.synchronize:Event": _LOCK,
    "multiprocessing.process:BaseProcess": _PROCESS,
    "multiprocessing.pool:Pool": "a pool of processes",
    "multiprocessing.connection:_ConnectionBase": "a connection between processes",
    "multiprocessing.queues:Queue": _QUEUE,
    "multiprocessing.queues:SimpleQueue": _QUEUE,
    "multiprocessing.managers:BaseManager": _PROCESS,
    "multiprocessing.managers:BaseProxy": "an object of another process",
    "multiprocessing.shared_memory:SharedMemory": "shared memory",
    "subprocess:Popen": _PROCESS,
    "concurrent.futures._base:Executor": "a pool of workers",
    "concurrent.futures._base:Future": _WAITING,
    "queue:Queue": _QUEUE,
    "_queue:SimpleQueue": _QUEUE,
    "asyncio.events:AbstractEventLoop": "an event loop",
    "asyncio.mixins:_LoopBoundMixin": "a lock of an event loop",
    "_asyncio:Future": _WAITING,
    "asyncio.futures:Future": _WAITING,
    "asyncio.protocols:BaseProtocol": "a network connection",
    "asyncio.transports:BaseTransport": "a network connection",
    "selectors:BaseSelector": "a watch over open files",
    "select:epoll": "a watch over open files",
    "builtins:generator": "a generator",
    "builtins:coroutine": "a coroutine",
    "builtins:async_generator": "a generator",
    "builtins:coroutine_wrapper": "a coroutine",
    "builtins:frame": "a frame of a running function",
    "builtins:traceback": "a traceback",
    "builtins:cell": "a variable of a running function",
    "builtins:PyCapsule": "a pointer",
    "builtins:weakref": _WEAK,
    "weakref:ReferenceType": _WEAK,
    "weakref:ProxyType": _WEAK,
    "weakref:CallableProxyType": _WEAK,
    "builtins:weakproxy": _WEAK,
    "builtins:weakcallableproxy": _WEAK,
    "weakref:WeakValueDictionary": _WEAK,
    "weakref:WeakKeyDictionary": _WEAK,
    "_weakrefset:WeakSet": _WEAK,
    "weakref:finalize": _WEAK,
    "_contextvars:ContextVar": "a context variable",
    "_contextvars:Context": "a context",
    "_contextvars:Token": "a context",
    "builtins:ContextVar": "a context variable",
    "_ctypes:_Pointer": "a pointer",
    "_ctypes:CFuncPtr": "a pointer",
    "_ctypes:PyCFuncPtr": "a pointer",
    "ctypes:CDLL": "a loaded library",
    "logging:Handler": "a log handler",
    "sched:scheduler": _QUEUE,
    "polars.lazyframe.frame:LazyFrame": "a query that has not run (collect it)",
    "polars.expr.expr:Expr": "an expression of a query",
}
_FINE: Final = ("_io:BytesIO", "_io:StringIO")  # files in name only


def refusal(kind: type) -> str | None:
    """Return what an object of a class is where it has no identity, else None."""
    if kind is object:
        return "a bare object(), which only its address tells from others"
    names = [full_name(each) for each in kind.__mro__]
    if any(name in _FINE for name in names):
        return None
    reason = next((REASONS[name] for name in names if name in REASONS), None)
    if reason is not None:
        return reason
    stepping = next((each for each in kind.__mro__ if "__next__" in each.__dict__ or "__anext__" in each.__dict__), None)
    # What an iterator of the user's class will give is in its attributes; others hide how far they are.
    return "an iterator" if stepping is not None and of_library(module_of(stepping)) else None
