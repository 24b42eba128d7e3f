"""Records of a child process on their way to the supervisor, whatever user code does to `logging`."""

from __future__ import annotations

import json
import subprocess
import sys
from textwrap import dedent
from typing import Any

import pytest

from gearman_manager.ipc.child_log import RECORD_MARK

START = """
import io, json, logging, logging.config, os, sys
from gearman_manager.ipc import child_log
from gearman_manager.ipc.logging_guard import OwnLogger

child_log.redirect_output(1)
child_log.set_up("INFO")
other = logging.getLogger("other.module")
job_log = logging.LoggerAdapter(OwnLogger("send"), {"function": "send", "handle": "H:a:1"})
"""

TAKEOVERS = {
    "dictConfig": 'logging.config.dictConfig({"version": 1})',
    "dictConfig with a console": """
        logging.config.dictConfig({
            "version": 1,
            "formatters": {"plain": {"format": "%(message)s"}},
            "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain"}},
            "root": {"handlers": ["console"], "level": "CRITICAL"},
        })""",
    "dictConfig with a logger that does not propagate": """
        logging.config.dictConfig({
            "version": 1,
            "handlers": {"none": {"class": "logging.NullHandler"}},
            "loggers": {"other": {"handlers": ["none"], "propagate": False}},
        })""",
    "fileConfig": """
        logging.config.fileConfig(io.StringIO(
            "[loggers]\\nkeys=root\\n[handlers]\\nkeys=n\\n[formatters]\\nkeys=\\n"
            "[logger_root]\\nhandlers=n\\nlevel=ERROR\\n[handler_n]\\nclass=NullHandler\\nargs=()\\n"
        ))""",
    "basicConfig": "logging.basicConfig(force=True, level=logging.CRITICAL)",
    "a file": "logging.basicConfig(force=True, filename='/dev/null')",
    "no handlers": "logging.getLogger().handlers.clear()",
    "other handlers": "logging.getLogger().handlers = [logging.NullHandler()]",
    "disable": "logging.disable(logging.CRITICAL)",
    "shutdown": "logging.shutdown()",
    "a class of loggers": """
        class Mine(logging.Logger):
            pass
        logging.setLoggerClass(Mine)
        other = logging.getLogger("another.module")""",
    "names of levels": 'logging.addLevelName(logging.ERROR, "\\033[31mERROR\\033[0m")',
    "standard error": "sys.stderr = io.StringIO()",
    "standard error that fails": "sys.stderr = None",
    "standard error closed": "sys.stderr.close()",
    "all descriptors that it does not know": "os.closerange(3, 1000)",
    "the descriptors of the output": "os.close(1); os.close(2)",
}


def records_of(code: str) -> tuple[list[dict[str, Any]], list[str]]:
    """The records, and all other lines, of a child process that runs this code."""
    program = START + dedent(code).strip("\n")
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, timeout=30, check=True)
    lines = done.stdout.decode().split("\n")[:-1]
    records = [json.loads(line.removeprefix(RECORD_MARK)) for line in lines if line.startswith(RECORD_MARK)]
    return records, [line for line in lines if not line.startswith(RECORD_MARK)]


@pytest.mark.parametrize("takeover", TAKEOVERS.values(), ids=TAKEOVERS.keys())
def test_what_a_job_logs_and_why_it_failed_arrives_once_with_level_and_handle(takeover: str) -> None:
    code = """
other.info("from a module")
try:
    raise ValueError("the reason")
except ValueError as error:
    job_log.error("the job failed: %s", error, exc_info=True)
"""
    records, others = records_of(dedent(takeover) + code)
    module, failure = records
    assert module.pop("message") in ("from a module", "INFO:other.module:from a module")
    assert module == {"level": "INFO"}
    assert failure.pop("message").startswith("the job failed: the reason\nTraceback")
    assert failure == {"level": "ERROR", "function": "send", "handle": "H:a:1"}
    assert others == []


def test_a_factory_or_a_handler_that_fails_does_not_cost_the_reason() -> None:
    records, _ = records_of(
        """
        class Failing(logging.Handler):
            def handle(self, record):
                raise ZeroDivisionError

        def fail(*_args, **_named):
            raise ZeroDivisionError

        logging.getLogger().addHandler(Failing())
        logging.setLogRecordFactory(fail)
        job_log.error("the job failed: %s", "the reason")
        """
    )
    assert records == [
        {"level": "ERROR", "message": "the job failed: the reason", "function": "send", "handle": "H:a:1"},
        {"level": "WARNING", "message": "a log handler failed: ZeroDivisionError"},
    ]


def test_a_call_that_does_not_fit_its_message_is_logged_as_it_is() -> None:
    ((record), *rest), _ = records_of('other.info("%d apples", "three")')
    assert not rest
    assert record["message"].startswith("'%d apples' with ('three',) (TypeError: ")


def test_the_level_of_the_configuration_and_of_single_loggers_count_and_switched_off_loggers_stay_off() -> None:
    records, _ = records_of(
        """
        logging.config.dictConfig({"version": 1, "root": {"level": "DEBUG"}})
        logging.getLogger("noisy").setLevel(logging.ERROR)
        logging.getLogger("off").disabled = True
        for name in ("noisy.part", "off", "other.module"):
            for level in (logging.DEBUG, logging.INFO, logging.ERROR):
                logging.getLogger(name).log(level, name)
        job_log.debug("too much")
        """
    )
    assert [(record["level"], record["message"]) for record in records] == [
        ("ERROR", "noisy.part"),
        ("INFO", "other.module"),
        ("ERROR", "other.module"),
    ]


def test_handlers_of_user_code_get_what_they_asked_for() -> None:
    records, others = records_of(
        """
        collected = []

        class Collector(logging.Handler):
            def emit(self, record):
                collected.append((record.levelname, record.getMessage(), getattr(record, "handle", None)))

        logging.config.dictConfig({"version": 1, "root": {"level": "DEBUG"}})
        logging.getLogger().addHandler(Collector(logging.DEBUG))
        logging.getLogger("quiet").setLevel(logging.ERROR)
        other.debug("detail")
        logging.getLogger("quiet").info("nothing")
        job_log.error("failed")
        print(json.dumps(collected))
        """
    )
    assert [record["message"] for record in records] == ["failed"]
    assert [json.loads(line) for line in others] == [[["DEBUG", "detail", None], ["ERROR", "failed", "H:a:1"]]]


def test_the_format_of_a_handler_that_would_print_is_kept() -> None:
    records, others = records_of(
        """
        class Braces(logging.Formatter):
            def format(self, record):
                return f"{{{record.msg['event']}}}"

        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(Braces())
        logging.getLogger("structured").addHandler(handler)
        logging.getLogger("structured").warning({"event": "login"})
        """
    )
    assert records == [{"level": "WARNING", "message": "{login}"}]
    assert others == []
