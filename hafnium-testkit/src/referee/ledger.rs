//! What was reported, in memory.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::attempt::{Attempt, Ending};

#[derive(Debug, Default)]
pub(crate) struct Ledger(Mutex<Book>);

#[derive(Debug, Default)]
struct Book {
    attempts: Vec<Attempt>,
    /// First acknowledgement of each id.
    acknowledged: HashMap<u64, Instant>,
    /// What reads missed although it had been acknowledged before.
    missed: Vec<u64>,
}

impl Ledger {
    /// Opens an attempt; the answer is its place in the book.
    pub(crate) fn begin(&self, id: u64) -> usize {
        let mut book = self.book();
        book.attempts.push(Attempt {
            id,
            started: Instant::now(),
            ended: None,
            ending: None,
        });
        book.attempts.len() - 1
    }

    pub(crate) fn end(&self, place: usize, ending: Ending) {
        let ended = Instant::now();
        let mut book = self.book();
        let Some(attempt) = book.attempts.get_mut(place) else {
            return;
        };
        (attempt.ended, attempt.ending) = (Some(ended), Some(ending));
        let id = attempt.id;
        if ending == Ending::Acknowledged {
            book.acknowledged.entry(id).or_insert(ended);
        }
    }

    pub(crate) fn is_acknowledged(&self, id: u64) -> bool {
        self.book().acknowledged.contains_key(&id)
    }

    pub(crate) fn missed_by_read(&self, id: u64) {
        self.book().missed.push(id);
    }

    pub(crate) fn missed(&self) -> Vec<u64> {
        self.book().missed.clone()
    }

    pub(crate) fn attempts(&self) -> Vec<Attempt> {
        self.book().attempts.clone()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
