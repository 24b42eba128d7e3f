"""Makes a small picture of a large one: the picture's bytes (or JSON that names it) in, the thumbnail's bytes out.

With the setting `root` no file outside that folder is read; without it, no file is written at all.
"""

import base64
import binascii
import io
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from _picture import OUTPUT_FORMATS, PACKED_FORMATS, PictureError, encode, shrink
from _settings import SettingsError, size_bytes, text, whole_number

from gearman_manager import Job

KEYS = ("path", "data", "width", "height", "format", "output")
SUFFIX_FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP"}
MAX_SIDE = 10_000


@dataclass(frozen=True)
class Options:
    """The function's settings."""

    box: tuple[int, int]
    quality: int
    max_pixels: int
    max_file_bytes: int
    root: Path | None

    @classmethod
    def read(cls, settings: Mapping[str, Any]) -> "Options":
        root = text(settings, "root", None)
        if root is not None and not Path(root).is_absolute():
            raise SettingsError(f"root: a path that starts with / is needed, not {root!r}")
        return cls(
            box=(whole_number(settings, "width", 320, 1, MAX_SIDE), whole_number(settings, "height", 320, 1, MAX_SIDE)),
            quality=whole_number(settings, "quality", 85, 1, 95),
            max_pixels=whole_number(settings, "max_pixels", 50_000_000, 1, 2_000_000_000),
            max_file_bytes=size_bytes(settings, "max_file_size", 50_000_000),
            root=None if root is None else Path(root).resolve(),
        )


def thumbnail(job: Job) -> bytes | dict[str, Any]:
    options = Options.read(job.settings)
    # No picture format starts with a brace, and JSON objects do.
    request = checked(job.json()) if job.workload.lstrip()[:1] == b"{" else {}
    target = output_path(request, options)
    with source(request, job.workload, options) as file:
        image, input_format = shrink(file, box(request, options), options.max_pixels)
    output_format = wanted_format(request, target, input_format)
    picture = encode(image, output_format, options.quality)
    if target is None:
        return picture
    write(target, picture)
    return {"output": str(target), "width": image.width, "height": image.height, "format": output_format}


def checked(request: dict[str, Any]) -> dict[str, Any]:
    unknown = [key for key in request if key not in KEYS]
    if unknown:
        raise PictureError(f"unknown: {', '.join(map(repr, unknown))}; allowed: {', '.join(KEYS)}")
    if ("path" in request) == ("data" in request):
        raise PictureError("path or data (base64) is needed, one of them")
    for key in ("path", "data", "format", "output"):
        if key in request and (not isinstance(request[key], str) or "\0" in request[key]):
            raise PictureError(f"{key}: a text is needed")
    return request


def box(request: Mapping[str, Any], options: Options) -> tuple[int, int]:
    sides = (request.get("width", options.box[0]), request.get("height", options.box[1]))
    if any(type(side) is not int or not 1 <= side <= MAX_SIDE for side in sides):
        raise PictureError(f"width and height: whole numbers from 1 to {MAX_SIDE} are needed")
    return sides


def source(request: Mapping[str, Any], workload: bytes, options: Options) -> BinaryIO:
    if "path" in request:
        return open_picture(allowed_path("path", request["path"], options.root), options.max_file_bytes)
    if "data" not in request:
        return io.BytesIO(workload)
    try:
        return io.BytesIO(base64.b64decode(request["data"], validate=True))
    except (binascii.Error, ValueError) as error:
        raise PictureError(f"data: this is not base64 ({error})") from error


def open_picture(path: Path, max_file_bytes: int) -> BinaryIO:
    try:
        # Checked before opening, because a pipe or a device would make the worker wait.
        if not path.is_file():
            raise PictureError(f"{path}: there is no such file")
        if path.stat().st_size > max_file_bytes:
            raise PictureError(f"{path}: the file is larger than the {max_file_bytes} bytes that max_file_size allows")
        return path.open("rb")
    except OSError as error:
        raise PictureError(f"{path}: {error.strerror}") from error


def allowed_path(key: str, given: str, root: Path | None) -> Path:
    """The real path of a file, after all `..` and symbolic links, if it is inside the root."""
    if root is None:
        if not Path(given).is_absolute():
            raise PictureError(f"{key}: a path that starts with / is needed (or the setting root)")
        return Path(given)
    try:
        path = (root / given).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise PictureError(f"{key}: {given!r} leads nowhere") from error
    if not path.is_relative_to(root):
        raise PictureError(f"{key}: {given!r} is outside the folder that the setting root allows")
    return path


def output_path(request: Mapping[str, Any], options: Options) -> Path | None:
    if "output" not in request:
        return None
    if options.root is None:
        raise PictureError("output: files are written only below the folder of the setting root, and that is not set")
    return allowed_path("output", request["output"], options.root)


def wanted_format(request: Mapping[str, Any], target: Path | None, input_format: str) -> str:
    """The format that the job names, else that of the output's name, else the original one if browsers show it."""
    if "format" in request:
        wanted = request["format"].upper().replace("JPG", "JPEG")
        if wanted not in OUTPUT_FORMATS:
            raise PictureError(f"format: {' or '.join(OUTPUT_FORMATS)} is needed, not {request['format']!r}")
        return str(wanted)
    if target is not None and target.suffix.lower() in SUFFIX_FORMATS:
        return SUFFIX_FORMATS[target.suffix.lower()]
    input_format = "JPEG" if input_format in PACKED_FORMATS else input_format
    return input_format if input_format in OUTPUT_FORMATS else "PNG"


def write(target: Path, picture: bytes) -> None:
    """Write the whole file or nothing, so that a reader never sees half a picture, not even after a crash."""
    unfinished = target.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with unfinished.open("xb") as file:
            file.write(picture)
        unfinished.replace(target)
    except OSError as error:
        raise PictureError(f"{target}: {error.strerror}") from error
    finally:
        unfinished.unlink(missing_ok=True)
