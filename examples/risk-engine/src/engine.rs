//! The main job: a payment comes in, its score goes out.

use hafnium::kafka::{Failure, Handler, Message, Producer, Record};

use crate::ledger::Ledger;
use crate::payment::{Payment, Score};
use crate::scoring;
use crate::velocity::Velocity;

/// Scores payments.
#[derive(Clone)]
pub(crate) struct Engine {
    pub ledger: Ledger,
    pub velocity: Velocity,
    pub producer: Producer,
    pub large_amount: i64,
}

impl Handler<Payment> for Engine {
    async fn handle(&self, record: Record<Payment>) -> Result<(), Failure> {
        let payment = record.value;
        if let Some(problem) = payment.problem() {
            return Err(Failure::dead_letter(problem));
        }
        let velocity = self.velocity.note(&payment).await;
        let score = Score {
            payment_id: payment.id.clone(),
            score: scoring::score(&payment, velocity, self.large_amount),
            velocity,
        };
        let score = self.ledger.store(&payment, score).await?;
        self.producer
            .send(Message::to("risk-scores").key(&payment.id).json(&score)?)
            .await?;
        Ok(())
    }
}
