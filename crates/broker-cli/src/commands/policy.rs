//! `broker policy`: files of permissions, looked at and asked.

mod learn;
mod token;

use std::path::{Path, PathBuf};

use broker::data::json::put_string;
use broker::policy::{Content, Decision, Denial, Operation, Policy, PolicyFile, Request, decide};
use clap::{Args, Subcommand};

use crate::console::Console;
use crate::nearest::{check_file, nearest};
use crate::outcome::{EXIT_CODES, Exit, Failure, Outcome};

/// The file that `broker policy example` prints.
const EXAMPLE: &str = include_str!("policy/example.toml");

const EXAMPLES: &str = "Examples:
  broker policy example > policy.toml
  broker policy check policy.toml
  broker policy token add grafana policy.toml --role siem --days 90
  broker policy explain policy.toml --as spiffe://corp/soar \\
      --publish /netcontrol/x --event NetControl::add_rule
  broker policy learn audit.jsonl > learned.toml";

/// Check and ask files of permissions, make tokens, learn from a record
#[derive(Debug, Args)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct PolicyCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print a policy with three principals, explained
    Example,
    /// Say whether a policy makes sense, and what in it hardly does
    Check {
        /// The policy
        file: PathBuf,
    },
    Explain(Explain),
    Learn(learn::Learn),
    /// Make and list tokens
    #[command(subcommand)]
    Token(token::TokenAction),
}

/// Say what a policy decides, and which rule does
///
/// Exit code 0: allowed; 5: denied.
#[derive(Debug, Args)]
struct Explain {
    /// The policy
    file: PathBuf,
    /// The principal that asks
    #[arg(long = "as", value_name = "PRINCIPAL")]
    principal: String,
    #[command(flatten)]
    wanted: Wanted,
    /// Event of Zeek that is published; without it the message is none
    #[arg(long, value_name = "NAME", requires = "publish")]
    event: Option<String>,
    /// What is to be done to the store
    #[arg(long, value_name = "OPERATION", requires = "store", default_value = "read",
        value_parser = ["read", "write", "clear"])]
    operation: String,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Wanted {
    /// May it publish under this topic?
    #[arg(long, value_name = "TOPIC")]
    publish: Option<String>,
    /// May it subscribe to topics that begin like this?
    #[arg(long, value_name = "TOPIC")]
    subscribe: Option<String>,
    /// May it use this store?
    #[arg(long, value_name = "NAME")]
    store: Option<String>,
    /// May it ask for this path over HTTP?
    #[arg(long, value_name = "PATH")]
    http: Option<String>,
}

impl PolicyCommand {
    pub(crate) fn run(self, console: &mut Console) -> Outcome {
        match self.action {
            Action::Example => {
                console.buffer().extend_from_slice(EXAMPLE.as_bytes());
                Ok(Exit::Done)
            }
            Action::Check { file } => check(&file, console),
            Action::Explain(explain) => explain.run(console),
            Action::Learn(learn) => learn.run(console),
            Action::Token(action) => action.run(console),
        }
    }
}

/// Reads a policy; warnings go to standard error.
fn read(path: &Path, console: &mut Console) -> Result<Policy, Failure> {
    check_file("the policy", path)?;
    let file = PolicyFile::read(path)?;
    for warning in &file.warnings {
        console.warn(format_args!("`{}`, {warning}", path.display()));
    }
    Ok(file.policy)
}

fn check(path: &Path, console: &mut Console) -> Outcome {
    let policy = read(path, console)?;
    for name in policy.principals() {
        if policy.rights(name).is_none_or(|rights| rights.is_empty()) {
            console.warn(format_args!("the principal `{name}` may do nothing"));
        }
    }
    let now = broker::Timestamp::try_from(std::time::SystemTime::now()).ok();
    for (name, token) in policy.tokens() {
        if token
            .expires
            .is_some_and(|end| now.is_none_or(|now| end <= now))
        {
            console.warn(format_args!("the token `{name}` is over"));
        }
    }
    let (roles, principals) = (policy.roles().count(), policy.principals().count());
    let tokens = policy.tokens().count();
    if console.is_json() {
        console.line(format_args!(
            "{{\"type\":\"policy\",\"roles\":{roles},\"principals\":{principals},\"tokens\":{tokens}}}"
        ))?;
    } else {
        console.say(format_args!(
            "`{}` makes sense: roles {roles}, principals {principals}, tokens {tokens}",
            path.display()
        ));
    }
    Ok(Exit::Done)
}

impl Explain {
    fn run(&self, console: &mut Console) -> Outcome {
        let policy = read(&self.file, console)?;
        if !policy.has_principal(&self.principal) {
            let failure = Failure::new(
                Exit::Refused,
                format!("there is no principal `{}`", self.principal),
            );
            return Err(match nearest(&self.principal, policy.principals()) {
                Some(near) => failure.hint(format!("there is `{near}`")),
                None => failure.hint("what is not known is denied"),
            });
        }
        let request = self.request();
        let decision = decide(&policy, &self.principal, &request);
        let (word, because) = match &decision {
            Decision::Allow(rule) => ("allow", rule.to_string()),
            Decision::Deny(denial) => ("deny", denial.to_string()),
        };
        let needed = match &decision {
            Decision::Allow(_) => None,
            Decision::Deny(denial) => self.needed(denial),
        };
        let granted = self.granted(&policy, &decision);
        if console.is_json() {
            let mut line = String::from("{\"type\":\"decision\",\"decision\":");
            put_string(&mut line, word);
            line.push_str(",\"rule\":");
            put_string(&mut line, &because);
            line.push_str(",\"granted\":[");
            for (index, topic) in granted.iter().enumerate() {
                line.push_str(if index == 0 { "" } else { "," });
                put_string(&mut line, topic);
            }
            line.push_str("]}");
            console.line(line)?;
        } else {
            console.line(format_args!("{word}: {because}"))?;
            for topic in &granted {
                console.line(format_args!("of it is granted: \"{topic}\""))?;
            }
            if let Some(needed) = needed {
                console.say(needed);
            }
        }
        let is_allowed = decision.is_allowed() || !granted.is_empty();
        Ok(if is_allowed {
            Exit::Done
        } else {
            Exit::Refused
        })
    }

    fn request(&self) -> Request<'_> {
        let Wanted {
            publish,
            subscribe,
            store,
            http,
        } = &self.wanted;
        if let Some(topic) = publish {
            let content = match &self.event {
                Some(event) => Content::Event(event.as_bytes()),
                None => Content::Other,
            };
            let topic = topic.as_bytes();
            return Request::Publish { topic, content };
        }
        if let Some(topic) = subscribe {
            let topic = topic.as_bytes();
            return Request::Subscribe { topic };
        }
        if let Some(name) = store {
            let name = name.as_bytes();
            // One of three, says the command line.
            let operation = Operation::parse(&self.operation).unwrap_or(Operation::Clear);
            return Request::Store { name, operation };
        }
        let path = http.as_deref().unwrap_or_default().as_bytes();
        Request::Http { path }
    }

    /// What a subscription that is wider than the right becomes.
    fn granted(&self, policy: &Policy, decision: &Decision) -> Vec<String> {
        let rights = policy.rights(&self.principal);
        let (Some(topic), Some(rights), false) =
            (&self.wanted.subscribe, rights, decision.is_allowed())
        else {
            return Vec::new();
        };
        let granted = rights.granted([&topic.as_str().into()]).topics;
        granted.iter().map(ToString::to_string).collect()
    }

    /// The rule that is missing.
    fn needed(&self, denial: &Denial) -> Option<String> {
        let Wanted {
            publish,
            subscribe,
            store,
            http,
        } = &self.wanted;
        match denial {
            Denial::NoRule => {
                let line = if let Some(topic) = publish {
                    format!("publish = [{topic:?}]")
                } else if let Some(topic) = subscribe {
                    format!("subscribe = [{topic:?}]")
                } else if let Some(name) = store {
                    format!("stores = {{ {name:?} = {:?} }}", self.operation)
                } else {
                    format!("http = [{:?}]", http.as_deref().unwrap_or_default())
                };
                Some(format!("a role of it would need: {line}"))
            }
            Denial::NoEventRule => Some(match &self.event {
                Some(event) => format!(
                    "a role that may publish there would need: events.publish = [{event:?}]"
                ),
                None => "only events may be published there: name one with --event".to_owned(),
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use broker::policy::TopicRight;

    use super::*;

    #[test]
    fn the_example_makes_sense_and_does_what_it_says() {
        let file = PolicyFile::parse(EXAMPLE, "example.toml").unwrap();
        assert_eq!(file.warnings, [""; 0]);
        let policy = file.policy;
        let rights = policy.rights("spiffe://corp/soar").unwrap();
        assert_eq!(rights.topic(b"/netcontrol/x"), TopicRight::ByEvent);
        let add = Request::Publish {
            topic: b"/netcontrol/x",
            content: Content::Event(b"NetControl::add_rule"),
        };
        assert!(rights.decide(&add).is_allowed());
        let researcher = policy.rights("researcher").unwrap();
        let granted = researcher.granted([&"".into()]).topics;
        assert_eq!(granted, ["zeek/logs/dns".into()]);
        assert!(policy.rights("siem").is_some());
    }
}
