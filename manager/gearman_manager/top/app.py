"""The application: its screens, and what all of them have in common."""

from __future__ import annotations

import asyncio
import signal
from typing import ClassVar, Final

from textual.app import App
from textual.binding import Binding, BindingType

from gearman_manager.top.desk import Desk
from gearman_manager.top.feed import Calls
from gearman_manager.top.list_screen import ListScreen
from gearman_manager.top.pools_screen import PoolsScreen
from gearman_manager.top.text_screen import TextScreen

#: How often what has come is drawn.
TAKE_S: Final = 0.2
HELP: Final = """\
Moving    up, down, k, j, PgUp, PgDn, Home, End; Enter: its workers; Esc: back
Finding   /: rows with these words in the name, state or a function; Esc: all
Sorting   < and >, or left and right: by another column; i: the other way round
Reading   l: log of a pool or worker; t: all troubles in full
A pool    s: scale; p: pause; u: resume; r: replace its workers
All       R: replace all workers; L: load configuration and code anew
          D: drain and end the manager
A worker  r: replace it; x: stop its job
Leaving   q, Ctrl-C; with Ctrl-Z to the shell, where fg comes back

IDLE, BUSY, START   workers that wait for a job, run one, or are about to come
QUEUE, WAIT         jobs that can start now; all that wait, delayed ones too
DONE, FAIL, /MIN    jobs since the pool is there, or the worker; ended in a minute
MEM                 memory that belongs to no file
FOR                 how long the job has run; of several jobs the oldest
CPU, AGE            the worker's processor time, and how long it has lived

!! work is not done because of it   ! it may become so   - somebody wished it
"""


class Top(App[None]):
    """Shows the overview until the operator leaves."""

    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", show=False),
        Binding("ctrl+c,ctrl+q", "quit", show=False, priority=True),
        Binding("ctrl+z", "suspend_process", show=False, priority=True),
        Binding("question_mark", "help", show=False),
    ]
    # Without colours of our own for text and ground: those of the terminal may be light or dark.
    CSS = """
    Screen, VerticalScroll { background: ansi_default; color: ansi_default; }
    #title, .title { height: 1; text-style: bold; }
    #troubles { height: auto; max-height: 50%; }
    #detail { height: 3; }
    #message { height: 1; }
    .keys { height: 1; text-style: dim; }
    #title, .title, #troubles, #message, .keys { text-wrap: nowrap; text-overflow: ellipsis; }
    Input, Input:focus { background: ansi_default; color: ansi_default; height: 1; }
    ModalScreen { align: left bottom; background: transparent; }
    .dialog { height: auto; max-height: 100%; border-top: solid ansi_default; background: ansi_default; }
    """

    def __init__(self, calls: Calls) -> None:
        super().__init__(ansi_color=True)
        self._desk = Desk(calls)

    def on_mount(self) -> None:
        """Follow the manager, and end at signals as at the key, with the terminal restored."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
            loop.add_signal_handler(number, self.exit)
        self.push_screen(PoolsScreen(self._desk))
        self._desk.start()
        self.set_interval(TAKE_S, self._take)

    def action_help(self) -> None:
        """Show the keys."""
        if isinstance(self.screen, ListScreen):
            self.push_screen(TextScreen("Keys", lambda: HELP))

    def _take(self) -> None:
        if self._desk.take():
            # Under a question the list goes on.
            for screen in reversed(self.screen_stack):
                if isinstance(screen, ListScreen):
                    screen.draw()
                    break
