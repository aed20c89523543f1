//! Requests: an action and the thing that it is about.

/// What a message is, as far as rules about events go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    /// An event of Zeek with this name.
    Event(&'a [u8]),
    /// Anything else: a log record, an identifier, a value of another program.
    Other,
    /// It begins as a message of Zeek does and is none; readers may disagree about what it is.
    Malformed,
}

/// What can be done to a data store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Attach a clone, which gets the content, or read.
    Read,
    /// Change single entries; who may do that may read.
    Write,
    /// Remove all entries at once; who may do that may do the others.
    Clear,
}

impl Operation {
    /// The name that policy files use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Clear => "clear",
        }
    }

    /// The operation of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Read, Self::Write, Self::Clear]
            .into_iter()
            .find(|it| it.name() == name)
    }
}

/// What a principal wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Publish a message.
    Publish {
        /// Under this topic.
        topic: &'a [u8],
        /// One event at a time where it is a batch.
        content: Content<'a>,
    },
    /// Get all messages whose topics begin like that.
    Subscribe {
        /// The beginning.
        topic: &'a [u8],
    },
    /// Use a data store.
    Store {
        /// Its name.
        name: &'a [u8],
        /// What for.
        operation: Operation,
    },
    /// Ask the HTTP server.
    Http {
        /// The path, without the query.
        path: &'a [u8],
    },
}

/// The kinds of requests, for counts and records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Action {
    /// Becoming a principal.
    Connect,
    /// See [`Request::Publish`].
    Publish,
    /// See [`Request::Subscribe`].
    Subscribe,
    /// See [`Request::Store`].
    Store(Operation),
    /// See [`Request::Http`].
    Http,
}

impl Action {
    /// The name in records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
            Self::Store(operation) => operation.name(),
            Self::Http => "http",
        }
    }
}

impl<'a> Request<'a> {
    /// What is wanted.
    pub const fn action(&self) -> Action {
        match self {
            Self::Publish { .. } => Action::Publish,
            Self::Subscribe { .. } => Action::Subscribe,
            Self::Store { operation, .. } => Action::Store(*operation),
            Self::Http { .. } => Action::Http,
        }
    }

    /// What it is about: a topic, a store, a path.
    pub const fn resource(&self) -> &'a [u8] {
        match self {
            Self::Publish { topic, .. } | Self::Subscribe { topic } => topic,
            Self::Store { name, .. } => name,
            Self::Http { path } => path,
        }
    }
}
