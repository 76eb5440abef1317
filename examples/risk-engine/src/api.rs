//! The service's HTTP interface.

use hafnium::axum::Router;
use hafnium::axum::extract::{Path, State};
use hafnium::axum::http::StatusCode;
use hafnium::axum::routing::{get, post};
use hafnium::http::{Json, Problem};
use hafnium::kafka::Message;

use crate::engine::Engine;
use crate::payment::{Payment, Score};

/// `POST /payments` and `GET /scores/{id}`.
pub(crate) fn routes(engine: Engine) -> Router {
    Router::new()
        .route("/payments", post(submit))
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

async fn score(State(engine): State<Engine>, Path(id): Path<String>) -> Result<Json<Score>, Problem> {
    match engine.ledger.score(&id).await? {
        Some(score) => Ok(Json(score)),
        None => Err(Problem::not_found("no score for that payment")),
    }
}
