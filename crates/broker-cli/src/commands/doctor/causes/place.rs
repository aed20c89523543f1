//! What is wrong with the name, the port, and what speaks there.

use std::time::Duration;

use broker::proto::peer_url::{PeerUrl, Scheme};

use super::super::report::Finding;
use super::super::speech::{Speaker, ZmtpGreeting};
use super::ZEEK_WEB_SOCKET_PORT;
use crate::outcome::Exit;

pub(in super::super) fn unknown_name(host: &str, error: &str) -> Finding {
    let is_port_inside = host.rsplit_once(':').is_some_and(|(name, port)| {
        !name.contains(':') && port.chars().all(|sign| sign.is_ascii_digit())
    });
    let finding = Finding::new(
        "name-unknown",
        Exit::Unreachable,
        format!("`{host}` does not resolve: {error}"),
        "Neither the name servers nor the hosts file of this machine know that name, so there is \
         no address to connect to.",
        &[],
    );
    if is_port_inside {
        finding.remedy("a host has no port in it: give HOST:PORT once")
    } else {
        finding
            .remedy(format!(
                "check the spelling; `getent hosts {host}` asks the same resolver"
            ))
            .remedy("give the numeric address instead of the name")
    }
}

pub(in super::super) fn port_closed(place: &str, port: u16) -> Finding {
    Finding::new(
        "port-closed",
        Exit::Unreachable,
        format!("nothing listens at {place}: the connection was refused"),
        "The machine is there and answers, but no process has that port open. The peer does not \
         run, listens at another port, or listens at another address of its machine, such as \
         127.0.0.1 only.",
        &[],
    )
    .remedy(format!(
        "on the machine itself, `ss -ltnp 'sport = :{port}'` shows what listens there"
    ))
    .remedy("in Zeek, `Broker::listen(\"0.0.0.0\")` opens port 9999, the default of clients")
}

pub(in super::super) fn port_filtered(place: &str, limit: Duration) -> Finding {
    Finding::new(
        "port-filtered",
        Exit::Unreachable,
        format!("no answer from {place} within {} s", limit.as_secs_f64()),
        "Packets disappear: a firewall drops them, the machine is down, or the process there does \
         not accept connections any more, so that its queue of new ones is full.",
        &[
            "ask whoever runs the firewall between here and there to open the port",
            "try it from the machine itself: if that works, it is the network",
        ],
    )
}

pub(in super::super) fn no_route(place: &str, error: &str) -> Finding {
    Finding::new(
        "no-route",
        Exit::Unreachable,
        format!("there is no way to {place}: {error}"),
        "This machine, or a router on the way, knows no way to that address.",
        &["check the address, the network this machine is in, and whether a VPN is needed"],
    )
}

pub(in super::super) fn cannot_connect(place: &str, error: &str) -> Finding {
    Finding::new(
        "port-failed",
        Exit::Unreachable,
        format!("cannot connect to {place}: {error}"),
        "The system refuses to make the connection.",
        &["check the address, and the limits of this process"],
    )
}

pub(in super::super) fn hangs_up(place: &str) -> Finding {
    Finding::new(
        "port-refused",
        Exit::Refused,
        format!("{place} accepts connections and closes them at once, without a word"),
        "Something does listen, and refuses this machine: a firewall or TCP wrapper that allows \
         certain addresses only, or a load balancer or container port with no working process \
         behind it.",
        &[
            "check who is allowed to connect, and whether the process behind the port runs",
            "look into the log of the peer: it may say why",
        ],
    )
}

/// The cluster that was found instead of a native peer.
pub(in super::super) fn zero_mq_cluster(
    host: &str,
    where_found: &[String],
    greeting: Option<&ZmtpGreeting>,
    web_socket: bool,
) -> Finding {
    let web = format!("ws://{}:{ZEEK_WEB_SOCKET_PORT}", bracketed(host));
    let finding = Finding::new(
        "zeromq-cluster",
        Exit::Refused,
        format!(
            "this cluster uses ZeroMQ; use zmq://... or {web} (ZeroMQ is at {})",
            where_found.join(", ")
        ),
        "Clusters of Zeek 8.1 and newer exchange events over ZeroMQ and have no native port. \
         Zeek's WebSocket server speaks for them to other programs.",
        &[],
    );
    let finding = match greeting {
        None => finding,
        Some(greeting) => {
            let (major, minor) = greeting.version;
            let socket = match &greeting.socket {
                Some(socket) => format!("socket type {socket}, "),
                None => String::new(),
            };
            let security = match greeting.mechanism.as_str() {
                "NULL" => "not encrypted".to_owned(),
                "CURVE" => "encrypted with CURVE, so it wants keys".to_owned(),
                other => format!("security {other}"),
            };
            finding.detail(format!("{socket}ZMTP {major}.{minor}, {security}"))
        }
    };
    if web_socket {
        finding.remedy(format!(
            "a WebSocket server answers there: broker sub -u {web} ..."
        ))
    } else {
        finding.remedy(format!(
            "no WebSocket server answers at port {ZEEK_WEB_SOCKET_PORT}: have the manager call \
             `Cluster::listen_websocket`, or ask for its port"
        ))
    }
}

/// Something else speaks there than the URL says.
pub(in super::super) fn other_protocol(
    url: &PeerUrl,
    speaker: &Speaker,
    encrypted: bool,
) -> Finding {
    let place = url.authority();
    let wanted = match url.scheme {
        Scheme::Native => "a native peer",
        Scheme::WebSocket => "a WebSocket server",
        Scheme::SecureWebSocket => "a WebSocket server with TLS",
        Scheme::ZeroMq => "a ZeroMQ proxy",
        Scheme::Nats => "a NATS server",
    };
    let under = match (encrypted, url.scheme) {
        (true, _) => " under TLS",
        (false, Scheme::SecureWebSocket) => " without TLS",
        (false, Scheme::Native | Scheme::WebSocket | Scheme::ZeroMq | Scheme::Nats) => "",
    };
    let finding = |code, is, means: &str, remedies: &[&str]| {
        let what = format!("{place} is {is}{under}, not {wanted}");
        Finding::new(code, Exit::Refused, what, means, remedies)
    };
    match speaker {
        Speaker::WebSocket => {
            let scheme = if encrypted { "wss" } else { "ws" };
            finding(
                "is-websocket",
                "a WebSocket server".to_owned(),
                "The port takes WebSocket clients and speaks JSON. The address has to say so.",
                &[],
            )
            .remedy(format!("use {scheme}://{place}"))
        }
        Speaker::Broker => finding(
            "is-native",
            "a native Broker peer".to_owned(),
            "The port takes native peers, which speak another protocol than WebSocket clients. \
             Zeek has a port of its own for each.",
            &[],
        )
        .remedy(if encrypted {
            format!("use zeek://{place}")
        } else {
            format!("use zeek://{place} with --no-tls")
        })
        .remedy("use the port of the WebSocket server"),
        Speaker::Http { status, server } => {
            let name = server.as_deref().unwrap_or("without a name");
            finding(
                "is-http",
                format!("a web server ({name}), which answered `{status}`"),
                "It is a web server without Zeek's WebSocket at that path: the port of metrics \
                 and status, a proxy, or another service.",
                &["check the port: native peers are at 9999, WebSocket servers of Zeek at 27759"],
            )
        }
        Speaker::Ssh(banner) => finding(
            "is-ssh",
            format!("an SSH server (`{banner}`)"),
            "That is where people log in; the peer is at another port.",
            &["check the port; a native peer is at 9999 unless told otherwise"],
        ),
        Speaker::Tls => finding(
            "is-other",
            "something that speaks TLS".to_owned(),
            "What it speaks inside is not known.",
            &["check the address and the port"],
        ),
        Speaker::ZeroMq | Speaker::Other(_) => {
            let said = match speaker {
                Speaker::Other(said) => said.as_str(),
                _ => "ZeroMQ",
            };
            finding(
                "is-other",
                format!("something else, which says `{said}`"),
                "Another service listens at that port.",
                &["check the address and the port"],
            )
        }
    }
}

pub(in super::super) fn silent(place: &str) -> Finding {
    Finding::new(
        "silent",
        Exit::Unreachable,
        format!("{place} accepts connections and says nothing, whatever it is asked"),
        "The process there is stopped or too busy to answer, so that only its system accepts; or \
         it waits for a protocol that is neither Broker, TLS, HTTP nor ZeroMQ.",
        &[
            "look whether the peer works: its state and load in `top`, its log",
            "check the port",
        ],
    )
}

/// An address with the brackets that one of IPv6 has in a URL.
fn bracketed(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}
