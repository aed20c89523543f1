//! The HTTP server: connections, their limits, who may ask, which path is what.
//!
//! A stranger gets one of few connections, a bounded buffer and a deadline for its request; a reader
//! that does not read is cut off by the system, as a peer is.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::{Extension, Path, Query, Request, State};
use axum::http::header::{
    ACCEPT, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD,
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, ORIGIN,
    REFERRER_POLICY, RETRY_AFTER, VARY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, http};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde_json::Value;
use subtle::ConstantTimeEq;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::access::{self, Access};
use super::disks::Disks;
use super::documents::{self, PAGE_SIZE, PAGE_SIZE_MAX, Page};
use super::stream::{self, Listeners};
use super::web_socket::{self, Connection};
use super::{Snapshot, entries, metrics, round_trips, samples};
use broker_proto::http::upgrade::PATH as WEB_SOCKET_PATH;

use crate::config::{HttpOptions, WebSocketOptions, WebSocketTls};
use crate::core::listeners::{Listener, ListenerKind};
use crate::core::pending::Resolver;
use crate::core::shared::Gauge;
use crate::error::Error;
use crate::http::server::Server as WebSocketServer;
use crate::lock::Lock;
use crate::net::certificate_names::shown_on;
use crate::net::listener;
use crate::net::socket::{self, Liveness, Socket};
#[cfg(feature = "tls")]
use crate::net::tls::{Role, Tls};
use crate::store::Node;

/// Time for a request's head, from the answer before. The first one has it from the connection on, with
/// TLS and all.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Time after which a reader that takes nothing is given up.
const UNREAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of a request that are held.
const REQUEST_BYTES_MAX: usize = 16 * 1024;

/// What all connections of one listener have in common.
#[derive(Debug)]
struct Server {
    node: Node,
    options: HttpOptions,
    /// Whether only this machine can reach it: then a request has to name it as this machine, or it
    /// comes from a page of somebody else that had its name point here.
    is_loopback: bool,
    /// Where requests come in.
    port: u16,
    listeners: Arc<Listeners>,
    /// The right to walk through a store, for one request at a time.
    store_walks: Arc<Semaphore>,
    /// The right to take a sample.
    samples: Semaphore,
    disks: Disks,
    /// WebSocket clients, if they are served here.
    web_socket: Option<Arc<WebSocketServer>>,
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
}

/// Binds a listener and starts a server on it; resolves to its port.
pub(crate) fn start(
    node: &Node,
    address: String,
    port: u16,
    options: HttpOptions,
    resolver: Resolver<Result<u16, Error>>,
) {
    let node = node.clone();
    let runtime = node.shared.runtime.clone();
    runtime.spawn(async move {
        let bound = listener::bind(&address, port).await;
        resolver.resolve(run(&node, options, bound, address, port));
    });
}

/// Starts a server on a socket that is bound already; returns its port.
pub(crate) fn start_given(
    node: &Node,
    listener: std::net::TcpListener,
    options: HttpOptions,
) -> Result<u16, Error> {
    let bound = {
        let _runtime = node.shared.runtime.enter();
        listener::take_over(listener)
    };
    run(node, options, bound, listener::GIVEN.to_owned(), 0)
}

/// Starts the server that the options of the endpoint ask for, if any.
pub(crate) fn start_configured(node: &Node) -> Result<(), Error> {
    let options = node.shared.options.metrics.clone();
    let Some(port) = options.port else {
        return Ok(());
    };
    let address = options.address.clone();
    let bound = {
        let _runtime = node.shared.runtime.enter();
        listener::bind_now(&address, port)
    };
    run(node, options, bound, address, port).map(|_| ())
}

fn run(
    node: &Node,
    options: HttpOptions,
    bound: io::Result<TcpListener>,
    address: String,
    port: u16,
) -> Result<u16, Error> {
    options.check()?;
    if options.token.is_some() && node.shared.gate.is_some() {
        return Err(Error::Option {
            name: "http",
            cause: "`token` and a policy exclude each other: make a token of the policy".to_owned(),
        });
    }
    let kind = ListenerKind::Http;
    let bound = bound.and_then(|listener| Ok((listener.local_addr()?, listener)));
    let (bound, listener) =
        bound.map_err(|cause| node.shared.cannot_listen(kind, address, port, cause))?;
    let web_socket = options.web_socket.clone().map(|options| {
        let options = WebSocketOptions {
            // What is encrypted is the connection, before it is known what it is for.
            tls: WebSocketTls::Disabled,
            ..options
        };
        WebSocketServer::new(&node.shared, options).map(|mut server| {
            server.port = bound.port();
            Arc::new(server)
        })
    });
    let connections_max = options.connections_max.min(Semaphore::MAX_PERMITS);
    let server = Arc::new(Server {
        #[cfg(feature = "tls")]
        tls: options.tls.as_ref().map(Tls::for_web_clients).transpose()?,
        node: node.clone(),
        is_loopback: bound.ip().is_loopback(),
        port: bound.port(),
        listeners: Arc::default(),
        store_walks: Arc::new(Semaphore::new(1)),
        samples: Semaphore::new(samples::SAMPLES_MAX),
        disks: Disks::new(options.writes.clone()),
        web_socket: web_socket.transpose()?,
        options,
    });
    #[cfg(not(feature = "tls"))]
    if server.options.tls.is_some() {
        let cause = "this build has no TLS".to_owned();
        return Err(Error::Tls { cause });
    }
    let mut control = node.shared.lock_control();
    let task = accept(server.clone(), listener, connections_max);
    if control.add_listener(Listener {
        kind,
        address: bound,
        task: node.shared.runtime.spawn(task),
        #[cfg(feature = "tls")]
        tls: server.tls.clone(),
    }) {
        tracing::info!(event = "http-listening", address = %bound);
        Ok(bound.port())
    } else {
        Err(Error::ShutDown)
    }
}

async fn accept(server: Arc<Server>, listener: TcpListener, connections_max: usize) {
    let connections = Arc::new(Semaphore::new(connections_max));
    let router = router(server.clone());
    let start = |stream, remote, permit| {
        let counted = Gauge::enter(&server.node.shared);
        let (server, router) = (server.clone(), router.clone());
        let runtime = server.node.shared.runtime.clone();
        runtime.spawn(async move {
            tokio::select! {
                () = serve(&server, router, stream, remote, permit) => {}
                () = server.node.shared.until_shutdown() => {}
            }
            drop(counted);
        });
    };
    tokio::join!(
        listener::accept(listener, connections, Duration::ZERO, start),
        stream::run(&server.node, &server.listeners, &server.disks),
        round_trips::run(&server.node),
    );
}

async fn serve(
    server: &Server,
    router: Router,
    stream: TcpStream,
    remote: SocketAddr,
    place: OwnedSemaphorePermit,
) {
    let liveness = Liveness {
        dead_after: UNREAD_TIMEOUT,
        unread_counts: true,
    };
    socket::configure(&stream, liveness);
    let deadline = Instant::now() + REQUEST_TIMEOUT;
    #[cfg(feature = "tls")]
    let socket = match &server.tls {
        None => Socket::Plain(stream),
        Some(tls) => {
            let handshake = tls.handshake(stream, Role::Acceptor);
            let cause = match timeout_at(deadline, handshake).await {
                Ok(Ok(stream)) => Ok(stream),
                Ok(Err(error)) => Err(error.cause),
                Err(_) => Err("the TLS handshake took too long".to_owned()),
            };
            match cause {
                Ok(stream) => Socket::Tls(Box::new(stream)),
                Err(cause) => {
                    if let Some(gate) = &server.node.shared.gate {
                        gate.refused(remote.ip(), &cause);
                    }
                    tracing::info!(event = "http-refused", %remote, cause);
                    return;
                }
            }
        }
    };
    #[cfg(not(feature = "tls"))]
    let socket = {
        let _no_tls = server;
        Socket::Plain(stream)
    };
    let connection = Connection {
        remote,
        shown: Arc::new(shown_on(&socket)),
        place: Arc::new(Lock::new(Some(place))),
    };
    serve_requests(router, socket, connection, deadline).await;
}

/// Serves requests to the end of the connection, if the first of them has come by a time.
async fn serve_requests(router: Router, socket: Socket, connection: Connection, deadline: Instant) {
    let remote = connection.remote;
    let router = TowerToHyperService::new(router);
    let has_asked = Arc::new(AtomicBool::new(false));
    let asked = has_asked.clone();
    let service = service_fn(move |mut request: http::Request<hyper::body::Incoming>| {
        asked.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(connection.clone());
        router.call(request)
    });
    let mut served = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(REQUEST_TIMEOUT)
            .max_buf_size(REQUEST_BYTES_MAX)
            .serve_connection(TokioIo::new(socket), service)
            .with_upgrades()
    );
    let served = match timeout_at(deadline, &mut served).await {
        Ok(served) => served,
        Err(_) if has_asked.load(Ordering::Relaxed) => served.await,
        Err(_) => {
            tracing::debug!(event = "http-connection-ended", %remote, "no request came in time");
            return;
        }
    };
    if let Err(error) = served {
        tracing::debug!(event = "http-connection-ended", %remote, %error);
    }
}

fn router(server: Arc<Server>) -> Router {
    let router = if server.web_socket.is_some() {
        Router::new().route(WEB_SOCKET_PATH, get(answer_web_socket))
    } else {
        Router::new()
    };
    let router = if server.options.samples {
        router.route("/v1/topics/{topic}/sample", get(answer_sample))
    } else {
        router.route("/v1/topics/{topic}/sample", get(refuse_sample))
    };
    router
        .route("/", get(|| page(&INDEX)))
        .route("/page.css", get(|| page(&STYLE)))
        .route("/page.js", get(|| page(&SCRIPT)))
        .route("/metrics", get(answer_metrics))
        .route("/v1/status/json", get(answer_status))
        .route("/v1/stats", get(answer_stats))
        .route(
            "/v1/peers",
            get(|server, page| list(server, page, Snapshot::of, documents::peers)),
        )
        .route(
            "/v1/topics",
            get(|server, page| list(server, page, Snapshot::with_topics, documents::topics)),
        )
        .route(
            "/v1/subscribers",
            get(|server, page| list(server, page, Snapshot::of, documents::subscribers)),
        )
        .route(
            "/v1/stores",
            get(|server, page| list(server, page, Snapshot::of, documents::stores)),
        )
        .route("/v1/stores/{name}", get(answer_entries))
        .route(
            "/v1/clients",
            get(|server, page| list(server, page, Snapshot::of, documents::clients)),
        )
        .route("/v1/principals", get(answer_principals))
        .route("/v1/denials", get(answer_denials))
        .route("/v1/openapi.json", get(|| page(&DESCRIPTION)))
        .route("/v1/events", get(answer_events))
        .route(stream::PATH, get(answer_stream))
        .route("/healthz", get(answer_health))
        .route("/readyz", get(answer_readiness))
        .fallback(|| async { refusal(StatusCode::NOT_FOUND, "There is nothing at this path.") })
        .layer(middleware::from_fn_with_state(server.clone(), guard))
        .with_state(server)
}

/// Looks at every request before it is answered, and at every answer.
async fn guard(State(server): State<Arc<Server>>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let is_page = matches!(path, "/" | "/page.css" | "/page.js");
    // Health is for load balancers; the page itself says nothing, and asks for the token.
    let is_for_all = is_page || matches!(path, "/healthz" | "/readyz");
    let origin = server.listed_origin(request.headers());
    let mut response = if server.is_loopback && !names_this_machine(request.headers()) {
        let text = "This server is for this machine: its name is localhost.";
        refusal(StatusCode::MISDIRECTED_REQUEST, text)
    } else if origin.is_some() && is_preflight(&request) {
        preflight()
    } else if !is_for_all && !server.lets_in(request.headers()) {
        let mut response = refusal(StatusCode::UNAUTHORIZED, "A token is needed.");
        let way = HeaderValue::from_static("Bearer");
        response.headers_mut().insert(WWW_AUTHENTICATE, way);
        response
    } else if is_for_all {
        next.run(request).await
    } else {
        match access::judge(&server.node.shared, server.port, &mut request).await {
            Ok(()) => next.run(request).await,
            Err(refused) => refused,
        }
    };
    let policy = if is_page {
        PAGE_POLICY
    } else {
        "default-src 'none'; frame-ancestors 'none'"
    };
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, policy),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    if !server.options.origins.is_empty() {
        let by_origin = HeaderValue::from_static("origin");
        response.headers_mut().append(VARY, by_origin);
    }
    if let Some(origin) = origin {
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    response
}

/// Whether a browser asks if a script from elsewhere may ask.
fn is_preflight(request: &Request) -> bool {
    request.method() == Method::OPTIONS
        && request
            .headers()
            .contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// Tells a browser what scripts of a listed origin may ask for: everything, with a token.
fn preflight() -> Response {
    let fields = [
        (ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD"),
        (ACCESS_CONTROL_ALLOW_HEADERS, "authorization, last-event-id"),
        (ACCESS_CONTROL_MAX_AGE, "600"),
    ];
    (StatusCode::NO_CONTENT, fields).into_response()
}

/// A file that is part of the program.
struct File {
    kind: &'static str,
    text: &'static str,
}

static INDEX: File = File {
    kind: "text/html; charset=utf-8",
    text: include_str!("page/index.html"),
};

static STYLE: File = File {
    kind: "text/css; charset=utf-8",
    text: include_str!("page/page.css"),
};

static SCRIPT: File = File {
    kind: "text/javascript; charset=utf-8",
    text: include_str!("page/page.js"),
};

static DESCRIPTION: File = File {
    kind: "application/json",
    text: include_str!("openapi.json"),
};

/// The page needs its own files and answers, and nothing from elsewhere.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                           connect-src 'self'; img-src data:; base-uri 'none'; \
                           form-action 'none'; frame-ancestors 'none'";

async fn page(File { kind, text }: &'static File) -> Response {
    ([(CONTENT_TYPE, *kind)], *text).into_response()
}

impl Server {
    /// The origin of a request, if scripts from there may read the answer.
    fn listed_origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(ORIGIN)?;
        let known = self.options.origins.iter();
        let mut known = known.map(|it| it.as_bytes());
        known
            .any(|it| it.eq_ignore_ascii_case(origin.as_bytes()))
            .then(|| origin.clone())
    }

    /// Whether a request has the token, if one is needed.
    fn lets_in(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.options.token else {
            return true;
        };
        let given = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
        let given = given.and_then(|it| it.strip_prefix(b"Bearer "));
        given.is_some_and(|given| given.ct_eq(token.as_bytes()).into())
    }
}

/// Whether the `Host` of a request is a name of this machine that nobody else can give away.
fn names_this_machine(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST).and_then(|host| host.to_str().ok()) else {
        return false;
    };
    let Ok(authority) = host.parse::<http::uri::Authority>() else {
        return false;
    };
    let name = authority.host();
    let address = name.trim_start_matches('[').trim_end_matches(']');
    let address: Result<IpAddr, _> = address.parse();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|it| it.is_loopback())
}

fn refusal(status: StatusCode, text: &'static str) -> Response {
    (status, [(CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

fn json(status: StatusCode, document: &Value) -> Response {
    let mut text = document.to_string();
    text.push('\n');
    (status, [(CONTENT_TYPE, "application/json")], text).into_response()
}

async fn answer_metrics(State(server): State<Arc<Server>>, headers: HeaderMap) -> Response {
    let accept = headers.get(ACCEPT).and_then(|it| it.to_str().ok());
    let snapshot = Snapshot::of(&server.node);
    let (format, text) = if accept.is_some_and(metrics::wants_open_metrics) {
        (metrics::OPEN_METRICS, metrics::open_metrics(snapshot))
    } else {
        (metrics::TEXT, metrics::text(snapshot))
    };
    match text {
        Ok(text) => ([(CONTENT_TYPE, format)], text).into_response(),
        Err(_) => refusal(
            StatusCode::INTERNAL_SERVER_ERROR,
            "The metrics cannot be written.",
        ),
    }
}

async fn answer_status(State(server): State<Arc<Server>>) -> Response {
    let snapshot = Snapshot::of(&server.node);
    json(StatusCode::OK, &documents::status(&snapshot))
}

async fn answer_stats(State(server): State<Arc<Server>>) -> Response {
    let snapshot = Snapshot::of(&server.node);
    json(StatusCode::OK, &documents::stats(&snapshot))
}

async fn answer_entries(
    State(server): State<Arc<Server>>,
    access: Access,
    Path(name): Path<String>,
    Query(query): Wanted,
) -> Response {
    if !access.may_read(&name) {
        return access::denied(&name);
    }
    let wanted = match entries::Wanted::of_query(&query) {
        Ok(wanted) => wanted,
        Err(text) => return wrong_query(text),
    };
    // A walk through a store may take a while, and may wait for a disk: one at a time, elsewhere.
    let Ok(walk) = server.store_walks.clone().acquire_owned().await else {
        return refusal(StatusCode::SERVICE_UNAVAILABLE, "The server ends.");
    };
    let runtime = server.node.shared.runtime.clone();
    let walked = runtime.spawn_blocking(move || {
        let page = entries::page(&server.node, &name, &wanted);
        drop(walk);
        page
    });
    match walked.await {
        Ok((status, document)) => json(status, &document),
        Err(_) => refusal(
            StatusCode::INTERNAL_SERVER_ERROR,
            "The store cannot be read.",
        ),
    }
}

async fn answer_events(State(server): State<Arc<Server>>) -> Response {
    json(StatusCode::OK, &documents::events(&server.node))
}

async fn answer_principals(State(server): State<Arc<Server>>, Query(wanted): Wanted) -> Response {
    match part_of_list(&wanted) {
        Ok(page) => json(StatusCode::OK, &documents::principals(&server.node, &page)),
        Err(text) => wrong_query(text),
    }
}

async fn answer_denials(State(server): State<Arc<Server>>) -> Response {
    json(StatusCode::OK, &documents::denials(&server.node))
}

async fn answer_stream(
    State(server): State<Arc<Server>>,
    access: Access,
    Query(query): Wanted,
    headers: HeaderMap,
) -> Response {
    stream::answer(
        &server.node,
        &server.listeners,
        &server.disks,
        &access,
        &query,
        &headers,
    )
    .await
}

async fn answer_health(State(server): State<Arc<Server>>) -> Response {
    let (status, document) = documents::health(&Snapshot::of(&server.node));
    json(status, &document)
}

async fn answer_readiness(State(server): State<Arc<Server>>) -> Response {
    let snapshot = server.disks.snapshot(&server.node).await;
    let (status, document) = documents::readiness(&snapshot);
    json(status, &document)
}

async fn answer_sample(
    State(server): State<Arc<Server>>,
    access: Access,
    Path(topic): Path<String>,
    Query(query): Wanted,
) -> Response {
    if !access.may_see(&topic) {
        return access::denied(&topic);
    }
    let wanted = match samples::Wanted::of_query(&query) {
        Ok(wanted) => wanted,
        Err(text) => return wrong_query(text),
    };
    let Ok(_right) = server.samples.try_acquire() else {
        let mut response = refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            "Too many samples are being taken.",
        );
        let soon = HeaderValue::from_static("5");
        response.headers_mut().insert(RETRY_AFTER, soon);
        return response;
    };
    let (status, document) = samples::take(&server.node.shared, &topic, wanted).await;
    json(status, &document)
}

async fn refuse_sample() -> Response {
    let text = "This endpoint shows no messages: its owner has to allow samples.";
    refusal(StatusCode::FORBIDDEN, text)
}

async fn answer_web_socket(
    State(server): State<Arc<Server>>,
    Extension(connection): Extension<Connection>,
    request: Request,
) -> Response {
    match &server.web_socket {
        Some(web_socket) => {
            let shared = &server.node.shared;
            let answer = web_socket::answer(shared, web_socket, &connection, request);
            access::delay(answer).await
        }
        None => refusal(StatusCode::NOT_FOUND, "There is nothing at this path."),
    }
}

/// An answer to parameters that make no sense.
fn wrong_query(text: String) -> Response {
    let kind = [(CONTENT_TYPE, "text/plain; charset=utf-8")];
    (StatusCode::BAD_REQUEST, kind, text).into_response()
}

/// What a request says about the page it wants, before anything is believed.
type Wanted = Query<std::collections::BTreeMap<String, String>>;

async fn list(
    State(server): State<Arc<Server>>,
    Query(wanted): Wanted,
    snapshot: fn(&Node) -> Snapshot,
    document: fn(&Snapshot, &Page) -> Value,
) -> Response {
    match part_of_list(&wanted) {
        Ok(page) => {
            let snapshot = snapshot(&server.node);
            json(StatusCode::OK, &document(&snapshot, &page))
        }
        Err(text) => wrong_query(text),
    }
}

fn part_of_list(wanted: &std::collections::BTreeMap<String, String>) -> Result<Page, String> {
    let mut page = Page {
        limit: PAGE_SIZE,
        after: None,
    };
    for (name, value) in wanted {
        match name.as_str() {
            "limit" => {
                let limit = value.parse().ok();
                page.limit = limit
                    .filter(|it| (1..=PAGE_SIZE_MAX).contains(it))
                    .ok_or_else(|| {
                        format!("`limit` has to be a number from 1 to {PAGE_SIZE_MAX}.\n")
                    })?;
            }
            "cursor" => page.after = Some(value.clone()),
            _ => return Err("The parameters are `limit` and `cursor`.\n".to_owned()),
        }
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// A connection whose first request has to come within a time; the other end of it, and how
    /// long it was served, by the clock of the runtime.
    async fn serve_for(
        first: Duration,
        client: impl AsyncFnOnce(&mut TcpStream),
    ) -> (Duration, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let (socket, remote) = listener.accept().await.unwrap();
        let connection = Connection {
            remote,
            shown: Arc::new(Ok(Vec::new())),
            place: Arc::default(),
        };
        let router = Router::new().route("/", get(|| async { "here" }));
        let began = Instant::now();
        let deadline = began + first;
        client(&mut stream).await;
        serve_requests(router, Socket::Plain(socket), connection, deadline).await;
        let took = began.elapsed();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        (took, answer)
    }

    #[tokio::test(start_paused = true)]
    async fn a_stranger_has_one_deadline_for_encryption_and_request() {
        let left = Duration::from_secs(3);
        let (took, answer) = serve_for(left, async |_| {}).await;
        assert!(took >= left && took < REQUEST_TIMEOUT, "{took:?}");
        assert!(answer.is_empty());
        // Half of a request is none.
        let half = async |stream: &mut TcpStream| {
            stream.write_all(b"GET / HTTP/1.1\r\nHo").await.unwrap();
        };
        let (took, answer) = serve_for(left, half).await;
        assert!(took >= left && took < REQUEST_TIMEOUT, "{took:?}");
        assert!(answer.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_asked_may_ask_again_after_that_deadline() {
        let left = Duration::from_secs(3);
        let ask = async |stream: &mut TcpStream| {
            let request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
            stream.write_all(request).await.unwrap();
        };
        let (took, answer) = serve_for(left, ask).await;
        assert!(took >= REQUEST_TIMEOUT, "{took:?}");
        assert!(answer.ends_with(b"here"), "{answer:?}");
    }
}
