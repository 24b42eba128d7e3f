"""The command `check` names what a run would not do: modules that it passes over, and what could not be called."""

from __future__ import annotations

from .conftest import RunningManager, eventually


def checked(manager: RunningManager, config: str = "server: {listen: 127.0.0.1:0}\n") -> tuple[int, str]:
    """The exit code and the output of `check`."""
    manager.workers_dir.mkdir(exist_ok=True)
    manager.config_file.write_text(config)
    done = manager.command("check", check=False)
    return done.returncode, done.stdout + done.stderr


def test_check_says_what_it_passed_over(manager: RunningManager) -> None:
    for name in ("venv/pyvenv.cfg", "setup.py", "test_one.py", "node_modules/gyp/gyp.py", "one.py"):
        file = manager.workers_dir / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("def one(job): ...\n" if name == "one.py" else "raise RuntimeError\n")
    status, output = checked(manager)
    assert status == 0
    assert (
        f"{manager.workers_dir}: passed over node_modules (installed packages), setup.py (a build script), "
        "test_one.py (tests), venv (a virtual environment)\n"
    ) in output
    assert "fine, 1 function in 1 pool" in output


def test_check_names_the_helper_that_is_broken(manager: RunningManager) -> None:
    manager.write_module("_shop.py", "x = 1\nx.nothing\n")
    for name in ("a", "b"):
        manager.write_module(f"{name}.py", f"import os\n\nfrom ._shop import x\n\n\ndef {name}(job): ...\n")
    status, output = checked(manager)
    assert status == 78
    error = "AttributeError: 'int' object has no attribute 'nothing'"
    assert f"{manager.workers_dir}/_shop.py:2: {error} (imported by a.py:3, b.py:3)\n" in output


def test_hooks_that_a_change_breaks_are_not_taken_over(manager: RunningManager) -> None:
    manager.write_module("_hooks.py", "def job_start(job):\n    job.warning(b'hooked')\n")
    manager.write_module("one.py", "def one(job): ...\n")
    manager.start("")
    manager.write_module("_hooks.py", "def job_start(job):\n    job.warning(b'hooked'\n")
    manager.command("reload", check=False)
    eventually(lambda: "the new code is not used" in manager.log(), "the refusal")
    warnings: list[bytes] = []
    with manager.client() as client:
        client.submit("one", b"", on_warning=warnings.append)
    assert warnings == [b"hooked"]
