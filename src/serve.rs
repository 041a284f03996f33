//! Listening: plain or TLS, with an orderly end.

use std::convert::Infallible;
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::response::{Redirect, Response};
use axum::{Router, ServiceExt};
use axum_server::Handle;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use http::{Request, Uri};
use hyper::body::Incoming;
use socket2::SockRef;
use tower::Service;

use crate::account::setup_link;
use crate::app::{App, claim_database};
use crate::clock::Clock;
use crate::fault::Fault;
use crate::http::connection_limit::{Limited, silence};
use crate::http::shedding::Shedding;
use crate::router::router;
use crate::settings::{Settings, SettingsError};
use crate::telemetry;

/// Time between the end of listening and that of idle connections, in milliseconds.
const LAST_REQUESTS_MILLIS: u64 = 500;
/// Connections that the system holds until they are accepted, as far as it allows so many.
const BACKLOG: i32 = 4096;
/// Connections to the address of the metrics that may be open at once.
const METRICS_CONNECTIONS: usize = 64;

/// Serves until SIGTERM or SIGINT. At SIGHUP it asks `read_anew` for the settings and takes over what can change while it
/// runs, and the TLS certificate; the rest waits for the next start.
///
/// # Errors
/// A message for the operator.
pub async fn run(
    settings: Settings,
    read_anew: impl Fn() -> Result<Settings, SettingsError> + Send + 'static,
) -> Result<(), Fault> {
    telemetry::start(&settings);
    for warning in settings.warnings() {
        tracing::warn!("{warning}");
    }
    let listen = settings.server.listen;
    // All addresses before any is served: one that is taken keeps the server from starting, and who finds one open finds
    // the others open too.
    let listener = bind(listen)?;
    let redirect_listener = settings.server.http_redirect_listen.map(bind).transpose()?;
    let metrics_listener = settings.metrics.listen.map(bind).transpose()?;
    // Until all is written that is to be.
    let sole_server = claim_database(&settings).await?;
    let app = App::start(settings, Clock::system()).await?;
    app.start_background();
    if !app.store.has_users().await? {
        let link = setup_link::make(&app).await?;
        tracing::info!(%link, "there is no user yet: open this link once to make the first admin");
    }
    tracing::info!(address = %listen, issuer = app.settings.issuer(), "keyward is ready");
    let certificate = certificate(&app.settings).await?;
    tokio::spawn(reload_on_signal(Arc::clone(&app), read_anew, certificate.clone()));
    let handle = Handle::new();
    let listening = listener.try_clone().map_err(Fault::broken)?;
    tokio::spawn(stop_on_signal(Arc::clone(&app), listening, handle.clone()));
    let main = listen_on(Arc::clone(&app), listener, handle.clone(), certificate);
    let redirecting = async {
        match redirect_listener {
            Some(listener) => redirect_to_https(Arc::clone(&app), listener, handle.clone()).await,
            None => Ok(()),
        }
    };
    let counting = async {
        match metrics_listener {
            Some(listener) => tell_metrics(Arc::clone(&app), listener, handle.clone()).await,
            None => Ok(()),
        }
    };
    let served = tokio::try_join!(main, redirecting, counting).map(|_| ());
    app.flush_audit().await;
    drop(sole_server);
    served
}

/// Serves on this listener until the handle ends it. With certificate and key in the settings it speaks TLS.
///
/// # Errors
/// Where the certificate can't be read or the listener fails.
pub async fn serve(app: Arc<App>, listener: TcpListener, handle: Handle<SocketAddr>) -> Result<(), Fault> {
    let certificate = certificate(&app.settings).await?;
    listen_on(app, listener, handle, certificate).await
}

/// Certificate and key of the settings; `None` where plain http is spoken.
async fn certificate(settings: &Settings) -> Result<Option<RustlsConfig>, Fault> {
    let (Some(certificate), Some(key)) = (&settings.server.tls_certificate_file, &settings.server.tls_key_file) else {
        return Ok(None);
    };
    install_provider();
    let config = RustlsConfig::from_pem_file(certificate, key).await;
    config
        .map(Some)
        .map_err(|error| Fault::broken(format_args!("{} and {}: {error}", certificate.display(), key.display())))
}

async fn listen_on(
    app: Arc<App>,
    listener: TcpListener,
    handle: Handle<SocketAddr>,
    tls: Option<RustlsConfig>,
) -> Result<(), Fault> {
    let timeout = app.settings.server.request_timeout.as_duration();
    let most = app.settings.server.max_connections;
    match tls {
        Some(config) => {
            listener.set_nonblocking(true).map_err(Fault::broken)?;
            let service =
                ServiceExt::<Request<Incoming>>::into_make_service_with_connect_info::<SocketAddr>(answering(&app)?);
            let mut server = axum_server::from_tcp_rustls(listener, config).map_err(Fault::broken)?.handle(handle);
            bound(server.http_builder(), timeout);
            let limited =
                |acceptor: RustlsAcceptor| Limited::new(acceptor.handshake_timeout(silence(timeout)), most, timeout);
            server.map(limited).serve(service).await.map_err(Fault::broken)
        }
        None => listen_plainly(listener, handle, answering(&app)?, most, timeout).await,
    }
}

/// The service that answers, behind the door that sheds.
fn answering(app: &Arc<App>) -> Result<Shedding<Router>, Fault> {
    if app.settings.server.load_shedding {
        app.admission.measure().map_err(Fault::broken)?;
    }
    Shedding::new(app, router(app))
}

/// Speaks plain http on a listener.
async fn listen_plainly<S>(
    listener: TcpListener,
    handle: Handle<SocketAddr>,
    answering: S,
    most: usize,
    timeout: Duration,
) -> Result<(), Fault>
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    listener.set_nonblocking(true).map_err(Fault::broken)?;
    let service = ServiceExt::<Request<Incoming>>::into_make_service_with_connect_info::<SocketAddr>(answering);
    let mut server = axum_server::from_tcp(listener).map_err(Fault::broken)?.handle(handle);
    bound(server.http_builder(), timeout);
    server.map(|acceptor| Limited::new(acceptor, most, timeout)).serve(service).await.map_err(Fault::broken)
}

/// Answers plain http by sending browsers to the public URL (requirement WB-4).
async fn redirect_to_https(app: Arc<App>, listener: TcpListener, handle: Handle<SocketAddr>) -> Result<(), Fault> {
    let timeout = app.settings.server.request_timeout.as_duration();
    let most = app.settings.server.max_connections;
    let origin = app.settings.public_url.origin().to_owned();
    let redirecting = Router::new().fallback(move |uri: Uri| {
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        // 308 keeps the method; a secret that was posted in the clear is lost either way.
        std::future::ready(Redirect::permanent(&format!("{origin}{path}")))
    });
    listen_plainly(listener, handle, redirecting, most, timeout).await
}

fn bind(address: SocketAddr) -> Result<TcpListener, Fault> {
    let failed = |error| Fault::broken(format_args!("{address}: {error}"));
    let listener = TcpListener::bind(address).map_err(failed)?;
    // The standard library asks for room for 128: who comes beyond that waits for a second or three to try again.
    SockRef::from(&listener).listen(BACKLOG).map_err(failed)?;
    Ok(listener)
}

/// Answers GET `/metrics` on an address of its own.
async fn tell_metrics(app: Arc<App>, listener: TcpListener, handle: Handle<SocketAddr>) -> Result<(), Fault> {
    let timeout = app.settings.server.request_timeout.as_duration();
    let text = move || {
        let headers = [(http::header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
        std::future::ready((headers, app.metrics.text()))
    };
    let telling = Router::new().route("/metrics", axum::routing::get(text));
    listen_plainly(listener, handle, telling, METRICS_CONNECTIONS, timeout).await
}

/// Bounds what one connection may take: the size of its headers and the time in which they must come.
fn bound<E>(builder: &mut hyper_util::server::conn::auto::Builder<E>, timeout: Duration) {
    builder.http1().timer(hyper_util::rt::TokioTimer::new()).header_read_timeout(timeout).max_buf_size(64 * 1024);
    // A peer of HTTP/2 that doesn't answer to a ping has gone, and its place is given to another.
    builder
        .http2()
        .timer(hyper_util::rt::TokioTimer::new())
        .max_header_list_size(64 * 1024)
        .keep_alive_interval(timeout)
        .keep_alive_timeout(timeout);
}

/// The one cryptography provider; a second call changes nothing.
pub fn install_provider() {
    // An error says that it is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

async fn reload_on_signal(
    app: Arc<App>,
    read_anew: impl Fn() -> Result<Settings, SettingsError> + Send + 'static,
    certificate: Option<RustlsConfig>,
) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut hangup) = signal(SignalKind::hangup()) else {
        tracing::error!("SIGHUP can't be received: a changed setting needs a new start");
        return;
    };
    while hangup.recv().await.is_some() {
        // A few small files, at an operator's word.
        let settings = match read_anew() {
            Ok(settings) => settings,
            Err(error) => {
                tracing::error!(%error, "the settings were not read anew: those that the server started with stay");
                continue;
            }
        };
        match app.take_settings(settings) {
            Ok(waiting) if waiting.is_empty() => {}
            Ok(waiting) => tracing::warn!(settings = waiting.join(", "), "these settings wait for the next start"),
            Err(error) => {
                tracing::error!(%error, "the settings were not taken over: those that the server runs with stay");
                continue;
            }
        }
        for warning in app.settings.warnings() {
            tracing::warn!("{warning}");
        }
        if !telemetry::set_level(&app.settings.log.level) {
            tracing::error!("the level of the log could not be changed");
        }
        let files = (&app.settings.server.tls_certificate_file, &app.settings.server.tls_key_file);
        if let (Some(running), (Some(chain), Some(key))) = (&certificate, files)
            && let Err(error) = running.reload_from_pem_file(chain, key).await
        {
            tracing::error!(%error, "the certificate was not read anew: the one in use stays");
            continue;
        }
        tracing::info!("the settings and the TLS certificate were read anew");
    }
}

/// Stops in an orderly way at the first signal and at once at the second.
///
/// At SIGTERM the server denies its readiness and goes on serving for `server.drain_delay`, so that load balancers look
/// elsewhere before it stops listening; Ctrl-C doesn't wait for that. Then it stops listening, a moment before connections
/// are closed: one that was just made has not brought its request yet. Then running requests get `server.shutdown_grace`.
async fn stop_on_signal(app: Arc<App>, listener: TcpListener, handle: Handle<SocketAddr>) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals can't be received: the server ends only by being killed");
        return;
    };
    let delay = tokio::select! {
        _ = terminate.recv() => app.settings.server.drain_delay.as_secs(),
        _ = interrupt.recv() => 0,
    };
    let orderly = async {
        app.lifecycle.drain();
        tracing::info!(seconds = delay, "stopping: no longer ready; requests are still served");
        app.clock.sleep_until(app.clock.now().plus_seconds(delay)).await;
        tracing::info!("stopping: running requests are finished");
        // Further connections are refused, and nobody who is refused has sent anything.
        if let Err(error) = SockRef::from(&listener).shutdown(Shutdown::Both) {
            tracing::warn!(%error, "the server goes on listening until its connections are closed");
        }
        if delay > 0 {
            app.clock.sleep_millis(LAST_REQUESTS_MILLIS).await;
        }
        handle.graceful_shutdown(Some(app.settings.server.shutdown_grace.as_duration()));
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = orderly => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::warn!("stopping at once: running requests are broken off");
    handle.shutdown();
}
