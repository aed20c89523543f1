//! Components of the log: parts of the endpoint, each with a verbosity of its own.

/// A part of the endpoint, or the program around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Component {
    /// Everything that is not one of the others.
    Core,
    /// Connections with native peers.
    Peer,
    /// Data stores and their files.
    Store,
    /// WebSocket clients and servers.
    WebSocket,
    /// The server for metrics and status.
    Http,
    /// The program that the endpoint is part of.
    App,
}

/// Where modules belong; the first that fits counts.
const MODULES: &[(&str, Component)] = &[
    ("broker::http::status", Component::Http),
    ("broker::http", Component::WebSocket),
    ("broker::transport::websocket", Component::WebSocket),
    ("broker::peer", Component::Peer),
    ("broker::net", Component::Peer),
    ("broker::transport", Component::Peer),
    ("broker::store", Component::Store),
    ("broker::sqlite", Component::Store),
    ("broker", Component::Core),
    ("broker_data", Component::Core),
    ("broker_proto", Component::Core),
    ("broker_zeek", Component::Core),
];

impl Component {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Core,
        Self::Peer,
        Self::Store,
        Self::WebSocket,
        Self::Http,
        Self::App,
    ];

    /// The name that configuration and lines of the log use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Peer => "peer",
            Self::Store => "store",
            Self::WebSocket => "websocket",
            Self::Http => "http",
            Self::App => "app",
        }
    }

    /// The component with that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }

    pub(super) const fn index(self) -> usize {
        self as usize
    }

    /// The component of a module, which is what `tracing` calls the target.
    pub(super) fn of_target(target: &str) -> Self {
        let fits = |module: &str| {
            let rest = target.strip_prefix(module);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        };
        let known = MODULES.iter().find(|(module, _)| fits(module));
        known.map_or(Self::App, |(_, component)| *component)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_belong_to_components() {
        for (target, component) in [
            ("broker", Component::Core),
            ("broker::core::control", Component::Core),
            ("broker::peer::task", Component::Peer),
            ("broker::net::tls", Component::Peer),
            ("broker::sqlite", Component::Store),
            ("broker::http::server", Component::WebSocket),
            ("broker::http::status::server", Component::Http),
            (
                "broker::transport::websocket::peering",
                Component::WebSocket,
            ),
            ("broker_proto::store", Component::Core),
            ("broker_cli::commands::node", Component::App),
            ("brokerage", Component::App),
        ] {
            assert_eq!(Component::of_target(target), component, "{target}");
        }
    }

    #[test]
    fn every_module_of_the_list_is_there() {
        let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        for (module, _) in MODULES {
            if let Some(inner) = module.strip_prefix("broker::") {
                let path = here.join(inner.replace("::", "/"));
                assert!(
                    path.is_dir() || path.with_extension("rs").is_file(),
                    "{module}"
                );
            }
        }
    }

    #[test]
    fn names_are_read_back() {
        for component in Component::ALL {
            assert_eq!(Component::parse(component.name()), Some(component));
        }
        assert_eq!(Component::parse("cores"), None);
    }
}
