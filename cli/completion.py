"""``trialpack completion``."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

_EPILOG = """
\b
Examples:
  mkdir -p ~/.local/share/bash-completion/completions ~/.config/fish/completions
  trialpack completion bash > ~/.local/share/bash-completion/completions/trialpack
  trialpack completion zsh > ~/.trialpack.zsh; echo '. ~/.trialpack.zsh' >> ~/.zshrc
  trialpack completion fish > ~/.config/fish/completions/trialpack.fish
"""


@click.command(epilog=_EPILOG)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes a SHELL complete commands, options and names."""
    made = get_completion_class(shell)
    assert made is not None
    root = click.get_current_context().find_root().command
    click.echo(made(root, {}, "trialpack", "_TRIALPACK_COMPLETE").source())
