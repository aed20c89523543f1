//! Why no peering came about: a look at what is there, and where it differs from this side.

use std::net::SocketAddr;

use broker::EndpointId;
use broker::proto::peer_url::Scheme;

use super::{Stop, Walk, stop};
use crate::commands::doctor::causes::{self, Mode};
use crate::commands::doctor::probe;
use crate::commands::doctor::report::Step;
use crate::commands::doctor::speech::Speaker;

impl Walk<'_, '_> {
    /// Why no peering came about; `text` is what the library says.
    pub(super) async fn explain(
        &mut self,
        address: SocketAddr,
        own_id: EndpointId,
        text: &str,
    ) -> Result<(), Stop> {
        let place = address.to_string();
        let found = probe::look(address, &self.manner()).await;
        let Some(speaker) = &found.speaker else {
            if found.tls.is_some() {
                return self.explain_tls(address, own_id, &found, text).await;
            }
            return stop(
                Step::Protocol,
                if found.hangs_up {
                    causes::hangs_up(&place)
                } else {
                    causes::silent(&place)
                },
            );
        };
        if *speaker == Speaker::ZeroMq && self.url.scheme == Scheme::ZeroMq {
            self.report.good(Step::Protocol, "ZeroMQ", &[])?;
            if text.contains("CURVE") && !text.contains("connected but never ready") {
                return stop(Step::Tls, causes::curve_keys(text));
            }
            if text.contains("connected but never ready: the proxy") {
                let text = "both ports accept connections";
                self.report.good(Step::Handshake, text, &[])?;
                return stop(Step::Flow, causes::proxy_stands_still(&place));
            }
            return stop(Step::Handshake, causes::handshake_failed(text));
        }
        if *speaker == Speaker::ZeroMq {
            let web = self.web_socket(&address).await;
            let greeting = found.zero_mq.as_ref();
            let cluster = causes::zero_mq_cluster(&self.url.name, &[place], greeting, web);
            return stop(Step::Protocol, cluster);
        }
        #[cfg(not(feature = "tls"))]
        if *speaker == Speaker::Tls {
            return stop(Step::Tls, causes::no_tls_here());
        }
        let encrypted = found.tls.is_some();
        let is_expected = match self.url.scheme {
            Scheme::Native => *speaker == Speaker::Broker,
            Scheme::WebSocket => *speaker == Speaker::WebSocket && !encrypted,
            Scheme::SecureWebSocket => *speaker == Speaker::WebSocket && encrypted,
            // That one is told above.
            Scheme::ZeroMq | Scheme::Nats => false,
        };
        if !is_expected {
            let finding = causes::other_protocol(self.url, speaker, encrypted);
            return stop(Step::Protocol, finding);
        }
        if encrypted {
            return self.explain_tls(address, own_id, &found, text).await;
        }
        if !self.is_native() {
            self.report
                .good(Step::Protocol, "WebSocket, without TLS", &[])?;
            return stop(Step::Handshake, causes::handshake_failed(text));
        }
        self.report
            .good(Step::Protocol, "native Broker without TLS", &[])?;
        match self.mode() {
            Mode::Plain => self.explain_handshake(address, own_id, false, text).await,
            ours => stop(Step::Tls, causes::other_mode(ours, Mode::Plain)),
        }
    }

    /// Why the handshake of native peers fails.
    pub(super) async fn explain_handshake(
        &mut self,
        address: SocketAddr,
        own_id: EndpointId,
        encrypted: bool,
        text: &str,
    ) -> Result<(), Stop> {
        let id = self.command.id.unwrap_or(own_id);
        let answer = probe::say_hello(address, id, encrypted, &self.manner()).await;
        stop(
            Step::Handshake,
            match answer {
                None => causes::no_answer(&address.to_string(), self.command.timeout),
                Some(answer) => {
                    causes::answered(&answer, id).unwrap_or_else(|| causes::handshake_failed(text))
                }
            },
        )
    }

    #[cfg(not(feature = "tls"))]
    async fn explain_tls(
        &mut self,
        _: SocketAddr,
        _: EndpointId,
        _: &probe::Found,
        _: &str,
    ) -> Result<(), Stop> {
        stop(Step::Tls, causes::no_tls_here())
    }
}
