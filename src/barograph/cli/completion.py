"""``barograph completion SHELL``: what makes a shell complete verbs, options, runs and paths.

    eval "$(barograph completion bash)"       in ~/.bashrc; zsh and fish likewise

The shell asks this program again at each TAB, so that runs recorded a moment ago are there.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import re
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Final

from barograph.cli.arguments import root_of, verb_parser
from barograph.cli.output import print_json
from barograph.errors import BarographError
from barograph.read.catalog import discover_runs
from barograph.read.run import RunReader

DESCRIPTION: Final = """\
Prints a script that makes the shell complete verbs, options, the runs below the root, and paths.

  bash   eval "$(barograph completion bash)"        in ~/.bashrc
  zsh    eval "$(barograph completion zsh)"         in ~/.zshrc, after compinit
  fish   barograph completion fish | source         in ~/.config/fish/config.fish
"""
BASH: Final = """\
_barograph() {
  local IFS=$'\\n'
  COMPREPLY=($(compgen -f -- "${COMP_WORDS[COMP_CWORD]}"))
  COMPREPLY+=($(barograph completion --words -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o filenames -F _barograph barograph
"""
ZSH: Final = """\
_barograph() {
  local -a found
  found=("${(@f)$(barograph completion --words -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  compadd -a found
  _files
}
compdef _barograph barograph
"""
FISH: Final = """\
function __barograph_words
  barograph completion --words -- (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null
end
complete -c barograph -a '(__barograph_words)'
"""
MOST_NAMES: Final = 1000
"""A name is read from a file of its run; a shell does not wait for many."""
SCRIPTS: Final = {"bash": BASH, "zsh": ZSH, "fish": FISH}
_OPTION: Final = re.compile(r"(?<![\w-])--?[a-zA-Z][\w-]*")


def main(argv: Sequence[str], *, root: str | None) -> int:
    """Print the script, or the words that complete a command line."""
    given = list(argv)
    if given[:1] == ["--words"]:
        print("\n".join(words(given[2:], root=root)))
        return 0
    parser = verb_parser("completion", DESCRIPTION, json_help='one line of JSON: {"shell", "script"}')
    parser.add_argument("shell", choices=sorted(SCRIPTS), metavar="SHELL", help=", ".join(sorted(SCRIPTS)))
    parser.add_argument("--words", action="store_true", help="what the script asks for: the words that come next")
    args = parser.parse_args(given)
    if args.json:
        print_json({"shell": args.shell, "script": SCRIPTS[args.shell]})
    else:
        print(SCRIPTS[args.shell], end="")
    return 0


def words(line: Sequence[str], *, root: str | None) -> list[str]:
    """What may stand in place of the last word of a command line, beside paths.

    Args:
        line: the words after ``barograph``, the last one unfinished.
        root: the directory of runs, when the caller named one.
    """
    from barograph.cli.command import VERBS  # noqa: PLC0415 - it loads this module by its name

    *before, current = line or [""]
    verb = next((word for word in before if word in VERBS), None)
    if verb is None:
        return _starting(current, [*VERBS, "--root", "--version", "--help"])
    if current.startswith("-"):
        return _starting(current, _options(verb))
    return _starting(current, _runs(before, root))


def _starting(start: str, found: Iterable[str]) -> list[str]:
    return sorted({word for word in found if word.startswith(start)})


def _options(verb: str) -> list[str]:
    """The options that a verb's own help shows."""
    from barograph.cli import command  # noqa: PLC0415 - the same

    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
        import_module(f"barograph.cli.{command.module_of(verb)}").main(["--help"], root=None)
    return _OPTION.findall(shown.getvalue())


def _runs(before: Sequence[str], root: str | None) -> list[str]:
    """Run directories below the root, and the names of the newest runs, as far as it can be read."""
    named = [word for flag, word in itertools.pairwise(before) if flag == "--root"]
    args = argparse.Namespace(root=named[-1] if named else None)
    try:
        paths = discover_runs(root_of(args, root))
        return [*(path.name for path in paths), *(RunReader(path).identity.name for path in paths[-MOST_NAMES:])]
    except BarographError:  # there is no root: nothing to complete, and a shell cannot show why
        return []
