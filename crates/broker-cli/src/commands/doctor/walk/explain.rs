//! Why no peering came about: a look at what is there, and where it differs from this side.

use std::net::SocketAddr;

use broker::EndpointId;
use broker::proto::peer_url::Scheme;

use super::{Stop, Walk, certificates, stop};
use crate::commands::doctor::causes::{self, Mode};
use crate::commands::doctor::probe::{self, Found};
use crate::commands::doctor::report::{Finding, Step};
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
                match found.hangs_up {
                    true => causes::hangs_up(&place),
                    false => causes::silent(&place),
                },
            );
        };
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
    async fn explain_handshake(
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
        _: &Found,
        _: &str,
    ) -> Result<(), Stop> {
        stop(Step::Tls, causes::no_tls_here())
    }

    /// Why no peering came about with something that speaks TLS.
    #[cfg(feature = "tls")]
    async fn explain_tls(
        &mut self,
        address: SocketAddr,
        own_id: EndpointId,
        found: &Found,
        text: &str,
    ) -> Result<(), Stop> {
        use broker::TlsRefusal;
        let Some(probe) = &found.tls else {
            return stop(Step::Tls, causes::handshake_failed(text));
        };
        let protocol = match &found.speaker {
            Some(Speaker::Broker) => "native Broker over TLS",
            Some(Speaker::WebSocket) => "WebSocket, over TLS",
            _ => "TLS; what is inside is not known yet",
        };
        self.report.good(Step::Protocol, protocol, &[])?;
        let (ours, theirs) = (
            self.mode(),
            match probe.chain.is_empty() {
                true => Mode::Anonymous,
                false => Mode::Certificates,
            },
        );
        let with_chain = |finding: Finding| {
            let rows = certificates(&probe.chain);
            rows.into_iter().fold(finding, Finding::detail)
        };
        if let Some(TlsRefusal::Other(reason)) = &probe.refusal
            && probe.chain.is_empty()
        {
            return stop(Step::Tls, causes::tls_failed(&address.to_string(), reason));
        }
        if self.is_native() && ours != theirs {
            return stop(Step::Tls, with_chain(causes::other_mode(ours, theirs)));
        }
        if let Some(distrust) = &probe.distrust {
            let flaw = self.flaw(distrust, probe);
            return stop(Step::Tls, with_chain(causes::distrusted(&flaw)));
        }
        match &probe.refusal {
            Some(TlsRefusal::CertificateDemanded) => {
                stop(Step::Tls, with_chain(causes::certificate_demanded()))
            }
            Some(TlsRefusal::CertificateRefused(reason)) => {
                stop(Step::Tls, with_chain(causes::certificate_refused(reason)))
            }
            Some(TlsRefusal::Other(reason)) => {
                stop(Step::Tls, causes::tls_failed(&address.to_string(), reason))
            }
            _ => {
                if let Some(session) = &probe.session {
                    self.encrypted(session, &probe.chain)?;
                }
                match self.is_native() {
                    true => self.explain_handshake(address, own_id, true, text).await,
                    false => stop(Step::Handshake, causes::handshake_failed(text)),
                }
            }
        }
    }

    #[cfg(feature = "tls")]
    fn flaw(&self, distrust: &broker::Distrust, probe: &broker::TlsProbe) -> causes::Flaw {
        use broker::Distrust;
        use causes::Flaw;
        let own = probe.chain.first();
        match distrust {
            Distrust::Expired => Flaw::Expired {
                days_ago: own.and_then(|own| own.days_left).map(|days| -days),
            },
            Distrust::NotYetValid => Flaw::NotYetValid,
            Distrust::UnknownAuthority => Flaw::UnknownAuthority {
                issuer: probe
                    .chain
                    .last()
                    .map(|last| last.issuer.clone())
                    .unwrap_or_default(),
            },
            Distrust::WrongName => Flaw::WrongName {
                asked: self.url.name.clone(),
                names: own.map(|own| own.names.clone()).unwrap_or_default(),
            },
            Distrust::Other(reason) => Flaw::Other(reason.clone()),
            other => Flaw::Other(format!("{other:?}")),
        }
    }
}
