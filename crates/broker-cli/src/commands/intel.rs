//! `broker intel`: Zeek's intelligence framework, by the events that its nodes send each other.
//!
//! The manager of a cluster takes `Intel::insert_item` and `Intel::remove_item` on its topic, and
//! tells its workers. How the topic is spelt depends on what the cluster speaks. Spec: zeromq 4.

mod file;
mod item;

use std::path::PathBuf;
use std::time::Duration;

use broker::Value;
use broker::proto::peer_url::{PeerUrl, Scheme};
use clap::{Args, Subcommand};

use self::item::Item;
use super::logs::Logs;
use super::publish::{await_subscriber, drain, event};
use crate::arguments::{ConnectionArguments, EndArguments, Global};
use crate::console::Console;
use crate::duration::{duration, rate};
use crate::nearest::read_file;
use crate::outcome::{EXIT_CODES, Exit, Failure, Outcome};
use crate::session::{self, OnPeerLoss, Session, Waited};
use crate::target::Target;

/// Lines with problems that are told one by one; further ones are counted.
const PROBLEMS_TOLD_MAX: usize = 10;

/// How long it is waited until the manager has taken everything.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

const EXAMPLES: &str = "Examples:
  broker intel add 192.0.2.66 --source mine --desc scanner -u manager:9999
  broker intel add evil.example --type domain
  broker intel load feed.dat --rate 1000/s      Zeek's own file format, or CSV
  broker intel rm 192.0.2.66
  broker intel watch                            hits, from Zeek's intel log

Types: addr subnet url software email domain user_name cert_hash pubkey_hash
file_hash file_name, or Intel::NAME; guessed for addresses and networks.";

/// Tell Zeek what to look for, and see what it finds
#[derive(Debug, Args)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct IntelCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Add(Add),
    Rm(Rm),
    Load(Load),
    Watch(Watch),
}

/// Where items go.
#[derive(Debug, Clone, Args)]
struct Where {
    /// Topic of the node that keeps the items
    ///
    /// Without it that of a manager: zeek/cluster/manager, over ZeroMQ zeek.cluster.manager.
    #[arg(long)]
    topic: Option<String>,
    /// How long to wait for a node that is subscribed to it
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "5s")]
    timeout: Duration,
    #[command(flatten)]
    connection: ConnectionArguments,
}

/// Add an indicator
#[derive(Debug, Args)]
struct Add {
    #[command(flatten)]
    item: ItemArguments,
    /// Where it comes from
    #[arg(long, value_name = "TEXT", default_value = "broker")]
    source: String,
    /// What it is about
    #[arg(long, value_name = "TEXT")]
    desc: Option<String>,
    /// Where to read more
    #[arg(long, value_name = "URL")]
    link: Option<String>,
    #[command(flatten)]
    place: Where,
}

#[derive(Debug, Clone, Args)]
struct ItemArguments {
    /// Address, network, domain, hash, ...
    indicator: String,
    /// What kind of indicator it is
    #[arg(short = 't', long = "type", value_name = "TYPE")]
    kind: Option<String>,
}

/// Remove what a source said about an indicator
#[derive(Debug, Args)]
struct Rm {
    #[command(flatten)]
    item: ItemArguments,
    /// The source whose item it is
    #[arg(long, value_name = "TEXT", default_value = "broker")]
    source: String,
    /// Remove the indicator whatever other sources say
    #[arg(long)]
    purge: bool,
    #[command(flatten)]
    place: Where,
}

/// Add the indicators of a file
///
/// Either Zeek's format (`#fields`, then names and values between tabs) or CSV with a header. Names
/// of columns: indicator, indicator_type or type, source, desc, url, the last ones also with
/// `meta.` in front. Other columns are left out.
#[derive(Debug, Args)]
struct Load {
    /// The file
    file: PathBuf,
    /// Items per time, such as 1000/s
    #[arg(long, value_name = "N/s", value_parser = rate)]
    rate: Option<Duration>,
    /// The source of items that name none
    #[arg(long, value_name = "TEXT", default_value = "broker")]
    source: String,
    #[command(flatten)]
    place: Where,
}

/// Print what Zeek finds, as `broker logs intel` does
#[derive(Debug, Args)]
struct Watch {
    #[command(flatten)]
    end: EndArguments,
    #[command(flatten)]
    connection: ConnectionArguments,
}

impl IntelCommand {
    pub(crate) fn run(self, global: &Global, console: &mut Console) -> Outcome {
        match self.what {
            What::Add(command) => command.run(global, console),
            What::Rm(command) => command.run(global, console),
            What::Load(command) => command.run(global, console),
            What::Watch(command) => {
                Logs::intel(command.end, command.connection).run(global, console)
            }
        }
    }
}

impl Add {
    fn run(self, global: &Global, console: &mut Console) -> Outcome {
        let item = Item {
            source: self.source,
            desc: self.desc,
            url: self.link,
            ..self.item.item()?
        };
        let insert = event("Intel::insert_item", &[item.value()])?;
        self.place.send(global, &[insert], None, console)
    }
}

impl ItemArguments {
    fn item(&self) -> Result<Item, Failure> {
        Item::new(&self.indicator, self.kind.as_deref()).map_err(Failure::usage)
    }
}

impl Rm {
    fn run(self, global: &Global, console: &mut Console) -> Outcome {
        let item = Item {
            source: self.source,
            ..self.item.item()?
        };
        let arguments = [item.value(), Value::Boolean(self.purge)];
        let remove = event("Intel::remove_item", &arguments)?;
        self.place.send(global, &[remove], None, console)
    }
}

impl Load {
    fn run(self, global: &Global, console: &mut Console) -> Outcome {
        let text = read_file("file", &self.file)?;
        let items = file::items(&text, &self.source)
            .map_err(|problem| Failure::usage(format!("`{}`: {problem}", self.file.display())))?;
        let mut inserts = Vec::new();
        let mut refused = 0;
        for item in items {
            match item {
                Ok(item) => inserts.push(event("Intel::insert_item", &[item.value()])?),
                Err((line, problem)) => {
                    refused += 1;
                    if refused <= PROBLEMS_TOLD_MAX {
                        console.warn(format_args!("line {line}: {problem}"));
                    }
                }
            }
        }
        let sent = inserts.len();
        let exit = self.place.send(global, &inserts, self.rate, console)?;
        console.say(format_args!("{sent} items sent, {refused} lines refused"));
        match refused {
            0 => Ok(exit),
            _ if exit == Exit::Done => Ok(Exit::Failed),
            _ => Ok(exit),
        }
    }
}

impl Where {
    /// Where the items go; a manager has one of two names.
    fn topic(&self, target: &Target) -> Result<String, Failure> {
        if let Some(topic) = &self.topic {
            return Ok(topic.clone());
        }
        let over_zeromq = |peer: &PeerUrl| peer.scheme == Scheme::ZeroMq;
        match (
            target.peers.iter().any(over_zeromq),
            target.peers.iter().all(over_zeromq),
        ) {
            (false, _) => Ok("zeek/cluster/manager".to_owned()),
            (true, true) => Ok("zeek.cluster.manager".to_owned()),
            (true, false) => Err(Failure::usage(
                "a manager has another topic over ZeroMQ than elsewhere",
            )
            .hint("name it with --topic, or ask one cluster at a time")),
        }
    }

    /// Publishes events, and waits until the peers have taken them.
    fn send(
        self,
        global: &Global,
        events: &[Vec<u8>],
        pace: Option<Duration>,
        console: &mut Console,
    ) -> Outcome {
        let target = Target::find(&self.connection, global)?;
        let runtime = session::runtime()?;
        let outcome = runtime.block_on(self.publish(target, events, pace, console));
        runtime.shutdown_background();
        outcome
    }

    async fn publish(
        self,
        target: Target,
        events: &[Vec<u8>],
        pace: Option<Duration>,
        console: &mut Console,
    ) -> Outcome {
        let (is_native, tells_subscriptions) = (target.is_native(), target.tells_subscriptions());
        let topic = self.topic(&target)?;
        let mut session = Session::of(target, OnPeerLoss::End)?;
        session.connect().await?;
        if tells_subscriptions {
            match await_subscriber(&session, &topic, Some(self.timeout)).await {
                Waited::Ended(_) => return Ok(Exit::Interrupted),
                Waited::Over(true) => {}
                Waited::Over(false) => {
                    let what = format!("no peer is subscribed to `{topic}`");
                    return Err(Failure::new(Exit::NothingCame, what)
                        .hint("connect to the manager, or name its topic with --topic"));
                }
            }
        }
        let mut pace = pace.map(tokio::time::interval);
        for (sent, event) in events.iter().enumerate() {
            let send = async {
                if let Some(pace) = &mut pace {
                    pace.tick().await;
                }
                let view = broker::View::trusted(event);
                session.endpoint.publish_async(&topic, &view).await
            };
            console.progress(format_args!("{sent} of {} items", events.len()));
            match session.or_signal(send).await {
                Waited::Over(done) => done?,
                Waited::Ended(_) => {
                    console.say(format_args!("interrupted after {sent} items"));
                    return Ok(Exit::Interrupted);
                }
            }
        }
        let drained = if is_native {
            drain(&session, DRAIN_TIMEOUT).await
        } else {
            Ok(())
        };
        session.leave().await;
        drained.map(|()| Exit::Done)
    }
}
