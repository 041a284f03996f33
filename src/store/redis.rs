//! Redis or Valkey: one multiplexed connection that is made at its first use and made anew when it breaks, and a
//! subscription on a connection of its own.
//!
//! A command is sent once. Only where the connection was refused, so that nothing was sent, is it tried again: after Redis
//! comes back the first command would otherwise meet the memory of the last failure.

use std::error::Error;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig, PubSub};
use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, RedisError, TlsCertificates};
use rustls::CertificateError;
use secrecy::ExposeSecret;
use tokio::sync::OnceCell;

use crate::fault::Fault;
use crate::settings::RedisSettings;

/// Redis, by its settings.
#[derive(Debug)]
pub(super) struct Redis {
    client: Client,
    connection: OnceCell<ConnectionManager>,
    prefix: String,
    timeout: Duration,
}

impl Redis {
    /// Reads the settings; `None` where they name no URL.
    ///
    /// # Errors
    /// Where a file of theirs can't be read. The text never holds the URL.
    pub(super) fn open(settings: &RedisSettings) -> Result<Option<Self>, Fault> {
        let Some(url) = &settings.url else { return Ok(None) };
        let refused = |error: RedisError| Fault::broken(format_args!("redis.url: {}", described(&error)));
        let client = match &settings.tls_ca_file {
            None => Client::open(url.expose_secret()).map_err(refused)?,
            Some(file) => {
                let authority = std::fs::read(file)
                    .map_err(|error| Fault::broken(format_args!("redis.tls_ca_file: {}: {error}", file.display())))?;
                let certificates = TlsCertificates { client_tls: None, root_cert: Some(authority) };
                Client::build_with_tls(url.expose_secret(), certificates).map_err(refused)?
            }
        };
        Ok(Some(Self {
            client,
            connection: OnceCell::new(),
            prefix: settings.key_prefix.clone(),
            timeout: settings.timeout.as_duration(),
        }))
    }

    /// Looks whether Redis is who the settings say.
    ///
    /// # Errors
    /// Where it shows a certificate that isn't trusted: no waiting mends that. [`Fault::Unavailable`] where it is away.
    pub(super) async fn greet(&self) -> Result<(), Fault> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(Some(self.timeout));
        let greeted = within(self.timeout, async {
            let mut connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
            redis::cmd("PING").query_async::<()>(&mut connection).await
        });
        greeted.await?.map_err(|error| match distrusted(&error) {
            Some(why) => Fault::broken(format_args!(
                "redis.url: the server's certificate isn't trusted: {why}; redis.tls_ca_file names the authority that \
                 issued it"
            )),
            None => unavailable(error),
        })
    }

    /// The full name of a key or channel.
    pub(super) fn name(&self, kind: &str) -> String {
        format!("{}:{kind}", self.prefix)
    }

    /// The full name of a key, whose own part may be any octets.
    pub(super) fn key(&self, kind: &str, own: &[u8]) -> Vec<u8> {
        [self.prefix.as_bytes(), b":", kind.as_bytes(), b":", own].concat()
    }

    /// Runs a command.
    ///
    /// # Errors
    /// [`Fault::Unavailable`] where Redis is away, doesn't answer in time, or refuses the command. Then the command may
    /// have been carried out or not.
    pub(super) async fn run<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Fault> {
        // The manager wants to be made within the runtime.
        let connection = self.connection.get_or_try_init(|| async {
            let config = ConnectionManagerConfig::new()
                .set_number_of_retries(0)
                .set_connection_timeout(Some(self.timeout))
                .set_response_timeout(Some(self.timeout));
            ConnectionManager::new_lazy_with_config(self.client.clone(), config)
        });
        let mut connection = connection.await.map_err(unavailable)?.clone();
        let answer = within(self.timeout, async {
            match command.query_async(&mut connection).await {
                Err(error) if error.is_connection_refusal() => command.query_async(&mut connection).await,
                answer => answer,
            }
        });
        answer.await?.map_err(unavailable)
    }

    /// Hears of what is published on a channel, on a new connection.
    ///
    /// # Errors
    /// As [`Redis::run`].
    pub(super) async fn subscribe(&self, channel: &str) -> Result<PubSub, Fault> {
        let subscribed = within(self.timeout, async {
            let mut subscription = self.client.get_async_pubsub().await?;
            subscription.subscribe(channel).await?;
            Ok(subscription)
        });
        subscribed.await?.map_err(unavailable)
    }
}

async fn within<T>(timeout: Duration, work: impl Future<Output = T>) -> Result<T, Fault> {
    tokio::time::timeout(timeout, work).await.map_err(|_| Fault::Unavailable("Redis doesn't answer in time".to_owned()))
}

fn unavailable(error: RedisError) -> Fault {
    Fault::Unavailable(format!("Redis: {}", described(&error)))
}

/// What is wrong with the certificate that was shown, where that is what went wrong.
fn distrusted(error: &RedisError) -> Option<CertificateError> {
    let cause = error.source()?.downcast_ref::<Arc<dyn Error + Send + Sync>>()?;
    match cause.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(why) => Some(why.clone()),
        _ => None,
    }
}

/// What went wrong. The text of a refused command may repeat what was sent, so of a refusal only its code is told.
fn described(error: &RedisError) -> String {
    match error.code() {
        Some(code) => code.to_owned(),
        None => error.to_string(),
    }
}
