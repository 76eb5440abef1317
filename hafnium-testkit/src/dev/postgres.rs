//! PostgreSQL as a dev service.

use super::server::{Access, Guard, Recipe, Server};
use crate::Error;
use crate::postgres::PostgresCluster;

pub(crate) struct Postgres;

const USER: &str = "dev";

impl Server for Postgres {
    const KIND: &'static str = "PostgreSQL";
    const IMAGE: &'static str = "postgres";
    const PORT: u16 = 5432;
    const INSTALL: &'static str = "sudo apt-get install postgresql";

    fn recipe(access: &Access, _host: &str, _port: u16) -> Recipe {
        let environment = [
            ("POSTGRES_USER", USER),
            ("POSTGRES_PASSWORD", &access.password),
            ("POSTGRES_DB", &access.name),
        ];
        let environment = environment
            .map(|(name, value)| (name.into(), value.into()))
            .to_vec();
        Recipe {
            environment,
            ..Recipe::default()
        }
    }

    fn url(access: &Access, host: &str, port: u16) -> String {
        format!(
            "postgres://{USER}:{}@{host}:{port}/{}",
            access.password, access.name
        )
    }

    async fn answers(url: &str) -> Result<(), String> {
        let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls)
            .await
            .map_err(|error| chain(&error))?;
        let question = async { client.simple_query("select 1").await.map(drop) };
        tokio::select! {
            answer = question => answer.map_err(|error| chain(&error)),
            ended = connection => Err(ended.err().map_or("the connection was closed".into(), |error| chain(&error))),
        }
    }

    async fn local(access: &Access) -> Result<(Guard, String), Error> {
        let server = PostgresCluster::single().await?;
        let url = server.create_database(&access.name).await?;
        Ok((Box::new(server), url))
    }
}

/// tokio-postgres's own text is only "error connecting to server".
fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}
