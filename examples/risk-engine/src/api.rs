//! The service's HTTP interface.

use std::time::{Duration, Instant};

use hafnium::axum::Router;
use hafnium::axum::extract::{Path, Query, State};
use hafnium::axum::http::StatusCode;
use hafnium::axum::routing::{get, post};
use hafnium::http::{Json, Problem};
use hafnium::kafka::Message;
use serde::{Deserialize, Serialize};

use crate::engine::Engine;
use crate::payment::{Payment, Score};

/// How often the ledger is asked for a score that someone waits for.
const LOOK: Duration = Duration::from_millis(100);
/// For how long someone may wait.
const LONGEST: Duration = Duration::from_secs(5);

/// `POST /payments`, `GET /payments/{id}` and `GET /scores/{id}`.
pub(crate) fn routes(engine: Engine) -> Router {
    Router::new()
        .route("/payments", post(submit))
        .route("/payments/{id}", get(payment))
        .route("/scores/{id}", get(score))
        .with_state(engine)
}

/// Accepts a payment once the broker has acknowledged it.
async fn submit(State(engine): State<Engine>, Json(payment): Json<Payment>) -> Result<StatusCode, Problem> {
    if let Some(problem) = payment.problem() {
        return Err(Problem::unprocessable(problem));
    }
    engine
        .producer
        .send(Message::to("payments").key(&payment.account).json(&payment)?)
        .await?;
    Ok(StatusCode::ACCEPTED)
}

/// What a client wants to know of a payment.
#[derive(Deserialize)]
struct Wanted {
    /// For how many milliseconds to wait for the score; at most [`LONGEST`].
    #[serde(default)]
    wait_ms: u64,
}

/// Whether a payment was scored.
#[derive(Serialize)]
struct Progress {
    payment_id: String,
    /// Absent when there is none yet.
    score: Option<Score>,
}

/// Says at once or, where the client waits, as soon as it is so whether the payment was scored.
async fn payment(
    State(engine): State<Engine>,
    Path(id): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Progress>, Problem> {
    let end = Instant::now() + Duration::from_millis(wanted.wait_ms).min(LONGEST);
    loop {
        let score = engine.ledger.score(&id).await?;
        if score.is_some() || Instant::now() >= end {
            let payment_id = id;
            return Ok(Json(Progress { payment_id, score }));
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn score(State(engine): State<Engine>, Path(id): Path<String>) -> Result<Json<Score>, Problem> {
    match engine.ledger.score(&id).await? {
        Some(score) => Ok(Json(score)),
        None => Err(Problem::not_found("no score for that payment")),
    }
}
