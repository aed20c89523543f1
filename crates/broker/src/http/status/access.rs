//! Permissions of HTTP requests: who asks, and what may be answered.
//!
//! Each request becomes a principal by its token, or as `anonymous`. WebSocket clients are judged where
//! they are served, as their tokens may come as subprotocols.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Request};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use broker_proto::http::upgrade::PATH as WEB_SOCKET_PATH;
use broker_proto::json::server::{ACL_DENIED, error};
use broker_proto::policy::{Operation, Request as Wanted};
use tokio::time::sleep;

use super::web_socket::Connection;
use crate::core::gate::{FAILURE_DELAY, Pass, Unknown};
use crate::core::shared::Shared;

/// What a request may be answered, if there is a policy.
#[derive(Debug, Clone, Default)]
pub(super) struct Access(Option<Arc<Pass>>);

impl Access {
    /// Whether entries of a store may be shown.
    pub(super) fn may_read(&self, store: &str) -> bool {
        self.may(&Wanted::Store {
            name: store.as_bytes(),
            operation: Operation::Read,
        })
    }

    /// Whether messages of a topic may be shown.
    pub(super) fn may_see(&self, topic: &str) -> bool {
        self.may(&Wanted::Subscribe {
            topic: topic.as_bytes(),
        })
    }

    /// Resolves when the path may not be asked for any more: the policy is another one, or the token is
    /// over. Never without a policy.
    pub(super) fn over(&self, path: &'static str) -> impl Future<Output = ()> + Send + 'static {
        let pass = self.0.as_deref().cloned();
        async move {
            let Some(mut pass) = pass else {
                return std::future::pending().await;
            };
            let wanted = Wanted::Http {
                path: path.as_bytes(),
            };
            loop {
                pass.stale().await;
                if pass.refresh().is_err() || !pass.decide(&wanted) {
                    return;
                }
            }
        }
    }

    fn may(&self, wanted: &Wanted<'_>) -> bool {
        self.0.as_ref().is_none_or(|pass| pass.decide(wanted))
    }
}

impl<S: Sync> FromRequestParts<S> for Access {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_default())
    }
}

/// Makes a request that of a principal, and decides about its path.
pub(super) async fn judge(
    shared: &Shared,
    port: u16,
    request: &mut Request,
) -> Result<(), Response> {
    let Some(gate) = &shared.gate else {
        return Ok(());
    };
    let path = request.uri().path();
    if path == WEB_SOCKET_PATH {
        return Ok(());
    }
    let Some(connection) = request.extensions().get::<Connection>() else {
        return Err(denied(path));
    };
    let (shown, remote) = (&*connection.shown, connection.remote.ip());
    let pass = match gate.admit(bearer(request.headers()), shown, remote, port) {
        Ok(pass) => pass,
        Err(Unknown::Unauthorized) => return Err(delay(unauthorized()).await),
        Err(Unknown::TooMany) => return Err(too_many()),
    };
    // A rule is about what a path means, however it is written.
    let is_allowed = [path.as_bytes(), &decoded(path)]
        .into_iter()
        .all(|path| pass.decide(&Wanted::Http { path }));
    if !is_allowed {
        return Err(denied(path));
    }
    request
        .extensions_mut()
        .insert(Access(Some(Arc::new(pass))));
    Ok(())
}

/// The token of a request; of several fields none counts.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let first = fields.next()?;
    if fields.next().is_some() {
        return Some("");
    }
    let (scheme, token) = first.to_str().ok()?.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case("Bearer ").then(|| token.trim())
}

/// A path without its `%` escapes.
fn decoded(path: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let digits = behind.split_at_checked(2);
        let byte = digits.filter(|_| *first == b'%').and_then(|(digits, _)| {
            let digits = std::str::from_utf8(digits).ok()?;
            let is_number = digits.bytes().all(|it| it.is_ascii_hexdigit());
            is_number.then_some(())?;
            u8::from_str_radix(digits, 16).ok()
        });
        match byte {
            Some(byte) => {
                bytes.push(byte);
                rest = behind.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    bytes
}

/// Has those that failed to prove who they are wait for the answer.
pub(super) async fn delay(answer: Response) -> Response {
    if answer.status() == StatusCode::UNAUTHORIZED {
        sleep(FAILURE_DELAY).await;
    }
    answer
}

fn unauthorized() -> Response {
    let way = HeaderValue::from_static("Bearer");
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    let fields = [(WWW_AUTHENTICATE, way), (CONTENT_TYPE, kind)];
    (StatusCode::UNAUTHORIZED, fields, "A token is needed.").into_response()
}

fn too_many() -> Response {
    let later = HeaderValue::from_static("60");
    let fields = [(RETRY_AFTER, later)];
    (StatusCode::TOO_MANY_REQUESTS, fields, "Too many attempts.").into_response()
}

/// The answer about something that may not be had: an error as WebSocket clients get it.
pub(super) fn denied(what: &str) -> Response {
    let text = error(ACL_DENIED, what) + "\n";
    (
        StatusCode::FORBIDDEN,
        [(CONTENT_TYPE, "application/json")],
        text,
    )
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_without_their_escapes() {
        for (path, expected) in [
            ("/v1/stats", "/v1/stats"),
            ("/v1/%73tats", "/v1/stats"),
            ("/%2", "/%2"),
            ("/%zz%", "/%zz%"),
            ("/%+1", "/%+1"),
        ] {
            assert_eq!(decoded(path), expected.as_bytes());
        }
    }
}
