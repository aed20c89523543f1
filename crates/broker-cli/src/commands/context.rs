//! `broker context`: named places to connect to.

use std::path::Path;

use clap::{Args, Subcommand};

use broker::data::json::put_string;

use crate::arguments::{CurveArguments, TlsArguments};
use crate::console::Console;
use crate::contexts::{self, Context, Contexts, Secret};
use crate::outcome::{Exit, Failure, Outcome};
use crate::target::{self, CURVE_OFF};

/// Keep places to connect to under names
///
/// Contexts are in one file that only you can read: $BROKER_CONFIG, else
/// $XDG_CONFIG_HOME/broker/contexts.toml.
#[derive(Debug, Args)]
pub(crate) struct ContextCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Add a context, or replace it
    Add(Box<Add>),
    /// List the contexts; the selected one is marked
    List,
    /// Show a context, by default the selected one; secrets stay hidden
    Show {
        /// Its name
        name: Option<String>,
    },
    /// Use a context whenever no other place is named
    Select {
        /// Its name
        #[arg(required_unless_present = "none")]
        name: Option<String>,
        /// Select none
        #[arg(long, conflicts_with = "name")]
        none: bool,
    },
    /// Remove a context
    Rm {
        /// Its name
        name: String,
    },
}

/// Add a context, or replace it
#[derive(Debug, Args)]
struct Add {
    /// Its name
    name: String,
    /// Peer: HOST:PORT, zeek://, ws://, wss:// or zmq:// (repeatable)
    #[arg(short, long = "url", value_name = "URL", required = true)]
    urls: Vec<String>,
    #[command(flatten)]
    tls: TlsArguments,
    #[command(flatten)]
    curve: CurveArguments,
    /// Environment variable with the key's passphrase
    #[arg(
        long,
        value_name = "NAME",
        help_heading = "Connection",
        conflicts_with = "passphrase_file"
    )]
    passphrase_env: Option<String>,
    /// Select it, too
    #[arg(long)]
    select: bool,
}

impl ContextCommand {
    pub(crate) fn run(self, console: &mut Console) -> Outcome {
        let mut contexts = Contexts::load()?;
        match self.action {
            Action::Add(add) => add.run(&mut contexts)?,
            Action::List => {
                for (name, context) in &contexts.all {
                    let is_selected = contexts.selected.as_ref() == Some(name);
                    show(console, name, context, is_selected, false)?;
                }
            }
            Action::Show { name } => {
                let selected = contexts.selected.clone();
                let name = name.or_else(|| selected.clone()).ok_or_else(|| {
                    Failure::usage("no context is selected").hint("name one, or select one")
                })?;
                let is_selected = selected.as_ref() == Some(&name);
                show(console, &name, contexts.find(&name)?, is_selected, true)?;
            }
            Action::Select { name, none: _ } => {
                if let Some(name) = &name {
                    contexts.find(name)?;
                }
                contexts.selected = name;
                contexts.save()?;
            }
            Action::Rm { name } => {
                contexts.find(&name)?;
                contexts.all.remove(&name);
                contexts.selected = contexts.selected.filter(|selected| *selected != name);
                contexts.save()?;
            }
        }
        Ok(Exit::Done)
    }
}

impl Add {
    fn run(self, contexts: &mut Contexts) -> Result<(), Failure> {
        for url in &self.urls {
            target::peer_url(url)?;
        }
        // Paths are kept as they would be found from anywhere.
        let whole = |path: Option<std::path::PathBuf>, what: &str| {
            path.map(|path| {
                crate::nearest::check_file(what, &path)?;
                let absolute = std::path::absolute(&path);
                absolute.map_err(|error| Failure::failed(format!("`{}`: {error}", path.display())))
            })
            .transpose()
        };
        let file = whole(self.tls.passphrase_file, "passphrase file")?;
        let passphrase = file
            .map(|path| format!("file:{}", path.display()))
            .or_else(|| self.passphrase_env.map(|name| format!("env:{name}")));
        let context = Context {
            urls: self.urls,
            cert: whole(self.tls.cert, "certificate")?,
            key: whole(self.tls.key, "key")?,
            passphrase: passphrase.map(Secret::new),
            cafile: whole(self.tls.cafile, "CA file")?,
            capath: whole(self.tls.capath, "CA folder")?,
            curve: match self.curve.curve {
                Some(path) if path == Path::new(CURVE_OFF) => Some(path),
                path => whole(path, "CURVE keys")?,
            },
            no_tls: self.tls.no_tls,
        };
        if self.select {
            contexts.selected = Some(self.name.clone());
        }
        contexts.all.insert(self.name, context);
        contexts.save()
    }
}

fn show(
    console: &mut Console,
    name: &str,
    context: &Context,
    is_selected: bool,
    is_detailed: bool,
) -> Result<(), Failure> {
    let path = |path: &Option<std::path::PathBuf>| path.as_ref().map(|it| it.display().to_string());
    let fields = [
        ("cert", path(&context.cert)),
        ("key", path(&context.key)),
        (
            "passphrase",
            context.passphrase.as_ref().map(ToString::to_string),
        ),
        ("cafile", path(&context.cafile)),
        ("capath", path(&context.capath)),
        ("curve", path(&context.curve)),
    ];
    if console.is_json() {
        let mut line = String::from("{\"type\":\"context\",\"name\":");
        put_string(&mut line, name);
        line.push_str(&format!(",\"selected\":{is_selected},\"urls\":["));
        for (index, url) in context.urls.iter().enumerate() {
            line.push_str(if index > 0 { "," } else { "" });
            put_string(&mut line, url);
        }
        line.push_str(&format!("],\"no_tls\":{}", context.no_tls));
        for (key, value) in fields {
            line.push_str(&format!(",\"{key}\":"));
            match value {
                Some(value) => put_string(&mut line, &value),
                None => line.push_str("null"),
            }
        }
        line.push('}');
        return console.line(line);
    }
    let style = console.palette().label;
    let mark = if is_selected { "*" } else { " " };
    console.line(format_args!(
        "{mark} {style}{name}{style:#}  {}",
        context.urls.join(" ")
    ))?;
    if is_detailed {
        for (key, value) in fields {
            if let Some(value) = value {
                console.line(format_args!("    {key:<10}  {value}"))?;
            }
        }
        if context.no_tls {
            console.line("    no-tls")?;
        }
        console.say(format_args!("in {}", contexts::path()?.display()));
    }
    Ok(())
}
