"""Decides which pool serves which function, from a configuration and the functions that discovery found.

Pure and total: a mistake stops only the function or pool that it concerns, and the others are laid out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Final

from pydantic import ValidationError

from gearman_manager.bridge.order import is_php_file
from gearman_manager.config.checks import EVERY_OTHER_FUNCTION, functions_of, range_problem
from gearman_manager.config.function_keys import Function
from gearman_manager.config.models import Config
from gearman_manager.config.pool_checks import exceeded_by_minima, loop_problem
from gearman_manager.config.pool_keys import Pool
from gearman_manager.config.problem import Problem
from gearman_manager.config.resolve import (
    FunctionIdentity,
    ResolvedFunction,
    ResolvedPool,
    impossible_windows,
    resolve_function,
    resolve_pool,
    too_few_everywhere,
    worker_range,
)
from gearman_manager.config.values import MAX_FUNCTION_NAME_BYTES
from gearman_manager.config.wording import NAMES_SHOWN, listed, message_for, nearest_name, place_of_error
from gearman_manager.privacy.parameters import redacted_places

_ONLY_PYTHON: Final = ("concurrency", "prefetch")
_OF_LISTS: Final = ("batch", "linger")
_TAKES_LISTS: Final = "only one that is written with @function(batch=100) in Python gets a list of them"
_LINGER_ALONE: Final = "linger is for functions that take a list of jobs, as in @function(batch=100, linger='50ms')"


@dataclass(frozen=True, slots=True)
class FoundFunction:
    """A function that discovery found: its name in the code, its file and line, and its decorator's options.

    parameters: of a task, as its callers know them: `(person: Person, greeting: str = 'Hello') -> str`; else empty.
    """

    name: str
    file: str
    line: int
    options: Mapping[str, object] = field(default_factory=dict)
    is_async: bool = False
    parameters: str = ""


@dataclass(frozen=True, slots=True)
class Layout:
    """The pools and functions that can run, by name, and the problems of the others."""

    pools: Mapping[str, ResolvedPool]
    functions: Mapping[str, ResolvedFunction]
    problems: tuple[Problem, ...]

    @property
    def can_start(self) -> bool:
        """False if a problem concerns the configuration as a whole; the manager then exits with code 78."""
        return not any(problem.is_fatal for problem in self.problems)

    @property
    def by_pool(self) -> dict[str, list[str]]:
        """The functions of each pool that has some."""
        found: dict[str, list[str]] = {}
        for name, function in self.functions.items():
            found.setdefault(function.pool, []).append(name)
        return found


def lay_out(config: Config, found: Sequence[FoundFunction], cores: int, unloaded: Sequence[str] = ()) -> Layout:
    """Decides what runs on a machine with `cores` cores.

    `unloaded` holds the files of modules that could not be loaded. One of them may define a function that seems
    unknown, so with such files an unknown function does not keep the manager from starting.
    """
    plan = _Plan(config, cores, tuple(unloaded))
    plan.take_functions(found)
    for name, pool in config.pools.items():
        plan.assign(name, pool)
    plan.assign_the_rest()
    plan.check_function_keys()
    return plan.layout()


class _Plan:
    """A layout under construction."""

    def __init__(self, config: Config, cores: int, unloaded: tuple[str, ...]) -> None:
        self._config = config
        self._cores = cores
        self._unloaded = unloaded
        self._problems: list[Problem] = []
        self._excluded: dict[str, str] = {}
        self._refused: set[str] = set()
        self._found: dict[str, FoundFunction] = {}
        self._options: dict[str, Function] = {}
        self._owner: dict[str, str] = {}
        self._pools: dict[str, Pool] = dict(config.pools)
        self._served: dict[str, list[str]] = {}

    def take_functions(self, found: Sequence[FoundFunction]) -> None:
        """Keeps, by registered name, each function that is defined once, is not excluded and has valid options."""
        by_name: dict[str, list[FoundFunction]] = {}
        for function in found:
            by_name.setdefault(function.name, []).append(function)
        for name, definitions in by_name.items():
            key = self._excluding_key(name)
            if key:
                self._excluded[name] = key
            elif len(definitions) > 1:
                self._report_definitions(name, definitions)
            else:
                self._take(definitions[0])
        self._check_include_patterns(by_name)

    def assign(self, name: str, pool: Pool) -> None:
        """Gives a pool of the configuration the functions that it names."""
        self._served[name] = []
        for index, function in enumerate(functions_of(name, pool)):
            if function == EVERY_OTHER_FUNCTION:
                continue
            # Without `functions`, the pool's own name is the function's, and is the key to correct.
            key = f"pools.{name}.functions" if pool.functions is not None else f"pools.{name}"
            if pool.command is not None:
                self._assign_to_program(name, function)
            elif (registered := self._registered(function)) is None:
                self._report_unknown(function, key, f"{key}[{index}]")
            elif registered not in self._owner:
                self._own(registered, name)

    def assign_the_rest(self) -> None:
        """Gives the functions that no pool names to the pool of '*', or each to a pool of its own."""
        pools = self._config.pools.items()
        rest = next((name for name, pool in pools if EVERY_OTHER_FUNCTION in functions_of(name, pool)), "")
        for registered, function in self._found.items():
            if registered in self._owner:
                continue
            own = rest or registered
            if not rest and own in self._pools:
                message = (
                    f"no pool names the function, and the pool {own} serves others: "
                    f"add it to pools.{own}.functions ({self._config.place(f'pools.{own}')}) or to another pool"
                )
                self._problems.append(Problem(function.file, function.line, function.name, message, is_fatal=False))
                continue
            self._pools.setdefault(own, Pool())
            self._own(registered, own)

    def check_function_keys(self) -> None:
        """Reports entries under `functions` for functions that no pool serves, and keys that theirs can't have."""
        for name, keys in self._config.functions.items():
            registered = self._registered(name)
            if registered is None and name not in self._owner:
                self._report_unknown(name, f"functions.{name}", f"functions.{name}")
            elif registered is None or not self._takes_lists(registered):
                self._refuse_keys_of_lists(name, keys)

    def layout(self) -> Layout:
        """The finished layout, its pools in the order of the configuration."""
        pools = {name: pool for name in self._served if (pool := self._resolved_pool(name)) is not None}
        functions = {name: self._resolved_function(name) for name in sorted(self._owner) if self._owner[name] in pools}
        self._check_global_limit(pools)
        return Layout(pools, functions, tuple(dict.fromkeys(self._problems)))

    def _excluding_key(self, name: str) -> str:
        """The key that leaves a function out, or nothing. Patterns match names with the prefix or without."""
        names = (name, self._config.prefix + name)

        def fits(patterns: tuple[str, ...]) -> bool:
            return any(fnmatchcase(each, pattern) for pattern in patterns for each in names)

        if fits(self._config.exclude_functions):
            return "exclude_functions"
        include = self._config.include_functions
        return "include_functions" if include is not None and not fits(include) else ""

    def _check_include_patterns(self, names: Mapping[str, object]) -> None:
        for index, pattern in enumerate(self._config.include_functions or ()):
            if not any(fnmatchcase(each, pattern) for name in names for each in (name, self._config.prefix + name)):
                message = f"no function fits {pattern!r}; {self._known(list(names))}"
                self._report(
                    "include_functions", message, at=f"include_functions[{index}]", is_fatal=not self._unloaded
                )

    def _take(self, function: FoundFunction) -> None:
        try:
            options = Function.model_validate(dict(function.options))
        except ValidationError as error:
            self._refused.add(function.name)
            for detail in error.errors(include_url=False):
                # With the section's name in front, an unknown option is reported as an unknown key of a function.
                location = ("functions", function.name, *place_of_error(detail))
                message = message_for({**detail, "loc": location})
                key = ".".join(str(part) for part in location[1:])
                self._problems.append(Problem(function.file, function.line, key, message, is_fatal=False))
            return
        if options.linger is not None and options.batch is None:
            self._refused.add(function.name)
            key = f"{function.name}.linger"
            self._problems.append(Problem(function.file, function.line, key, _LINGER_ALONE, is_fatal=False))
            return
        registered = self._config.prefix + function.name
        if len(registered.encode()) > MAX_FUNCTION_NAME_BYTES:
            self._refused.add(function.name)
            what = "with the prefix the name has" if self._config.prefix else "the name has"
            message = f"{what} more than {MAX_FUNCTION_NAME_BYTES} bytes: shorten one"
            self._problems.append(Problem(function.file, function.line, function.name, message, is_fatal=False))
            return
        self._found[registered] = function
        self._options[registered] = options

    def _registered(self, name: str) -> str | None:
        """The registered name of a Python function; `name` may have the prefix or not."""
        with_prefix = self._config.prefix + name
        return with_prefix if with_prefix in self._found else name if name in self._found else None

    def _own(self, registered: str, pool: str) -> None:
        self._owner[registered] = pool
        self._served.setdefault(pool, []).append(registered)

    def _assign_to_program(self, pool: str, function: str) -> None:
        """Gives a function to a program. A module's own of this name yields, or two kinds of code would serve it."""
        if function in self._owner:
            return
        found = self._found.pop(function, None)
        if found is not None:
            place = self._config.place(f"pools.{pool}.functions")
            message = (
                f"the command of the pool {pool} ({place}) serves the function too and keeps it: "
                "take it out of one of them, or name it in exclude_functions"
            )
            self._problems.append(Problem(found.file, found.line, found.name, message, is_fatal=False))
        self._own(function, pool)

    def _resolved_pool(self, name: str) -> ResolvedPool | None:
        pool, functions = self._pools[name], tuple(sorted(set(self._served[name])))
        if not functions and pool.command is None:
            return None
        if self._mixes_languages(name, functions) or self._has_pythons_keys(name, functions):
            return None
        if self._runs_lists_at_once(name, functions) or self._mixes_loops(name, functions):
            return None
        minimum, maximum = worker_range(pool, self._config.defaults, self._cores)
        if minimum > maximum:
            keys = pool if pool.min is not None or pool.max is not None else self._config.defaults
            key = f"pools.{name}" if keys is pool else "defaults"
            written = (str(minimum), f"{maximum} with {self._cores} cores")
            self._problems.append(range_problem(key, keys, written, self._config.places))
            return None
        resolved = resolve_pool(name, pool, self._config.defaults, functions, self._cores)
        resolved = replace(
            resolved,
            lists=tuple(filter(self._takes_lists, functions)),
            is_async=any(self._found[function].is_async for function in functions if function in self._found),
        )
        return resolved if self._has_possible_windows(resolved) else None

    def _has_possible_windows(self, pool: ResolvedPool) -> bool:
        key = f"pools.{pool.name}" if self._pools[pool.name].windows is not None else "defaults"
        wrong = list(impossible_windows(pool.windows, pool.min, pool.max))
        for index, message in wrong:
            self._report(f"{key}.windows", message, at=f"{key}.windows[{index}]")
        return not wrong

    def _has_pythons_keys(self, name: str, functions: Sequence[str]) -> bool:
        """Only Python has greenlets, and workers that fetch jobs ahead."""
        in_php = any(is_php_file(self._found[function].file) for function in functions if function in self._found)
        keys = [key for key in _ONLY_PYTHON if in_php and (getattr(self._pools[name], key) or 1) > 1]
        for key in keys:
            message = "the key is for Python functions, and this pool's are in PHP: leave it out, and raise max instead"
            self._report(f"pools.{name}.{key}", message)
        return bool(keys)

    def _runs_lists_at_once(self, name: str, functions: Sequence[str]) -> bool:
        """A worker runs several jobs at once, or a function takes several."""
        pool, defaults = self._pools[name], self._config.defaults
        lists = [function for function in functions if self._takes_lists(function)]
        if not lists or pool.command is not None or (pool.concurrency or defaults.concurrency or 1) == 1:
            return False
        key = f"pools.{name}.concurrency" if pool.concurrency is not None else "defaults.concurrency"
        message = (
            f"{listed(lists)} of the pool {name} takes a list of jobs, one list after the other: give it a pool "
            "of its own with concurrency: 1"
        )
        self._report(key, message)
        return True

    def _takes_lists(self, registered: str) -> bool:
        return registered in self._found and self._options[registered].batch is not None

    def _refuse_keys_of_lists(self, name: str, keys: Function) -> None:
        for key in _OF_LISTS:
            if getattr(keys, key) is not None:
                self._report(f"functions.{name}.{key}", f"the function {name} takes one job at a time: {_TAKES_LISTS}")

    def _mixes_languages(self, name: str, functions: Sequence[str]) -> bool:
        """A worker runs either Python or PHP."""
        found = [self._found[function] for function in functions if function in self._found]
        php = [function.name for function in found if is_php_file(function.file)]
        if not php or len(php) == len(found):
            return False
        python = [function.name for function in found if not is_php_file(function.file)]
        message = (
            f"a pool serves functions of one language: {listed(php)} in PHP, {listed(python)} in Python; "
            "name either in a pool of their own"
        )
        self._report(f"pools.{name}.functions", message)
        return True

    def _mixes_loops(self, name: str, functions: Sequence[str]) -> bool:
        found = [self._found[function] for function in functions if function in self._found]
        pool, defaults = self._pools[name], self._config.defaults
        wrong = loop_problem(
            name,
            [function.name for function in found if function.is_async],
            [function.name for function in found if not function.is_async],
            {f"pools.{name}.prefetch": pool.prefetch, "defaults.prefetch": defaults.prefetch},
        )
        if wrong is not None:
            self._report(*wrong)
        return wrong is not None

    def _resolved_function(self, registered: str) -> ResolvedFunction:
        found = self._found.get(registered)
        module_name = found.name if found is not None else registered
        explicit = self._config.functions.get(registered) or self._config.functions.get(module_name)
        identity = FunctionIdentity(registered, module_name, self._owner[registered])
        if found is not None:
            identity = FunctionIdentity(registered, module_name, self._owner[registered], found.file, found.line)
        decorated = self._options.get(registered, Function()) if found is not None else Function()
        resolved = resolve_function(identity, explicit or Function(), decorated, self._config.defaults)
        if found is None:
            return resolved
        places = redacted_places(found.parameters, resolved.privacy.redact)
        is_clean = not is_php_file(found.file)
        return replace(resolved, privacy=replace(resolved.privacy, redacted_places=places, cleans_errors=is_clean))

    def _check_global_limit(self, pools: Mapping[str, ResolvedPool]) -> None:
        for budget, message in exceeded_by_minima(pools.values(), self._config.limits.budgets):
            self._report(f"limits.budgets.{budget}", message)
        for name, pool in pools.items():
            if message := too_few_everywhere(pool):
                key = f"pools.{name}.max_everywhere"
                self._report(key if key in self._config.places else "defaults.max_everywhere", message)
        limit, needed = self._config.limits.max_workers, sum(pool.min for pool in pools.values())
        if limit is not None and needed > limit:
            self._report(
                "limits.max_workers", f"{limit} is less than the min of all pools together, {needed}: raise it"
            )
            return
        for pool in pools.values():
            needed = max((window.min for window in pool.windows if window.min is not None), default=0)
            if limit is not None and needed > limit:
                message = f"{limit} is less than the min of a window of the pool {pool.name}, {needed}: raise it"
                self._report("limits.max_workers", message)

    def _report_definitions(self, name: str, definitions: Sequence[FoundFunction]) -> None:
        self._refused.add(name)
        first = definitions[0]
        for other in definitions[1:]:
            message = (
                f"the function is defined twice, at {first.file}:{first.line} too, and runs in neither version: "
                "rename one of them, or leave one out of workers_dir"
            )
            self._problems.append(Problem(other.file, other.line, name, message, is_fatal=False))

    def _report_unknown(self, name: str, key: str, at: str) -> None:
        if name.removeprefix(self._config.prefix) in self._excluded or name in self._excluded:
            excluding = self._excluded.get(name) or self._excluded[name.removeprefix(self._config.prefix)]
            message = f"the function {name} is left out by {excluding} ({self._config.place(excluding)})"
            self._report(key, f"{message}: change one of them", at=at)
            return
        if name in self._refused or name.removeprefix(self._config.prefix) in self._refused:
            return  # It exists, and its problem is reported already.
        known = [function.name for function in self._found.values()]
        nearest = nearest_name(name, known)
        suggestion = f"did you mean {nearest}? " if nearest else ""
        self._report(
            key,
            f"no module defines the function {name}; {suggestion}{self._known(known)}",
            at=at,
            is_fatal=not self._unloaded,
        )

    def _known(self, names: Sequence[str]) -> str:
        text = f"known are {listed(names)}" if names else "no function is known"
        failed = ", ".join(self._unloaded[:NAMES_SHOWN])
        return f"{text} (could not be loaded: {failed})" if failed else text

    def _report(self, key: str, message: str, *, at: str = "", is_fatal: bool = True) -> None:
        self._problems.append(self._config.places.problem(key, message, at=at, is_fatal=is_fatal))
