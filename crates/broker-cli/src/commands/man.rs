//! `broker man`: manual pages.

use std::path::PathBuf;

use clap::Args;

use crate::arguments::command;
use crate::console::Console;
use crate::outcome::{Exit, Failure, Outcome};

/// Write the manual pages into a folder
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Folder for broker.1, broker-sub.1, ...; made if it is not there
    dir: PathBuf,
}

impl Man {
    pub(crate) fn run(&self, console: &mut Console) -> Outcome {
        let failed = |error: std::io::Error| {
            let what = format!(
                "cannot write manual pages to `{}`: {error}",
                self.dir.display()
            );
            Failure::failed(what)
        };
        std::fs::create_dir_all(&self.dir).map_err(failed)?;
        let mut command = command();
        // Gives the commands of commands their full names.
        command.build();
        self.write(&command, console, &failed)?;
        Ok(Exit::Done)
    }

    fn write(
        &self,
        command: &clap::Command,
        console: &mut Console,
        failed: &impl Fn(std::io::Error) -> Failure,
    ) -> Result<(), Failure> {
        let name = command
            .get_display_name()
            .unwrap_or_else(|| command.get_name());
        let path = self.dir.join(format!("{name}.1"));
        let page = clap_mangen::Man::new(command.clone());
        let mut text = Vec::new();
        page.render(&mut text).map_err(failed)?;
        std::fs::write(&path, text).map_err(failed)?;
        console.say(path.display());
        for inner in command.get_subcommands().filter(|it| !it.is_hide_set()) {
            self.write(inner, console, failed)?;
        }
        Ok(())
    }
}
