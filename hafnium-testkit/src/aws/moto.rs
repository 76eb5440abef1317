//! One moto server.

use std::time::Duration;

use serde_json::{Value, json};

use super::home;
use super::http::ask;
use crate::Error;
use crate::process::{Keeper, Launch, Process, await_ready, free_ports};

/// How long the start may take: Python reads much, on a machine that is busy.
const START: Duration = Duration::from_secs(60);

/// A running moto. Dropping it kills it.
pub struct Moto {
    port: u16,
    process: Process,
    _keeper: Keeper,
}

impl Moto {
    /// Starts an empty one on a free port.
    ///
    /// # Errors
    /// [`Error::Missing`] where `scripts/setup aws` did not run, and those of the start.
    pub async fn start() -> Result<Self, Error> {
        let program = home::program()?;
        let port = free_ports(1)?[0];
        let keeper = Keeper::new("moto")?;
        let launch = Launch::new("moto", program)
            .args(["-H", "127.0.0.1", "-p"])
            .arg(port.to_string())
            // What it answers must not depend on what somebody mounted.
            .env("MOTO_PORT", port.to_string())
            .env("PYTHONDONTWRITEBYTECODE", "1");
        let process = keeper.spawn(&launch)?;
        await_ready(&[&process], "moto to answer", START, || async move {
            match ask(port, "GET", "/moto-api/data.json", &[], "").await? {
                (200, _) => Ok(()),
                (status, _) => Err(format!("status {status}")),
            }
        })
        .await?;
        Ok(Self {
            port,
            process,
            _keeper: keeper,
        })
    }

    /// For `AWS_ENDPOINT_URL`.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What a program must find in its environment to come here instead of to AWS; any credentials will do.
    pub fn variables(&self) -> [(&'static str, String); 4] {
        [
            ("AWS_ENDPOINT_URL", self.endpoint()),
            ("AWS_REGION", "eu-central-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "test".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        ]
    }

    /// The process, to freeze or kill it.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Forgets everything.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub async fn reset(&self) -> Result<(), Error> {
        match ask(self.port, "POST", "/moto-api/reset", &[], "").await {
            Ok((200, _)) => Ok(()),
            Ok((status, body)) => Err(Error::refused("reset moto", format!("{status} {body}"))),
            Err(error) => Err(Error::refused("reset moto", error)),
        }
    }

    /// Makes a secret; gives the id of its first version.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub async fn create_secret(&self, name: &str, text: &str) -> Result<String, Error> {
        let call = json!({ "Name": name, "SecretString": text });
        let answer = self
            .call("secretsmanager", "secretsmanager.CreateSecret", &call)
            .await?;
        Ok(version(&answer))
    }

    /// Gives a secret a new version under these labels, `AWSCURRENT` when there are none; gives its id. This is how a
    /// rotation ends, and with `AWSPENDING` how it begins.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub async fn put_secret(&self, name: &str, text: &str, stages: &[&str]) -> Result<String, Error> {
        let mut call = json!({ "SecretId": name, "SecretString": text });
        if !stages.is_empty() {
            call["VersionStages"] = json!(stages);
        }
        let answer = self
            .call("secretsmanager", "secretsmanager.PutSecretValue", &call)
            .await?;
        Ok(version(&answer))
    }

    /// Moves `AWSCURRENT` from one version to another.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub async fn make_current(&self, name: &str, from: &str, to: &str) -> Result<(), Error> {
        let call = json!({
            "SecretId": name,
            "VersionStage": "AWSCURRENT",
            "RemoveFromVersionId": from,
            "MoveToVersionId": to,
        });
        self.call("secretsmanager", "secretsmanager.UpdateSecretVersionStage", &call)
            .await?;
        Ok(())
    }

    /// Deletes a secret at once.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub async fn delete_secret(&self, name: &str) -> Result<(), Error> {
        let call = json!({ "SecretId": name, "ForceDeleteWithoutRecovery": true });
        self.call("secretsmanager", "secretsmanager.DeleteSecret", &call)
            .await?;
        Ok(())
    }

    /// Makes or changes an encrypted parameter.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub async fn put_parameter(&self, name: &str, text: &str) -> Result<(), Error> {
        let call = json!({ "Name": name, "Value": text, "Type": "SecureString", "Overwrite": true });
        self.call("ssm", "AmazonSSM.PutParameter", &call).await?;
        Ok(())
    }

    async fn call(&self, service: &str, target: &str, body: &Value) -> Result<Value, Error> {
        // moto reads the service out of the scope and checks nothing else.
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=test/20260101/eu-central-1/{service}/aws4_request, SignedHeaders=host, Signature=0"
        );
        let headers = [
            ("X-Amz-Target", target),
            ("Content-Type", "application/x-amz-json-1.1"),
            ("Authorization", authorization.as_str()),
        ];
        let doing = || format!("call {target} of moto");
        match ask(self.port, "POST", "/", &headers, &body.to_string()).await {
            Ok((200, answer)) => {
                serde_json::from_str(&answer).map_err(|error| Error::refused(doing(), error))
            }
            Ok((status, answer)) => Err(Error::refused(doing(), format!("{status} {answer}"))),
            Err(error) => Err(Error::refused(doing(), error)),
        }
    }
}

fn version(answer: &Value) -> String {
    answer["VersionId"].as_str().unwrap_or_default().to_owned()
}
