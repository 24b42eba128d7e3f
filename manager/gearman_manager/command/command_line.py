"""The command `gearman-manager`: reads the arguments, carries them out, and ends with a named exit code.

Each command imports the heavy parts that it needs, so that `--help` and `status` answer at once.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from gearman_manager import __version__, exit_codes
from gearman_manager.command import (
    completion,
    finished_commands,  # noqa: F401 (adds to the group `jobs`)
)
from gearman_manager.command.alert_commands import alerts
from gearman_manager.command.alert_commands import test as try_alerts
from gearman_manager.command.context import (
    OVERRIDES,
    ask,
    config_source,
    fail,
    folder_of_running,
    load_config,
    mistakes_are_messages,
    run_folder,
    takes_config,
)
from gearman_manager.command.control_commands import COMMANDS
from gearman_manager.command.dashboard_commands import dashboard, user
from gearman_manager.command.drain_command import drain
from gearman_manager.command.explain import explain
from gearman_manager.command.import_ini import import_ini
from gearman_manager.command.job_commands import GROUPS
from gearman_manager.command.outbox_commands import outbox
from gearman_manager.command.restart_server import restart_server
from gearman_manager.command.schedule_commands import schedules, trigger
from gearman_manager.command.top_command import top
from gearman_manager.command.troubles.failure_commands import failures
from gearman_manager.command.troubles.peer_command import peers
from gearman_manager.migration.options import Seconds, gearmanmanager_options, overrides_of
from gearman_manager.simulation.options import simulation_options
from gearman_process import early_signals
from gearman_process.lasting import all_lasts


class _Commands(click.Group):
    """Lists its commands in the order in which users meet them, not by the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_Commands, invoke_without_command=True, context_settings={"help_option_names": ["-h", "-H", "--help"]})
@click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path),
    default=Path("config.yaml"),
    show_default=True,
    help="The configuration file.",
)
@gearmanmanager_options
@click.version_option(__version__, "-V", "--version", prog_name="gearman-manager")
@click.pass_context
@mistakes_are_messages
def main(context: click.Context, /, config: Path, **letters: Any) -> None:
    """Keep pools of Gearman workers alive, scaled with the queue, with the job server in the box.

    Without a command it runs in the foreground until Ctrl-C or SIGTERM: running jobs are finished first.

    \b
    Examples:
      gearman-manager init hello          makes a folder to start with
      gearman-manager -c config.yaml      runs what a configuration says
      gearman-manager check               says what would run, or what is wrong
      gearman-manager status --watch      what runs now

    `gearman-manager COMMAND --help` tells more about a command. The one-letter options are those of GearmanManager;
    each wins over the configuration file.
    """
    if context.invoked_subcommand is not None:
        early_signals.let_go()  # a command in a terminal ends like any other program
    context.obj = config
    context.meta[OVERRIDES] = overrides_of(letters)
    if letters["dump"]:
        from gearman_manager.migration.config_dump import dump

        click.echo(dump(load_config(context)), nl=False)
        context.exit()
    if context.invoked_subcommand is None:
        _run(context, daemon=letters["daemon"], pid_file=letters["pid_file"])


def _run(context: click.Context, *, daemon: bool, pid_file: Path | None) -> None:
    with all_lasts():
        from gearman_manager.command import launch

    wishes = launch.Wishes(daemon, pid_file)
    sys.exit(launch.run(config_source(context), lambda config: run_folder(context, config), wishes))


@main.command(short_help="Say what would run, or what is wrong.")
@click.pass_context
@mistakes_are_messages
def check(context: click.Context) -> None:
    """Load the configuration and every module as a run would, and print what would run.

    Mistakes are named with file and line, all at once, and the command ends with 78. Nothing is started: it may be used
    beside a running manager, for instance before `gearman-manager reload`.
    """
    from gearman_manager.command import check as checking

    sys.exit(checking.check(load_config(context), context.find_root().params.get("pid_file")))


@main.command(short_help="List the functions, their files and options.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, for other programs.")
@click.pass_context
@mistakes_are_messages
def functions(context: click.Context, as_json: bool) -> None:
    """List the functions that the modules hold: their names, pools, files and options.

    Modules that can't be loaded are named with file and line, and the command ends with 78. No manager has to run.
    """
    from gearman_manager.command import check as checking

    sys.exit(checking.functions(load_config(context), as_json=as_json))


@main.command(short_help="Show what runs: pools, workers, jobs, queues.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, for other programs.")
@click.option("--watch", is_flag=True, help="Go on, once a second, until Ctrl-C.")
@click.pass_context
@mistakes_are_messages
def status(context: click.Context, as_json: bool, watch: bool) -> None:
    """Show what the running manager's pools, workers, functions and job servers do, and what is wrong.

    The manager is found by its configuration: give the same -c as for its start, as the same user or as root.
    """
    import json

    from gearman_manager.command.status_view import show, show_live

    if as_json:
        click.echo(json.dumps(ask(context, "GET", "/status"), indent=2))
    elif watch:
        show_live(lambda: ask(context, "GET", "/status"))
    else:
        show(ask(context, "GET", "/status"))


@main.command(short_help="Stop the manager; running jobs are finished.")
@click.option(
    "--timeout",
    type=Seconds(),
    metavar="SECONDS",
    default=60.0,
    show_default=True,
    help="How long to wait for the end; after that the command ends with 1, and the manager goes on finishing.",
)
@click.pass_context
@mistakes_are_messages
def stop(context: click.Context, timeout: float) -> None:
    """Stop the running manager, and wait until it has ended.

    Running jobs are finished, for as long as their pool's `stop_timeout` allows; no others are started.
    """
    from gearman_manager.command.control_client import wait_until_gone

    folder = folder_of_running(context)
    pid = folder.read_pid()
    ask(context, "POST", "/stop")
    if pid is not None and not wait_until_gone(pid, timeout):
        fail(f"the manager (pid {pid}) still finishes jobs after {timeout:g} s", exit_codes.FAILURE)
    click.echo("stopped")


@main.command(short_help="Try scaling policies on a recorded load.")
@simulation_options
@click.pass_context
@mistakes_are_messages
def simulate(context: click.Context, /, **options: Any) -> None:
    """Replay a trace of arrivals through the scaler and print what each policy would have cost.

    Nothing is started: it runs on a virtual clock. With -c and --pool the policy is that of a pool of a configuration;
    the other options change it. With --propose it reads days of arrivals and looks for times of the week at which a
    higher min would have kept waiting short.

    \b
    Examples:
      gearman-manager simulate --trace arrivals.csv --max 20 --target-wait 2s
      gearman-manager simulate --propose --trace month.json -c config.yaml --pool email --time-zone Europe/Berlin
    """
    from gearman_manager.simulation import propose, run

    if context.find_root().get_parameter_source("config") is not click.core.ParameterSource.DEFAULT:
        options["config_file"] = options["config_file"] or context.obj
    (propose.run if options["propose"] else run.run)(run.Options(**options))


@main.command(short_help="Write a configuration and a first module.")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=Path())
@mistakes_are_messages
def init(folder: Path) -> None:
    """Write a commented config.yaml and a first module into FOLDER (default: here). Overwrites nothing."""
    from gearman_manager.command.new_project import write_starter

    for file in write_starter(folder):
        click.echo(f"wrote {file}")
    click.echo(f"next: cd {folder} && gearman-manager -c config.yaml")


@main.command(short_help="Call a function here, without a job server.")
@click.argument("function", shell_complete=completion.functions)
@click.argument("workloads", metavar="[WORKLOAD]...", nargs=-1)
@click.pass_context
@mistakes_are_messages
def run(context: click.Context, function: str, workloads: tuple[str, ...]) -> None:
    """Call FUNCTION once in this terminal, with no job server: for writing and debugging a module.

    The WORKLOAD comes from the argument, or from standard input. The result goes to standard output, progress, log and
    traceback to standard error. When the function fails the command ends with 1. A function that takes a list of jobs
    gets one for each WORKLOAD.

    \b
    Examples:
      gearman-manager run reverse Rasmus
      gearman-manager run thumbnail < order.json
      gearman-manager run add_rows '{"id": 1}' '{"id": 2}'
    """
    from gearman_manager.command import run_function

    contents = [workload.encode() for workload in workloads] or [sys.stdin.buffer.read()]
    sys.exit(run_function.run(load_config(context), function, contents))


@main.command(short_help="Print the JSON schema of the configuration.")
@click.option("--markdown", is_flag=True, help="Print tables of all keys instead, for people.")
def schema(markdown: bool) -> None:
    """Print the JSON schema of the configuration file, for editors that check and complete it.

    \b
    Example: gearman-manager schema > gearman-manager.schema.json, and as the configuration's first line
      # yaml-language-server: $schema=gearman-manager.schema.json
    """
    import json

    from gearman_manager.config import reference

    if markdown:
        click.echo("\n".join(f"## {name}\n\n{table}" for name, table in reference.tables().items()))
    else:
        click.echo(json.dumps(reference.json_schema(), indent=2))


main.commands = {
    command.name or "": command
    for command in (
        init,
        check,
        functions,
        run,
        status,
        top,
        dashboard,
        explain,
        *COMMANDS,
        *GROUPS,
        failures,
        schedules,
        peers,
        outbox,
        alerts,
        restart_server,
        drain,
        stop,
        simulate,
        user,
        schema,
        import_ini,
    )
}
for command in (
    check,
    functions,
    run,
    status,
    top,
    dashboard,
    explain,
    *COMMANDS,
    *(c for g in (*GROUPS, failures) for c in g.commands.values()),
    schedules,
    peers,
    trigger,
    try_alerts,
    restart_server,
    drain,
    stop,
):
    takes_config(command)
