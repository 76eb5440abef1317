//! AWS Secrets Manager (`aws-sm:name#key`) and, with the feature `aws-ssm`, the SSM Parameter Store (`aws-ssm:/path`).
//!
//! Credentials, region and endpoints come from the chain of `aws-config`: environment, profile, web identity (IRSA), Pod
//! Identity, container and instance roles; `AWS_ENDPOINT_URL` and its per-service forms lead to local stand-ins. Nothing
//! is asked before the first secret is wanted.
//!
//! Of Secrets Manager the version labelled `AWSCURRENT` is asked for by that label: without one a version can come that
//! no longer holds it. While a single user's password is rotated there is a moment in which the old one is refused and
//! the new one is not labelled yet; rotation by alternating users changes the user as well, which is why a login is
//! one secret.

mod document;
mod failure;

use std::time::{Duration, SystemTime};

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use secrecy::SecretString;
use tokio::sync::OnceCell;

use super::provider::{Address, FetchError, FetchErrorKind, Fetched, Material, Provider, Version};
use crate::component::BoxFuture;
use crate::deadline::Deadline;

/// The label of the version in use.
const STAGE: &str = "AWSCURRENT";

/// The provider of secrets that AWS keeps.
#[derive(Default)]
pub struct Aws {
    config: OnceCell<SdkConfig>,
}

impl Aws {
    /// Finds credentials and region when it is first asked.
    pub fn new() -> Self {
        Self::default()
    }

    /// Uses what was configured by the caller, such as another account's role.
    pub fn with_config(config: SdkConfig) -> Self {
        Self {
            config: OnceCell::new_with(Some(config)),
        }
    }

    /// The configuration, found once. Without a region it is looked for again: where one comes from may be out of reach.
    async fn config(&self) -> Result<&SdkConfig, FetchError> {
        let find = || async {
            let config = aws_config::defaults(BehaviorVersion::latest())
                // The store asks again, at most once a second.
                .retry_config(RetryConfig::disabled())
                .timeout_config(
                    TimeoutConfig::builder()
                        .connect_timeout(Duration::from_secs(2))
                        .operation_attempt_timeout(Duration::from_secs(5))
                        .build(),
                )
                .load()
                .await;
            with_region(config)
        };
        self.config.get_or_try_init(find).await
    }

    async fn secret(&self, address: &Address) -> Result<Fetched, FetchError> {
        let client = aws_sdk_secretsmanager::Client::new(self.config().await?);
        let asked = client
            .get_secret_value()
            .secret_id(&address.path)
            .version_stage(STAGE)
            .send()
            .await;
        let mut answer = asked.map_err(|error| failure::of(address, &error))?;
        let text = match (answer.secret_string.take(), answer.secret_binary.take()) {
            (Some(text), _) => Ok(text),
            (None, Some(bytes)) => String::from_utf8(bytes.into_inner()).map_err(|_| "it is not UTF-8 text"),
            (None, None) => Err("the version has no value"),
        };
        let text = text.map_err(|reason| invalid(address, reason))?;
        let version = answer
            .version_id
            .ok_or_else(|| invalid(address, "the answer names no version"))?;
        let changed = answer
            .created_date
            .and_then(|date| SystemTime::try_from(date).ok());
        fetched(address, text, version, changed)
    }

    #[cfg(feature = "aws-ssm")]
    async fn parameter(&self, address: &Address) -> Result<Fetched, FetchError> {
        let client = aws_sdk_ssm::Client::new(self.config().await?);
        let asked = client
            .get_parameter()
            .name(&address.path)
            .with_decryption(true)
            .send()
            .await;
        let answer = asked.map_err(|error| failure::of(address, &error))?;
        let parameter = answer
            .parameter
            .ok_or_else(|| invalid(address, "the answer is empty"))?;
        // The count alone begins again when a parameter is deleted and made anew.
        let version = match &parameter.last_modified_date {
            Some(date) => format!("{}@{}.{:09}", parameter.version, date.secs(), date.subsec_nanos()),
            None => parameter.version.to_string(),
        };
        let changed = parameter
            .last_modified_date
            .and_then(|date| SystemTime::try_from(date).ok());
        let text = parameter
            .value
            .ok_or_else(|| invalid(address, "the parameter has no value"))?;
        fetched(address, text, version, changed)
    }
}

/// A configuration with a region. That none was found may mean that the host's metadata are out of reach for now.
fn with_region(config: SdkConfig) -> Result<SdkConfig, FetchError> {
    match config.region() {
        Some(_) => Ok(config),
        None => Err(FetchError {
            kind: FetchErrorKind::Unavailable,
            message: "no AWS region is known and the host tells none; set AWS_REGION".to_owned(),
        }),
    }
}

fn fetched(
    address: &Address,
    text: String,
    version: String,
    changed: Option<SystemTime>,
) -> Result<Fetched, FetchError> {
    let text = SecretString::from(text);
    let text = match &address.key {
        Some(key) => document::value(&text, key).map_err(|reason| invalid(address, &reason))?,
        None => text,
    };
    Ok(Fetched {
        material: Material::Text(text),
        version: Version(version),
        refresh_after: None,
        expires_after: None,
        changed,
    })
}

fn invalid(address: &Address, reason: &str) -> FetchError {
    FetchError {
        kind: FetchErrorKind::Invalid,
        message: format!("{address}: {reason}"),
    }
}

impl Provider for Aws {
    fn schemes(&self) -> &'static [&'static str] {
        match cfg!(feature = "aws-ssm") {
            true => &["aws-sm", "aws-ssm"],
            false => &["aws-sm"],
        }
    }

    fn fetch<'a>(
        &'a self,
        address: &'a Address,
        _: Option<&'a Version>,
    ) -> BoxFuture<'a, Result<Fetched, FetchError>> {
        Box::pin(async move {
            #[cfg(feature = "aws-ssm")]
            if address.scheme == "aws-ssm" {
                return self.parameter(address).await;
            }
            self.secret(address).await
        })
    }

    /// Nothing is lent.
    fn release(&self, _: Deadline) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

impl std::fmt::Debug for Aws {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Aws")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_that_is_not_known_yet_is_looked_for_again() {
        let error = with_region(SdkConfig::builder().build()).unwrap_err();
        assert_eq!(error.kind, FetchErrorKind::Unavailable);
        assert!(error.message.contains("AWS_REGION"));
    }
}
