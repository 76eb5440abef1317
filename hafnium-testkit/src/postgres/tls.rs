//! TLS on a server, with a certificate that the test made.

use super::cluster::PostgresCluster;
use crate::Error;
use crate::process::wait_until;

use super::bringup::STEP;

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
}
