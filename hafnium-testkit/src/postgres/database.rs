//! Databases, roles and passwords; and what is in the tables.

use std::sync::PoisonError;

use super::cluster::{Credential, PostgresCluster};
use super::proof::PasswordChange;
use super::session::Session;
use super::settings::password;
use crate::Error;

impl PostgresCluster {
    /// Creates a database that the application's role owns, so that tests can share a cluster; returns its
    /// [`url`](Self::url). It exists on every streaming standby too when this returns.
    ///
    /// # Errors
    /// [`Error::Refused`], for instance when it exists; [`Error::NotReady`] when a standby does not follow.
    pub async fn create_database(&self, name: &str) -> Result<String, Error> {
        let session = self.connect(self.primary(), "postgres").await?;
        session
            .run(&format!(
                "CREATE DATABASE {} OWNER {}",
                quoted(name),
                quoted(&self.user())
            ))
            .await?;
        self.await_replay().await?;
        Ok(self.url(name))
    }

    /// Changes the password of the application's role on the primary. URLs made from now on carry the new one.
    ///
    /// # Errors
    /// [`Error::Unproven`] when the old password still opens a connection or the new one does not.
    pub async fn set_password(&self, new: &str) -> Result<PasswordChange, Error> {
        let old = self.credential();
        let session = self.connect(self.primary(), "postgres").await?;
        session
            .run(&format!(
                "ALTER ROLE {} PASSWORD '{}'",
                quoted(&old.user),
                new.replace('\'', "''")
            ))
            .await?;
        let new = Credential {
            password: new.to_owned(),
            user: old.user.clone(),
        };
        let proof = PasswordChange {
            user: old.user.clone(),
            old_login: self.login(&old).await,
            new_login: self.login(&new).await,
        };
        *self.app.write().unwrap_or_else(PoisonError::into_inner) = new;
        proof.checked()
    }

    /// Creates a second role with the rights of the application's, and returns its password.
    ///
    /// # Errors
    /// [`Error::Refused`], for instance when it exists.
    pub async fn create_user(&self, name: &str) -> Result<String, Error> {
        let new = password();
        let session = self.connect(self.primary(), "postgres").await?;
        let (name, app) = (quoted(name), quoted(&self.user()));
        session
            .run(&format!(
                "CREATE ROLE {name} LOGIN PASSWORD '{new}' IN ROLE {app}"
            ))
            .await?;
        Ok(new)
    }

    /// What the primary's tables hold, for the referee: `query` answers an id (bigint) and a count per row, e.g.
    /// `SELECT id, count(*) FROM payments GROUP BY id`.
    ///
    /// # Errors
    /// [`Error::Refused`] with the server's answer, or when a column is not a bigint or is negative.
    pub async fn applied(&self, database: &str, query: &str) -> Result<Vec<(u64, u64)>, Error> {
        let session = self.connect(self.primary(), database).await?;
        let refused = |answer: String| Error::refused(format!("run `{query}`"), answer);
        let rows = session
            .query(query, &[])
            .await
            .map_err(|error| refused(super::session::said(&error)))?;
        let number = |row: &tokio_postgres::Row, column: usize| {
            let value: i64 = row.try_get(column).map_err(|error| refused(error.to_string()))?;
            u64::try_from(value).map_err(|error| refused(error.to_string()))
        };
        rows.iter()
            .map(|row| Ok((number(row, 0)?, number(row, 1)?)))
            .collect()
    }

    async fn login(&self, credential: &Credential) -> Result<(), String> {
        let mut config = self.config(self.primary(), "postgres");
        config.user(&credential.user).password(&credential.password);
        let opened = Session::open(&config, super::cluster::LOGIN).await;
        opened.map(|_| ()).map_err(|error| error.to_string())
    }
}

fn quoted(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}
