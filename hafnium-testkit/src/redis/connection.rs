//! A plain connection to one node: the rig's own, without any of the cleverness that is under test.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, FromRedisValue, IntoConnectionInfo, RedisConnectionInfo,
    RedisResult,
};

/// A frozen node accepts TCP and stays silent, so every question is bounded. Loopback answers within a millisecond.
pub(super) const SILENT: Duration = Duration::from_millis(500);

/// Logs in at 127.0.0.1:`port`. Neither this nor the commands on the connection have a limit of their own.
pub(super) async fn open(port: u16, password: Option<&str>) -> RedisResult<MultiplexedConnection> {
    let mut login = RedisConnectionInfo::default().set_skip_set_lib_name();
    if let Some(password) = password {
        login = login.set_password(password);
    }
    let info = ConnectionAddr::Tcp("127.0.0.1".into(), port)
        .into_connection_info()?
        .set_redis_settings(login);
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None);
    Client::open(info)?
        .get_multiplexed_async_connection_with_config(&config)
        .await
}

/// One question on a connection of its own; the error is for people.
pub(super) async fn ask<T: FromRedisValue>(
    port: u16,
    password: Option<&str>,
    words: &[&str],
) -> Result<T, String> {
    let exchange = async {
        let mut connection = open(port, password).await?;
        let mut command = redis::Cmd::new();
        command.arg(words);
        command.query_async(&mut connection).await
    };
    match tokio::time::timeout(SILENT, exchange).await {
        Ok(answer) => answer.map_err(|error: redis::RedisError| format!("127.0.0.1:{port}: {error}")),
        Err(_) => Err(format!("127.0.0.1:{port} is silent")),
    }
}
