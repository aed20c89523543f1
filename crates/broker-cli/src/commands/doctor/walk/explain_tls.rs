//! Why no peering came about with something that speaks TLS.

use std::net::SocketAddr;

use broker::{Distrust, EndpointId, TlsProbe, TlsRefusal};

use super::{Stop, Walk, certificates, stop};
use crate::commands::doctor::causes::{self, Flaw, Mode};
use crate::commands::doctor::probe::Found;
use crate::commands::doctor::report::{Finding, Step};
use crate::commands::doctor::speech::Speaker;

impl Walk<'_, '_> {
    /// Why no peering came about with something that speaks TLS.
    pub(super) async fn explain_tls(
        &mut self,
        address: SocketAddr,
        own_id: EndpointId,
        found: &Found,
        text: &str,
    ) -> Result<(), Stop> {
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
            if probe.chain.is_empty() {
                Mode::Anonymous
            } else {
                Mode::Certificates
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
                if self.is_native() {
                    self.explain_handshake(address, own_id, true, text).await
                } else {
                    stop(Step::Handshake, causes::handshake_failed(text))
                }
            }
        }
    }

    fn flaw(&self, distrust: &Distrust, probe: &TlsProbe) -> Flaw {
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
