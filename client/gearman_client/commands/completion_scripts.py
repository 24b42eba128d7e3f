"""The scripts by which shells ask our commands for completions. Pure."""

from __future__ import annotations

from typing import Final

# bash takes `:` and `=` for the ends of words, so what stands before the last of them is not to be repeated.
_BASH: Final = r"""_@COMMAND@_completion() {
    local line=${COMP_LINE:0:COMP_POINT} typed kept='' kind value text
    local -a words
    read -ra words <<< "$line"
    case $line in *[[:space:]]) words+=('') ;; esac
    typed=${words[${#words[@]} - 1]}
    if [[ $COMP_WORDBREAKS == *:* ]]; then
        kept=${typed%"${typed##*[:=]}"}
    fi
    COMPREPLY=()
    while IFS=$'\t' read -r kind value text; do
        if [[ $kind == file ]]; then
            compopt -o default
        elif [[ $kind == command ]]; then
            mapfile -t COMPREPLY < <(compgen -c -- "$typed")
        else
            COMPREPLY+=("${value#"$kept"}")
        fi
    done < <(@VARIABLE@=words "$1" "${words[@]:1}" 2>/dev/null)
}
complete -F _@COMMAND@_completion @COMMAND@
"""

_ZSH: Final = r"""#compdef @COMMAND@
_@COMMAND@_completion() {
    local line
    local -a values parts
    for line in "${(@f)$(@VARIABLE@=words ${words[1]} "${(@)words[2,$CURRENT]}" 2>/dev/null)}"; do
        parts=("${(@ps:\t:)line}")
        if [[ ${parts[1]} == file ]]; then
            _files
        elif [[ ${parts[1]} == command ]]; then
            _command_names -e
        elif [[ -n ${parts[2]} ]]; then
            values+=("${parts[2]//:/\\:}${parts[3]:+:${parts[3]}}")
        fi
    done
    if (( ${#values} )); then
        _describe -V @COMMAND@ values
    fi
}
compdef _@COMMAND@_completion @COMMAND@
"""

_FISH: Final = r"""function __@COMMAND@_completion
    set -l words (commandline -opc) (commandline -ct)
    for line in (env @VARIABLE@=words $words[1] $words[2..-1] 2>/dev/null)
        set -l parts (string split \t -- $line)
        if test "$parts[1]" = file
            __fish_complete_path (commandline -ct)
        else if test "$parts[1]" = command
            __fish_complete_command
        else
            printf '%s\t%s\n' $parts[2] "$parts[3]"
        end
    end
end
complete --no-files --command @COMMAND@ --arguments '(__@COMMAND@_completion)'
"""

#: A script for each shell; @COMMAND@ and @VARIABLE@ stand for the command and for the variable by which it is asked.
SCRIPTS: Final = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def variable_of(command: str) -> str:
    """The environment variable by which a script asks the command, as with the manager's other commands."""
    return f"_{command.upper()}_COMPLETE"
