//! `GET /v1/messages/json`: WebSocket clients on the port of metrics and status, where that is asked
//! for.
//!
//! The request is judged as on a port of its own; the library then gives the connection back, and the
//! client is served as any other. Until it has subscribed it keeps its place among the connections of
//! the server. Spec: websocket 1.1.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::Request;
use axum::http::header::{
    CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT,
    SEC_WEBSOCKET_PROTOCOL, UPGRADE,
};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use broker_proto::http::head::RequestHead;
use broker_proto::http::upgrade::{Rejection, Upgrade};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::sync::OwnedSemaphorePermit;
use tungstenite::handshake::derive_accept_key;

use crate::core::gate::Pass;
use crate::core::shared::{Gauge, Shared};
use crate::http::handshake::Upgraded;
use crate::http::server::{Server, converse};
use crate::lock::Lock;
use crate::net::certificate_names::Shown;
use crate::net::socket::Socket;

/// What a request knows about its connection.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    pub(super) remote: SocketAddr,
    /// Names that its certificate proves.
    pub(super) shown: Arc<Shown>,
    /// The place among the connections of the server, until a client takes it along.
    pub(super) place: Arc<Lock<Option<OwnedSemaphorePermit>>>,
}

/// Judges a request, and has the connection served as a WebSocket if it is fine.
pub(super) fn answer(
    shared: &Arc<Shared>,
    server: &Arc<Server>,
    connection: &Connection,
    mut request: Request,
) -> Response {
    let remote = connection.remote;
    let (upgrade, client, pass) = match judge(server, &request, connection) {
        Ok(judged) => judged,
        Err(rejection) => {
            shared.web_sockets.count_refusal();
            tracing::info!(event = "web-socket-refused", %remote, cause = %rejection);
            return refusal(&rejection);
        }
    };
    let place = connection.place.lock().take();
    let Some(place) = place else {
        // A connection is given away once; behind that no request is read from it.
        return refusal(&Rejection::NotWebSocket);
    };
    let answer = accepted(&upgrade);
    let upgraded = Upgraded {
        request: upgrade,
        read_ahead: Vec::new(),
        client,
        pass,
    };
    let connection = hyper::upgrade::on(&mut request);
    let counted = Gauge::enter(shared);
    let (shared, server) = (shared.clone(), server.clone());
    let runtime = shared.runtime.clone();
    runtime.spawn(async move {
        serve(&shared, server, connection, remote, upgraded, place).await;
        drop(counted);
    });
    answer
}

/// What a request asks for, and a place among the clients.
fn judge(
    server: &Server,
    request: &Request,
    connection: &Connection,
) -> Result<(Upgrade, OwnedSemaphorePermit, Option<Pass>), Rejection> {
    let target = request.uri().path_and_query();
    let fields = request.headers().iter();
    let head = RequestHead::from_parts(
        request.method().as_str(),
        target.map_or("", |it| it.as_str()),
        fields.map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes())),
    )?;
    let upgrade = Upgrade::of(&head, server.options.origins.as_deref())?;
    let pass = server.admit(&upgrade, &connection.shown, connection.remote)?;
    let client = server.clients.clone().try_acquire_owned();
    Ok((upgrade, client.map_err(|_| Rejection::TooMany)?, pass))
}

fn accepted(upgrade: &Upgrade) -> Response {
    let mut fields = HeaderMap::new();
    fields.insert(UPGRADE, HeaderValue::from_static("websocket"));
    fields.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    // The digits of base 64.
    if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(upgrade.key.as_bytes())) {
        fields.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    if let Some(protocol) = upgrade.protocol {
        fields.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    }
    (StatusCode::SWITCHING_PROTOCOLS, fields).into_response()
}

fn refusal(rejection: &Rejection) -> Response {
    let (status, _) = rejection.status();
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    let mut fields = HeaderMap::new();
    fields.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    for (name, value) in rejection.fields() {
        if let Ok(name) = HeaderName::from_bytes(name.as_bytes()) {
            fields.insert(name, HeaderValue::from_static(value));
        }
    }
    (status, fields, rejection.to_string()).into_response()
}

async fn serve(
    shared: &Arc<Shared>,
    server: Arc<Server>,
    connection: OnUpgrade,
    remote: SocketAddr,
    upgraded: Upgraded,
    place: OwnedSemaphorePermit,
) {
    let given = tokio::select! {
        given = connection => given,
        () = shared.until_shutdown() => return,
    };
    let parts = match given.map(hyper::upgrade::Upgraded::downcast::<TokioIo<Socket>>) {
        Ok(Ok(parts)) => parts,
        Ok(Err(_)) => return,
        Err(error) => {
            tracing::debug!(event = "web-socket-refused", %remote, %error);
            return;
        }
    };
    let socket = parts.io.into_inner();
    socket.set_liveness(server.liveness(shared));
    let upgraded = Upgraded {
        read_ahead: parts.read_buf.to_vec(),
        ..upgraded
    };
    converse(shared, server, socket, remote, upgraded, place).await;
}
