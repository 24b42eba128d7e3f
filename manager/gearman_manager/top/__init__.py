"""The overview live in a terminal: `gearman-manager top`.

In: calls of the control API, and keys. Out: tables of pools and of a pool's workers, with what is wrong above them.
`feed` follows the manager on a thread, `model` is what its news add up to, and `desk` holds both; `columns` says what
is shown, in which order. Textual draws it and reads the keys: `app`, the screens, `table`, `dialogs`. `actions` are the
changes that an operator can make. All that others wrote goes through `wording`, which lets nothing act on the terminal.
Only the command `top` imports this room, and it imports no part of a manager. Open `app` first.
"""
