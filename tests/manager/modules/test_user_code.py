"""A function is taken from what the zygote imported, or its module is imported at the first need."""

from __future__ import annotations

from pathlib import Path

import pytest

from gearman_manager.errors import ModuleError
from gearman_manager.modules.discovery import load_all, prepare
from gearman_manager.modules.hooks import Hooks
from gearman_manager.modules.user_code import UserCode


@pytest.fixture
def module(tmp_path: Path) -> Path:
    """A module with two functions, which counts its imports in a file."""
    file = tmp_path / "mail.py"
    file.write_text(
        "from gearman_manager import function\n"
        f"open({str(tmp_path / 'imports')!r}, 'a').write('x')\n"
        "@function\ndef mail(job):\n    return 'mail'\n"
        "@function\ndef sms(job):\n    return 'sms'\n"
    )
    prepare([tmp_path])
    return file


def imports(module: Path) -> int:
    return len((module.parent / "imports").read_text())


def test_what_was_imported_before_is_not_imported_again(module: Path) -> None:
    found = load_all([module.parent])
    code = UserCode({(f.file, f.name): f for f in found.functions}, found.hooks)
    assert code.function(str(module), "mail").name == "mail"
    assert imports(module) == 1


def test_a_module_that_was_left_out_is_imported_once_for_all_its_functions(module: Path) -> None:
    code = UserCode({}, Hooks())
    names = [code.function(str(module), name).name for name in ("mail", "sms", "mail")]
    assert (names, imports(module)) == (["mail", "sms", "mail"], 1)


def test_a_function_that_is_gone_is_named(module: Path) -> None:
    with pytest.raises(ModuleError, match="holds no function 'fax' any more"):
        UserCode({}, Hooks()).function(str(module), "fax")
