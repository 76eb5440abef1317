//! Who the primary is: asked of the sentinels, confirmed by the node itself.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo,
    RedisConnectionInfo,
};

use tokio::time::Instant;

use super::shown::Heard;
use super::target::{Flavour, Target};

/// How long a sentinel or a candidate may take to connect, log in and answer. A frozen host accepts TCP and stays
/// silent, so the budget covers the whole exchange.
pub(crate) const BUDGET: Duration = Duration::from_millis(500);

/// How much longer the last sentinels may take once a majority answered: one that answers at all does so within a
/// millisecond or two of the others in the same region.
const GRACE: Duration = Duration::from_millis(20);

/// A candidate for the primary, and the epoch of the sentinels' decision (0 without sentinels).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Candidate {
    pub(crate) address: ConnectionAddr,
    pub(crate) epoch: u64,
}

/// Asks who the primary is. The error says what each sentinel answered; `heard` notes it.
pub(crate) async fn candidate(target: &Target, heard: &Heard) -> Result<Candidate, String> {
    match &target.flavour {
        Flavour::Standalone(address) => Ok(Candidate {
            address: address.clone(),
            epoch: 0,
        }),
        Flavour::Sentinel { sentinels, master } => {
            heard.ask();
            let asked = sentinels.iter().enumerate().map(async |(index, (host, port))| {
                let answer = ask(host, *port, master).await;
                heard.note(index, &answer);
                answer
            });
            let answers = answers(asked.collect(), sentinels.len() / 2 + 1).await;
            heard.settle();
            newest(answers)
        }
    }
}

/// All answers; once `enough` are good, the others have [`GRACE`] left. A silent sentinel then costs a look little.
async fn answers(
    mut asked: FuturesUnordered<impl Future<Output = Result<Candidate, String>>>,
    enough: usize,
) -> Vec<Result<Candidate, String>> {
    let mut answers: Vec<Result<Candidate, String>> = Vec::new();
    let mut until = None;
    loop {
        let next = match until {
            Some(until) => tokio::time::timeout_at(until, asked.next()).await.unwrap_or(None),
            None => asked.next().await,
        };
        let Some(answer) = next else { return answers };
        answers.push(answer);
        if until.is_none() && answers.iter().filter(|answer| answer.is_ok()).count() >= enough {
            until = Some(Instant::now() + GRACE);
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

/// Asks one sentinel. The epoch is asked first and the address after it, and not both of `SENTINEL MASTER`: while the
/// sentinel that leads a failover reconfigures the replicas, that answer holds the *new* epoch beside the *old* address,
/// and a deposed primary that was thawed just then would be taken back (seen with 7.0). `GET-MASTER-ADDR-BY-NAME` tells
/// the promoted node from that moment on.
async fn ask(host: &str, port: u16, master: &str) -> Result<Candidate, String> {
    type Fields = std::collections::HashMap<String, String>;
    let address = ConnectionAddr::Tcp(host.to_owned(), port);
    let exchange = async {
        let mut sentinel = open(&address, &RedisConnectionInfo::default(), BUDGET).await?;
        let mut sentinel_command = redis::cmd("SENTINEL");
        let fields: Fields = sentinel_command
            .arg("MASTER")
            .arg(master)
            .query_async(&mut sentinel)
            .await?;
        let mut sentinel_command = redis::cmd("SENTINEL");
        let place: Option<(String, u16)> = sentinel_command
            .arg("GET-MASTER-ADDR-BY-NAME")
            .arg(master)
            .query_async(&mut sentinel)
            .await?;
        Ok::<_, redis::RedisError>((fields, place))
    };
    let (fields, place) = tokio::time::timeout(BUDGET, exchange)
        .await
        .map_err(|_| format!("sentinel {address} is silent"))?
        .map_err(|error| format!("sentinel {address}: {error}"))?;
    let epoch = fields.get("config-epoch").and_then(|epoch| epoch.parse().ok());
    let (Some((host, port)), Some(epoch)) = (place, epoch) else {
        return Err(format!(
            "sentinel {address} gave an answer without address or config-epoch"
        ));
    };
    Ok(Candidate {
        address: ConnectionAddr::Tcp(host, port),
        epoch,
    })
}

/// Connects and logs in to `address`; commands on the connection then take at most `response`. A login that the server
/// refuses fails with its reply.
pub(crate) async fn open(
    address: &ConnectionAddr,
    login: &RedisConnectionInfo,
    response: Duration,
) -> redis::RedisResult<MultiplexedConnection> {
    match connect(address, login.clone(), response).await {
        // redis-rs makes this of every reply to AUTH, also of `max number of clients reached`, and drops the text.
        Err(error) if error.kind() == ErrorKind::AuthenticationFailed => {
            Err(refusal(address, login).await.err().unwrap_or(error))
        }
        opened => opened,
    }
}

/// What the server answers to the login.
async fn refusal(address: &ConnectionAddr, login: &RedisConnectionInfo) -> redis::RedisResult<()> {
    let nobody = RedisConnectionInfo::default().set_skip_set_lib_name();
    let mut connection = connect(address, nobody, BUDGET).await?;
    let mut auth = redis::cmd("AUTH");
    auth.arg(login.username()).arg(login.password());
    auth.query_async(&mut connection).await
}

async fn connect(
    address: &ConnectionAddr,
    login: RedisConnectionInfo,
    response: Duration,
) -> redis::RedisResult<MultiplexedConnection> {
    let info: ConnectionInfo = address.clone().into_connection_info()?.set_redis_settings(login);
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(BUDGET))
        .set_response_timeout(Some(response));
    Client::open(info)?
        .get_multiplexed_async_connection_with_config(&config)
        .await
}

/// Whether the node behind `connection` says that it is a primary; silence for `limit` is an error.
pub(crate) async fn is_primary(
    connection: &mut MultiplexedConnection,
    limit: Duration,
) -> redis::RedisResult<bool> {
    let exchange = async { redis::cmd("ROLE").query_async::<redis::Value>(connection).await };
    let reply = tokio::time::timeout(limit, exchange)
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

    #[tokio::test(start_paused = true)]
    async fn a_silent_sentinel_costs_little_once_a_majority_answered() {
        let after = |millis, answer| async move {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            answer
        };
        let begun = Instant::now();
        let asked = [
            after(1, Ok(at(1, 1))),
            after(500, Err("silent".into())),
            after(2, Ok(at(1, 1))),
        ];
        assert_eq!(answers(asked.into_iter().collect(), 2).await.len(), 2);
        assert_eq!(begun.elapsed(), GRACE + Duration::from_millis(2));

        let begun = Instant::now();
        let asked = [
            after(1, Ok(at(1, 1))),
            after(500, Err("silent".into())),
            after(9, Ok(at(2, 2))),
        ];
        assert_eq!(
            newest(answers(asked.into_iter().collect(), 2).await),
            Ok(at(2, 2))
        );
        assert!(begun.elapsed() < Duration::from_millis(50));
    }

    #[test]
    fn without_an_answer_every_reason_is_named() {
        let error = newest(vec![Err("a is silent".into()), Err("b refused".into())]).unwrap_err();
        assert_eq!(error, "a is silent; b refused");
    }
}
