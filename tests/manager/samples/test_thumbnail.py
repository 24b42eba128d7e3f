"""thumbnail on real pictures made by Pillow: sizes, orientations, colours, formats, and requests to be refused."""

from __future__ import annotations

import base64
import io
import os
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image, ImageCms

MakeJob = Callable[..., Any]
Load = Callable[[str], ModuleType]


@pytest.fixture
def module(load: Load) -> ModuleType:
    return load("thumbnail")


@pytest.fixture
def error(module: ModuleType) -> type[Exception]:
    return module.PictureError  # type: ignore[no-any-return]


@pytest.fixture
def thumbnail(module: ModuleType, make_job: MakeJob) -> Callable[..., Any]:
    """Runs one job."""

    def run(workload: Any, **settings: Any) -> Any:
        return module.thumbnail(make_job(workload, **settings))

    return run


def as_file(image: Image.Image, image_format: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def opened(picture: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(picture))
    image.load()
    return image


@pytest.fixture(scope="module")
def photo() -> bytes:
    """A JPEG of 4000 by 3000 pixels: red on the left, blue on the right."""
    image = Image.new("RGB", (4000, 3000), "red")
    image.paste("blue", (2000, 0, 4000, 3000))
    return as_file(image, "JPEG", quality=90)


def near(colour: Any, wanted: tuple[int, int, int]) -> bool:
    return all(abs(one - other) <= 12 for one, other in zip(colour, wanted, strict=True))


def test_a_large_photo_fits_the_default_box(thumbnail: Any, photo: bytes) -> None:
    small = opened(thumbnail(photo))
    assert (small.format, small.size) == ("JPEG", (320, 240))
    assert near(small.getpixel((10, 10)), (255, 0, 0))
    assert near(small.getpixel((310, 230)), (0, 0, 255))


@pytest.mark.parametrize(
    ("box", "size"), [((800, 800), (800, 600)), ((100, 1000), (100, 75)), ((1000, 30), (40, 30)), ((1, 1), (1, 1))]
)
def test_the_box_of_the_job_is_filled_on_one_side_and_the_ratio_kept(
    thumbnail: Any, photo: bytes, box: tuple[int, int], size: tuple[int, int]
) -> None:
    request = {"data": base64.b64encode(photo).decode(), "width": box[0], "height": box[1]}
    assert opened(thumbnail(request)).size == size


def test_the_box_can_come_from_the_settings(thumbnail: Any, photo: bytes) -> None:
    assert opened(thumbnail(photo, width=64, height="64")).size == (64, 48)


def test_a_small_picture_is_not_enlarged(thumbnail: Any) -> None:
    assert opened(thumbnail(as_file(Image.new("RGB", (30, 20))))).size == (30, 20)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_rotated_picture_comes_out_upright(thumbnail: Any, image_format: str, orientation: int) -> None:
    upright = Image.new("RGB", (1600, 800), "red")
    upright.paste("blue", (0, 400, 1600, 800))
    upright.paste("lime", (800, 0, 1600, 400))
    # The inverse of a viewer's operation for each orientation.
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    small = opened(thumbnail(as_file(stored, image_format, exif=exif), width=200, height=400))
    assert small.size == (200, 100)
    rgb = small.convert("RGB")
    assert near(rgb.getpixel((10, 10)), (255, 0, 0))
    assert near(rgb.getpixel((190, 10)), (0, 255, 0))
    assert near(rgb.getpixel((100, 90)), (0, 0, 255))
    assert 0x0112 not in small.getexif()


def test_place_and_camera_are_not_in_the_thumbnail(thumbnail: Any) -> None:
    exif = Image.Exif()
    exif[0x010F] = "SecretCamera"
    exif.get_ifd(0x8825)[1] = "N"
    for image_format in ("JPEG", "PNG", "WEBP"):
        picture = as_file(Image.new("RGB", (500, 500)), image_format, exif=exif, xmp=b"<x:secret/>", comment=b"secret")
        small = thumbnail(picture)
        assert b"ecret" in picture
        assert b"ecret" not in small
        assert len(opened(small).getexif()) == 0


def test_the_colour_profile_is_kept(thumbnail: Any) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for image_format in ("JPEG", "PNG", "WEBP"):
        picture = as_file(Image.new("RGB", (500, 500)), image_format, icc_profile=profile)
        assert opened(thumbnail(picture)).info["icc_profile"] == profile


def test_a_profile_for_other_colours_is_dropped(thumbnail: Any) -> None:
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[16:20] = b"CMYK"
    picture = as_file(Image.new("CMYK", (500, 500)), "JPEG", icc_profile=bytes(profile))
    assert "icc_profile" not in opened(thumbnail(picture)).info


@pytest.mark.parametrize(
    ("mode", "image_format", "wanted"),
    [
        *(("RGB", "PNG", "RGB"), ("L", "PNG", "L"), ("1", "PNG", "RGB"), ("P", "PNG", "RGB"), ("RGBA", "PNG", "RGB")),
        *(
            ("LA", "PNG", "RGB"),
            ("CMYK", "JPEG", "RGB"),
            ("CMYK", "TIFF", "RGB"),
            ("P", "GIF", "RGB"),
            ("YCbCr", "TIFF", "RGB"),
        ),
    ],
)
def test_every_colour_mode_becomes_a_jpeg(thumbnail: Any, mode: str, image_format: str, wanted: str) -> None:
    picture = as_file(Image.new("RGB", (600, 400), (240, 240, 240)).convert(mode), image_format)
    small = opened(thumbnail({"data": base64.b64encode(picture).decode(), "format": "jpg"}))
    assert (small.format, small.mode, small.size) == ("JPEG", wanted, (320, 213))
    assert near(small.convert("RGB").resize((1, 1)).getpixel((0, 0)), (240, 240, 240))


def test_sixteen_bits_of_grey_are_scaled_to_eight(thumbnail: Any) -> None:
    small = opened(thumbnail(as_file(Image.new("I;16", (600, 400), 0x8000))))
    assert small.getpixel((5, 5)) == 0x80


def test_transparency_stays_in_png_and_becomes_white_in_jpeg(thumbnail: Any) -> None:
    half = Image.new("RGBA", (600, 400), (255, 0, 0, 0))
    half.paste((0, 0, 255, 255), (300, 0, 600, 400))
    for picture in (as_file(half), as_file(half.quantize(), "PNG"), as_file(half, "GIF")):
        kept = opened(thumbnail({"data": base64.b64encode(picture).decode(), "format": "PNG"}))
        assert kept.getpixel((5, 5))[3] == 0  # type: ignore[index]
        flat = opened(thumbnail({"data": base64.b64encode(picture).decode(), "format": "JPEG"}))
        assert near(flat.getpixel((5, 5)), (255, 255, 255))
        assert near(flat.getpixel((315, 205)), (0, 0, 255))


@pytest.mark.parametrize(
    ("given", "returned"),
    [
        ("JPEG", "JPEG"),
        ("PNG", "PNG"),
        ("WEBP", "WEBP"),
        ("GIF", "PNG"),
        ("BMP", "PNG"),
        ("TIFF", "PNG"),
        ("MPO", "JPEG"),
    ],
)
def test_the_format_is_kept_if_browsers_show_it(thumbnail: Any, given: str, returned: str) -> None:
    options = {"save_all": True, "append_images": [Image.new("RGB", (20, 20))]} if given == "MPO" else {}
    assert opened(thumbnail(as_file(Image.new("RGB", (20, 20)), given, **options))).format == returned


def png_of_size(width: int, height: int) -> bytes:
    """A PNG that announces a size without holding the pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\0\0\0"
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("width", "height"), [(8000, 7000), (50_000, 50_000), (2**31 - 1, 1000)])
def test_a_decompression_bomb_is_refused(thumbnail: Any, error: type[Exception], width: int, height: int) -> None:
    with pytest.raises(error, match="more than the 50000000 pixels that max_pixels allows"):
        thumbnail(png_of_size(width, height))


def test_the_limit_of_pixels_comes_from_the_settings(thumbnail: Any, error: type[Exception]) -> None:
    picture = as_file(Image.new("RGB", (101, 100)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(error, match="more than the 10000 pixels"):
            thumbnail(picture, max_pixels=10_000)
    assert opened(thumbnail(picture, max_pixels=10_100)).size == (101, 100)


@pytest.mark.parametrize(
    "workload",
    [
        *(b"", b"no picture", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"\0" * 1000, b"<svg></svg>"),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n",
    ],
)
def test_bytes_that_are_no_picture_are_refused(thumbnail: Any, error: type[Exception], workload: bytes) -> None:
    with pytest.raises(error, match=r"no picture in one of the formats JPEG, PNG|the picture is damaged"):
        thumbnail(workload)


def test_a_photo_cut_in_half_is_refused(thumbnail: Any, error: type[Exception], photo: bytes) -> None:
    with pytest.raises(error, match="the picture is damaged: image file is truncated"):
        thumbnail(photo[: len(photo) // 2])


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ({}, "path or data"),
        ({"path": "/a", "data": ""}, "path or data"),
        ({"data": 7}, "data: a text is needed"),
        ({"data": "no base64!"}, "data: this is not base64"),
        ({"data": "", "width": 0}, "width and height: whole numbers from 1 to 10000"),
        ({"data": "", "height": 10.5}, "width and height"),
        ({"data": "", "width": True}, "width and height"),
        ({"data": "", "size": 10}, "unknown: 'size'; allowed: path, data"),
        ({"path": "picture.jpg"}, "path: a path that starts with / is needed"),
        ({"path": "/no/such/picture.jpg"}, "/no/such/picture.jpg: there is no such file"),
        ({"path": "/a\0b"}, "path: a text is needed"),
        ({"path": "/dev/zero"}, "there is no such file"),
        ({"data": "", "output": "/tmp/out.png"}, "output: files are written only below .* the setting root"),
    ],
)
def test_an_invalid_request_fails_with_the_reason(
    thumbnail: Any, error: type[Exception], request_: dict[str, Any], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        thumbnail(request_)


def test_a_format_that_browsers_do_not_show_is_refused(thumbnail: Any, error: type[Exception]) -> None:
    data = base64.b64encode(as_file(Image.new("RGB", (20, 20)))).decode()
    with pytest.raises(error, match="format: JPEG or PNG or WEBP is needed, not 'PSD'"):
        thumbnail({"data": data, "format": "PSD"})


@pytest.fixture
def root(tmp_path: Path, photo: bytes) -> Path:
    """A folder with a picture, beside a folder with another picture."""
    (tmp_path / "root" / "photos").mkdir(parents=True)
    (tmp_path / "root" / "photos" / "one.jpg").write_bytes(photo)
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "two.jpg").write_bytes(photo)
    return tmp_path / "root"


def test_a_picture_is_read_from_its_path(thumbnail: Any, root: Path) -> None:
    assert opened(thumbnail({"path": str(root / "photos" / "one.jpg")})).size == (320, 240)


@pytest.mark.parametrize("path", ["photos/one.jpg", "photos/../photos/./one.jpg", "{root}/photos/one.jpg"])
def test_a_path_within_the_root_is_read(thumbnail: Any, root: Path, path: str) -> None:
    assert opened(thumbnail({"path": path.format(root=root)}, root=str(root))).size == (320, 240)


@pytest.mark.parametrize(
    "path",
    ["../secret/two.jpg", "photos/../../secret/two.jpg", "{root}/../secret/two.jpg", "link", "way/two.jpg", "loop"],
)
def test_a_path_that_leaves_the_root_is_refused(thumbnail: Any, error: type[Exception], root: Path, path: str) -> None:
    (root / "link").symlink_to("../secret/two.jpg")
    (root / "way").symlink_to(root.parent / "secret")
    (root / "loop").symlink_to("loop")
    with pytest.raises(error, match=r"outside the folder that the setting root allows|leads nowhere"):
        thumbnail({"path": path.format(root=root)}, root=str(root))
    if path != "loop":
        with pytest.raises(error, match="outside the folder"):
            thumbnail({"path": "photos/one.jpg", "output": path.format(root=root)}, root=str(root))


def test_a_folder_whose_name_starts_like_the_root_is_outside(
    thumbnail: Any, error: type[Exception], root: Path, photo: bytes
) -> None:
    (root.parent / "root2").mkdir()
    (root.parent / "root2" / "x.jpg").write_bytes(photo)
    with pytest.raises(error, match="outside the folder"):
        thumbnail({"path": "../root2/x.jpg"}, root=str(root))


def test_a_pipe_is_not_waited_for(thumbnail: Any, error: type[Exception], root: Path) -> None:
    os.mkfifo(root / "pipe")
    with pytest.raises(error, match="there is no such file"):
        thumbnail({"path": "pipe"}, root=str(root))


def test_a_file_that_is_too_large_is_not_read(thumbnail: Any, error: type[Exception], root: Path) -> None:
    with pytest.raises(error, match="larger than the 1000 bytes that max_file_size allows"):
        thumbnail({"path": "photos/one.jpg"}, root=str(root), max_file_size="1KB")


def test_a_thumbnail_is_written_beside_the_photo(thumbnail: Any, root: Path) -> None:
    target = root / "photos" / "small.webp"
    target.write_bytes(b"the one before")
    result = thumbnail({"path": "photos/one.jpg", "output": "photos/small.webp", "width": 40}, root=str(root))
    assert result == {"output": str(target), "width": 40, "height": 30, "format": "WEBP"}
    assert opened(target.read_bytes()).size == (40, 30)
    assert sorted(file.name for file in target.parent.iterdir()) == ["one.jpg", "small.webp"]


def test_the_error_for_an_unwritable_folder_names_it(thumbnail: Any, error: type[Exception], root: Path) -> None:
    with pytest.raises(error, match=r"no/small.png: No such file or directory"):
        thumbnail({"path": "photos/one.jpg", "output": "no/small.png"}, root=str(root))
    with pytest.raises(error, match=r"photos: Is a directory"):
        thumbnail({"path": "photos/one.jpg", "output": "photos"}, root=str(root))
    assert [file.name for file in root.rglob("*.part")] == []


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"width": 0}, "width"),
        ({"quality": 101}, "quality"),
        ({"max_pixels": "many"}, "max_pixels"),
        ({"max_file_size": "big"}, "max_file_size"),
        ({"root": "photos"}, "root: a path that starts with / is needed"),
    ],
)
def test_a_wrong_setting_is_named(thumbnail: Any, photo: bytes, settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        thumbnail(photo, **settings)
