"""Codecs: how the values of a program become the bytes of workloads, and how the bytes of results become values. Pure.

The protocol carries bytes. A codec stands on the client's side alone, so it must fit what the worker's function expects
and returns. Callbacks get the bytes of data, warnings and exceptions as they arrived.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Final, Protocol

from gearman_client.arguments import to_count
from gearman_client.errors import ArgumentError, ResultNotDecoded
from gearman_client.packet import DEFAULT_MAX_BODY_BYTES
from gearman_client.text import to_body

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    ValueT_contra = TypeVar("ValueT_contra", contravariant=True)
    ResultT_co = TypeVar("ResultT_co", covariant=True)
else:
    from typing import TypeVar

    ValueT_contra = TypeVar("ValueT_contra", contravariant=True)
    ResultT_co = TypeVar("ResultT_co", covariant=True)

#: The first bytes of everything that is compressed with gzip (RFC 1952).
_GZIP: Final = b"\x1f\x8b"
#: Tells zlib to write and to read the format of gzip, which the tools of every language know.
_GZIP_WINDOW_BITS: Final = 31
#: The most bytes of a result that an error message shows.
_SHOWN_BYTES: Final = 40


class Codec(Protocol[ValueT_contra, ResultT_co]):
    """What `Client(codec=…)` takes: any object with these two methods. Several threads may call them at once."""

    def encode(self, value: ValueT_contra, /) -> bytes:
        """The bytes of a workload.

        Raises:
            ArgumentError: the value can't be encoded; the job is not submitted.
        """

    def decode(self, data: bytes, /) -> ResultT_co:
        """The value of a result.

        Raises:
            ResultNotDecoded: the bytes are not what this codec understands.
        """


class BytesCodec:
    """Bytes as they are, and text as UTF-8; results are bytes. The codec of a client that was given none."""

    def encode(self, value: bytes | str, /) -> bytes:
        """The value itself, or its UTF-8."""
        return to_body(value)

    def decode(self, data: bytes, /) -> bytes:
        """The data itself."""
        return data


class JsonCodec:
    """JSON (RFC 8259) in UTF-8. A result of no bytes is None, as from a function that returns nothing."""

    def encode(self, value: Any, /) -> bytes:
        """The JSON of a value that `json.dumps` accepts, without NaN and infinity, which JSON does not have."""
        from json import dumps  # here, because most programs send bytes

        try:
            return dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise ArgumentError(f"the workload has no JSON form: {error}") from error

    def decode(self, data: bytes, /) -> Any:
        """The value of a JSON text."""
        from json import loads

        if not data:
            return None
        try:
            return loads(data)
        except (ValueError, RecursionError) as error:
            why = f"the result is not JSON ({error}); it begins with {data[:_SHOWN_BYTES]!r}"
            raise ResultNotDecoded(
                f"{why}; submit the job with a workload of bytes to get the result as bytes", data
            ) from error


class GzipCodec:
    """Compresses the larger of the workloads that another codec makes, and decompresses results.

    Compressed bytes have the format of gzip, whose first two bytes tell them from others; the function must be able to
    decompress them.

    inner: the codec between values and bytes; None: bytes and text.
    above_bytes: shorter workloads are sent as they are, unless they look like gzip's format.
    max_result_bytes: the most bytes that a result may become, because a few kilobytes can hold gigabytes.

    Raises:
        ArgumentError: one of the numbers is not from 1 up.
    """

    def __init__(
        self,
        inner: Codec[Any, Any] | None = None,
        *,
        above_bytes: int = 64 * 1024,
        max_result_bytes: int = DEFAULT_MAX_BODY_BYTES,
    ) -> None:
        self._inner: Codec[Any, Any] = BYTES if inner is None else inner
        self._above_bytes = to_count(above_bytes, "above_bytes", 2**31)
        self._max_result_bytes = to_count(max_result_bytes, "max_result_bytes", 2**31)

    def encode(self, value: Any, /) -> bytes:
        """The bytes of the inner codec, compressed where that is worth it."""
        data = self._inner.encode(value)
        if len(data) <= self._above_bytes and not data.startswith(_GZIP):
            return data
        packer = zlib.compressobj(wbits=_GZIP_WINDOW_BITS)
        return packer.compress(data) + packer.flush()

    def decode(self, data: bytes, /) -> Any:
        """The value of a result that may be compressed."""
        return self._inner.decode(self._unpacked(data) if data.startswith(_GZIP) else data)

    def _unpacked(self, data: bytes) -> bytes:
        unpacker = zlib.decompressobj(wbits=_GZIP_WINDOW_BITS)
        try:
            unpacked = unpacker.decompress(data, self._max_result_bytes)
        except zlib.error as error:
            raise ResultNotDecoded(f"the result begins like gzip's format but is not in it ({error})", data) from error
        if unpacker.unconsumed_tail:
            limit = f"has more than {self._max_result_bytes} bytes once it is decompressed"
            raise ResultNotDecoded(f"the result {limit}: raise max_result_bytes of the GzipCodec", data)
        if not unpacker.eof:
            raise ResultNotDecoded("the result is only a part of what gzip's format needs", data)
        return unpacked


BYTES: Final = BytesCodec()
JSON: Final = JsonCodec()
