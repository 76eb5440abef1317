//! Who the primary is: asked of the sentinels, confirmed by the node itself.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo,
};

use super::target::{Flavour, Target};

/// How long a sentinel or a candidate may take to connect, log in and answer. A frozen host accepts TCP and stays
/// silent, so the budget covers the whole exchange.
const BUDGET: Duration = Duration::from_millis(500);

/// A candidate for the primary, and the epoch of the sentinels' decision (0 without sentinels).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Candidate {
    pub(crate) address: ConnectionAddr,
    pub(crate) epoch: u64,
}

/// Asks who the primary is. The error says what each sentinel answered.
pub(crate) async fn candidate(target: &Target) -> Result<Candidate, String> {
    match &target.flavour {
        Flavour::Standalone(address) => Ok(Candidate {
            address: address.clone(),
            epoch: 0,
        }),
        Flavour::Sentinel { sentinels, master } => {
            let asked = sentinels.iter().map(|(host, port)| ask(host, *port, master));
            newest(futures_util::future::join_all(asked).await)
        }
    }
}

/// The answer with the highest epoch: a sentinel cut off from the others keeps naming the old primary.
fn newest(answers: Vec<Result<Candidate, String>>) -> Result<Candidate, String> {
    let mut reasons = Vec::new();
    let mut newest: Option<Candidate> = None;
    for answer in answers {
        match answer {
            Ok(candidate) if newest.as_ref().is_none_or(|best| candidate.epoch > best.epoch) => {
                newest = Some(candidate);
            }
            Ok(_) => {}
            Err(reason) => reasons.push(reason),
        }
    }
    newest.ok_or_else(|| reasons.join("; "))
}

async fn ask(host: &str, port: u16, master: &str) -> Result<Candidate, String> {
    let address = ConnectionAddr::Tcp(host.to_owned(), port);
    let exchange = async {
        let mut sentinel = open(&address, &RedisConnectionInfo::default(), BUDGET).await?;
        let fields: std::collections::HashMap<String, String> = redis::cmd("SENTINEL")
            .arg("MASTER")
            .arg(master)
            .query_async(&mut sentinel)
            .await?;
        Ok::<_, redis::RedisError>(fields)
    };
    let fields = tokio::time::timeout(BUDGET, exchange)
        .await
        .map_err(|_| format!("sentinel {address} is silent"))?
        .map_err(|error| format!("sentinel {address}: {error}"))?;
    let field = |name: &str| fields.get(name).cloned().unwrap_or_default();
    let (Ok(port), Ok(epoch)) = (field("port").parse(), field("config-epoch").parse()) else {
        return Err(format!(
            "sentinel {address} gave an answer without port or config-epoch"
        ));
    };
    Ok(Candidate {
        address: ConnectionAddr::Tcp(field("ip"), port),
        epoch,
    })
}

/// Connects and logs in to `address`; commands on the connection then take at most `response`.
pub(crate) async fn open(
    address: &ConnectionAddr,
    login: &RedisConnectionInfo,
    response: Duration,
) -> redis::RedisResult<MultiplexedConnection> {
    let info: ConnectionInfo = address
        .clone()
        .into_connection_info()?
        .set_redis_settings(login.clone());
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(BUDGET))
        .set_response_timeout(Some(response));
    Client::open(info)?
        .get_multiplexed_async_connection_with_config(&config)
        .await
}

/// Whether the node behind `connection` says that it is a primary; silence is an error.
pub(crate) async fn is_primary(connection: &mut MultiplexedConnection) -> redis::RedisResult<bool> {
    let exchange = async { redis::cmd("ROLE").query_async::<redis::Value>(connection).await };
    let reply = tokio::time::timeout(BUDGET, exchange)
        .await
        .map_err(|_| redis::RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut)))??;
    Ok(match reply {
        redis::Value::Array(fields) => fields
            .into_iter()
            .next()
            .is_some_and(|role| redis::from_redis_value::<String>(role).is_ok_and(|role| role == "master")),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16, epoch: u64) -> Candidate {
        Candidate {
            address: ConnectionAddr::Tcp("h".into(), port),
            epoch,
        }
    }

    #[test]
    fn the_answer_with_the_highest_epoch_wins_over_the_majority() {
        let answers = vec![Ok(at(1, 3)), Err("silent".into()), Ok(at(2, 4)), Ok(at(1, 3))];
        assert_eq!(newest(answers), Ok(at(2, 4)));
    }

    #[test]
    fn without_an_answer_every_reason_is_named() {
        let error = newest(vec![Err("a is silent".into()), Err("b refused".into())]).unwrap_err();
        assert_eq!(error, "a is silent; b refused");
    }
}
