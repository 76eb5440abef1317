//! TLS on a server, with certificates that the test made.

use super::cluster::PostgresCluster;
use crate::Error;
use crate::process::wait_until;

use super::bringup::STEP;
use super::settings::PG_HBA_CONF;

impl PostgresCluster {
    /// Lets a node offer TLS with `certificate` and its `key`, both PEM, from now on and after its restarts. It goes on
    /// serving clients without TLS.
    ///
    /// # Errors
    /// [`Error::NotReady`] when the server does not take them, which its log explains.
    pub async fn offer_tls(&self, node: usize, certificate: &str, key: &str) -> Result<(), Error> {
        self.nodes[node].write("server.crt", certificate)?;
        self.nodes[node].write("server.key", key)?;
        let session = self.connect(node, "postgres").await?;
        session.run("ALTER SYSTEM SET ssl = on").await?;
        session.run("SELECT pg_reload_conf()").await?;
        let what = format!("{} to offer TLS", self.name(node));
        wait_until(&what, STEP, async || {
            match session.value::<String>("SHOW ssl").await {
                Ok(on) if on == "on" => Ok(()),
                Ok(other) => Err(format!("ssl = {other}; {}", self.log_tail(node))),
                Err(error) => Err(error.to_string()),
            }
        })
        .await
    }

    /// Lets a node that offers TLS refuse clients over TLS that have no certificate of `authority` (PEM) with their user as
    /// its common name; no password is asked for then. Clients without TLS are served as before.
    ///
    /// # Errors
    /// [`Error::NotReady`] when the server does not take it, which its log explains.
    pub async fn demand_client_certificates(&self, node: usize, authority: &str) -> Result<(), Error> {
        self.nodes[node].write("root.crt", authority)?;
        let rule = "hostssl all all all cert";
        self.nodes[node].write("pg_hba.conf", &format!("{rule}\n{PG_HBA_CONF}"))?;
        let session = self.connect(node, "postgres").await?;
        session.run("ALTER SYSTEM SET ssl_ca_file = 'root.crt'").await?;
        session.run("SELECT pg_reload_conf()").await?;
        let what = format!("{} to demand certificates of clients", self.name(node));
        // The server accepts no connection between telling its sessions and having read the rules.
        wait_until(&what, STEP, async || {
            match session.value::<String>("SHOW ssl_ca_file").await {
                Ok(file) if file == "root.crt" => Ok(()),
                Ok(other) => Err(format!("ssl_ca_file = {other}; {}", self.log_tail(node))),
                Err(error) => Err(error.to_string()),
            }
        })
        .await
    }
}
