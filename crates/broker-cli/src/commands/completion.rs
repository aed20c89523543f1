//! `broker completion`: what a shell needs to complete command lines.

use clap::Args;

use crate::arguments::command;
use crate::console::Console;
use crate::outcome::{Exit, Outcome};

/// Print completions for a shell
///
/// For bash: broker completion bash > ~/.local/share/bash-completion/completions/broker
#[derive(Debug, Args)]
pub(crate) struct Completion {
    /// The shell
    shell: Shell,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
    Powershell,
}

impl From<Shell> for clap_complete::Shell {
    fn from(shell: Shell) -> Self {
        match shell {
            Shell::Bash => Self::Bash,
            Shell::Zsh => Self::Zsh,
            Shell::Fish => Self::Fish,
            Shell::Powershell => Self::PowerShell,
        }
    }
}

impl Completion {
    pub(crate) fn run(&self, console: &mut Console) -> Outcome {
        let shell = clap_complete::Shell::from(self.shell);
        clap_complete::generate(shell, &mut command(), "broker", console.buffer());
        Ok(Exit::Done)
    }
}
