//! The master key out of AWS Secrets Manager: a secret's text, or a field of it where it is a JSON object
//! (`GetSecretValue`). Region and credentials come as AWS's library finds them everywhere: environment, profile, a
//! container's or the machine's own. It reads the environment for that, which elsewhere only the settings do.
//!
//! Leaves out: versions other than the current one, and KMS by itself.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::config::interceptors::{
    BeforeDeserializationInterceptorContextMut, BeforeTransmitInterceptorContextRef,
};
use aws_sdk_secretsmanager::config::{Builder, ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_secretsmanager::operation::get_secret_value::{GetSecretValueError, GetSecretValueOutput};
use aws_smithy_types::body::SdkBody;
use http_body_util::{LengthLimitError, Limited};
use serde_json::value::RawValue;
use url::Url;
use zeroize::Zeroizing;

use super::kept::{ATTEMPTS, MOST_BYTES, NotRead, field_of};
use crate::outbound::operator::root_cause;
use crate::settings::{AwsSettings, SecretReference, is_this_machine};

/// What is said of an answer that can't be understood.
const FOREIGN: &str = "its answer isn't one of AWS Secrets Manager; look at aws.endpoint_url";
/// Time for a connection, where that for an attempt isn't shorter.
const CONNECT_TIME: Duration = Duration::from_secs(3);

/// Fetches the text of a secret, or that of its field.
///
/// # Errors
/// Why there is none.
pub(super) async fn fetch(
    settings: &AwsSettings,
    secret: &SecretReference,
    time: Duration,
) -> Result<Zeroizing<String>, NotRead> {
    let attempt = time / ATTEMPTS;
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIME.min(attempt))
        .operation_attempt_timeout(attempt)
        .operation_timeout(time)
        .build();
    let mut found = aws_config::defaults(BehaviorVersion::latest())
        .timeout_config(timeouts)
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS));
    if let Some(region) = settings.region.as_deref().or_else(|| region_of(secret.name())) {
        found = found.region(Region::new(region.to_owned()));
    }
    let found = found.load().await;
    if found.region().is_none() {
        return Err(NotRead::Unusable("no region is known; set aws.region".to_owned()));
    }
    let mut config = Builder::from(&found).interceptor(Guard);
    if let Some(url) = &settings.endpoint_url {
        config = config.endpoint_url(url);
    }
    let client = Client::from_conf(config.build());
    let answer = client.get_secret_value().secret_id(secret.name()).send().await.map_err(|error| sorted(&error))?;
    text_of(answer, secret.field())
}

/// The region in an ARN (`arn:aws:secretsmanager:<region>:<account>:secret:<name>`).
fn region_of(name: &str) -> Option<&str> {
    name.strip_prefix("arn:")?.split(':').nth(2).filter(|region| !region.is_empty())
}

fn text_of(answer: GetSecretValueOutput, field: Option<&str>) -> Result<Zeroizing<String>, NotRead> {
    let octets = answer.secret_binary.map(|octets| Zeroizing::new(octets.into_inner()));
    let text = match (answer.secret_string, octets) {
        (Some(text), _) => Zeroizing::new(text),
        (None, Some(octets)) => std::str::from_utf8(&octets)
            .map(|text| Zeroizing::new(text.to_owned()))
            .map_err(|_| NotRead::NotText("the secret isn't a text"))?,
        (None, None) => return Err(NotRead::Missing),
    };
    let Some(field) = field else { return Ok(text) };
    let fields: BTreeMap<String, &RawValue> = serde_json::from_str(&text)
        .map_err(|_| NotRead::NotText("the secret isn't a JSON object, so that it has no fields"))?;
    field_of(&fields, field)
}

/// What an error of the library is for us. Its own `Debug` is never shown: it can hold the answer, and so the secret.
fn sorted(error: &SdkError<GetSecretValueError>) -> NotRead {
    let status = error.raw_response().map(|answer| answer.status().as_u16());
    if status.is_some_and(|status| (300..400).contains(&status)) {
        return NotRead::Redirected;
    }
    let mut cause: Option<&dyn Error> = Some(error);
    while let Some(inner) = cause {
        if inner.is::<LengthLimitError>() {
            return NotRead::TooLong;
        }
        if let Some(insecure) = inner.downcast_ref::<Insecure>() {
            return NotRead::Unusable(insecure.to_string());
        }
        cause = inner.source();
    }
    match error {
        SdkError::TimeoutError(_) => NotRead::TimedOut,
        SdkError::DispatchFailure(failure) if failure.is_timeout() => NotRead::TimedOut,
        SdkError::ServiceError(refused) => {
            let status = status.unwrap_or_default();
            let code = refused.err().code().map_or_else(|| format!("status {status}"), str::to_owned);
            match (&*code, status) {
                ("ResourceNotFoundException", _) => NotRead::Missing,
                // A secret whose deletion is scheduled.
                ("InvalidRequestException", _) => NotRead::Missing,
                ("DecryptionFailure", _) => {
                    NotRead::Forbidden("the key of AWS KMS that the secret is encrypted with can't be used".to_owned())
                }
                ("ThrottlingException", status) | (_, status @ 500..) => NotRead::NotServing(status),
                (_, ..300) => NotRead::Unusable(FOREIGN.to_owned()),
                (code, 400..=403) => NotRead::Forbidden(format!(
                    "{code}; look at the credentials, and whether their policy allows secretsmanager:GetSecretValue on \
                     this secret"
                )),
                (code, _) => NotRead::Unusable(format!("it answers with an error ({code})")),
            }
        }
        SdkError::ResponseError(_) => NotRead::Unusable(FOREIGN.to_owned()),
        error => NotRead::Unreachable(root_cause(error)),
    }
}

/// Asks nothing in the clear beyond this machine, whatever environment and profile say, and bounds answers.
#[derive(Debug)]
struct Guard;

/// The address has no https.
#[derive(Debug, thiserror::Error)]
#[error("it would be asked by plain http, where anyone on the way can read the secret")]
struct Insecure;

impl Intercept for Guard {
    fn name(&self) -> &'static str {
        "keyward"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        let url = Url::parse(context.request().uri())?;
        let here = url.host_str().is_some_and(is_this_machine);
        if url.scheme() == "https" || here { Ok(()) } else { Err(Insecure.into()) }
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        let body = context.response_mut().body_mut();
        let whole = std::mem::replace(body, SdkBody::taken());
        *body = SdkBody::from_body_1_x(Limited::new(whole, MOST_BYTES));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_says_its_region() {
        assert_eq!(region_of("arn:aws:secretsmanager:eu-central-1:1:secret:keyward-AbCdEf"), Some("eu-central-1"));
        assert_eq!(region_of("arn:aws-cn:secretsmanager:cn-north-1:1:secret:k"), Some("cn-north-1"));
        assert_eq!((region_of("keyward/master-key"), region_of("arn:aws:secretsmanager")), (None, None));
    }

    #[test]
    fn a_secret_is_a_text_or_an_object_of_texts() {
        let answer = |text: &str| GetSecretValueOutput::builder().secret_string(text).build();
        let read = |text: &str, field| text_of(answer(text), field).map(|text| text.to_string());
        assert_eq!(read("a", None).unwrap(), "a");
        assert_eq!(read(r#"{"k":"a","n":5}"#, Some("k")).unwrap(), "a");
        assert_eq!(read(r#"{"k":"a"}"#, Some("x")), Err(NotRead::NoField("x".to_owned())));
        assert!(matches!(read(r#"{"k":5}"#, Some("k")), Err(NotRead::NotText(_))));
        assert!(matches!(read("a", Some("k")), Err(NotRead::NotText(_))));
        let octets = aws_sdk_secretsmanager::primitives::Blob::new("a");
        let answer = GetSecretValueOutput::builder().secret_binary(octets).build();
        assert_eq!(*text_of(answer, None).unwrap(), "a");
        assert_eq!(text_of(GetSecretValueOutput::builder().build(), None), Err(NotRead::Missing));
    }
}
