//! The database engine on a Postgres of the testkit.

use serde_json::json;

use super::server::VaultServer;
use crate::{Error, PostgresCluster};

impl VaultServer {
    /// Mounts the database engine at `database/` and lets it make logins at the primary of `cluster`, as a superuser of
    /// its own. Roles name this connection as `pg`.
    ///
    /// # Errors
    /// [`Error::Refused`] with the answer of either server.
    pub async fn connect_database(&self, cluster: &PostgresCluster) -> Result<(), Error> {
        let (user, password) = ("vault_boss", cluster.superuser().1);
        let session = cluster.connect(cluster.primary(), "postgres").await?;
        session
            .run(&format!(
                "CREATE ROLE {user} SUPERUSER LOGIN PASSWORD '{password}'"
            ))
            .await?;
        let port = cluster.port(cluster.primary());
        let url = format!(
            "postgresql://{{{{username}}}}:{{{{password}}}}@127.0.0.1:{port}/postgres?sslmode=disable"
        );
        self.root("POST", "sys/mounts/database", Some(json!({ "type": "database" })))
            .await?;
        let connection = json!({
            "plugin_name": "postgresql-database-plugin",
            "allowed_roles": "*",
            "username": user,
            "password": password,
            "connection_url": url,
            "password_authentication": "scram-sha-256",
        });
        self.root("POST", "database/config/pg", Some(connection)).await?;
        Ok(())
    }
}
