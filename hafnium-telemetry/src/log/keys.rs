//! How the fields of a callsite are named in lines: worked out once per thread, and not anew for each line.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;

use tracing::Metadata;
use tracing::callsite::Identifier;
use tracing::field::Field;

use super::format::Format;
use crate::redaction::is_secret;

/// What becomes of a field.
#[derive(Debug)]
pub(super) enum Key {
    /// It only directs the trace layer.
    Left,
    /// What an event says; a field as others in a span.
    Message(Box<str>),
    /// It is written, after its name as it stands here.
    Shown(Box<str>),
    /// Its value is not written.
    Secret(Box<str>),
}

/// What becomes of the fields of one callsite.
#[derive(Debug)]
pub(super) struct Keys(Box<[Key]>);

impl Keys {
    fn of(metadata: &Metadata<'_>, format: &Format) -> Self {
        let key = |field: Field| match field.name() {
            name if name.starts_with("otel.") || name.starts_with("log.") => Key::Left,
            "message" => Key::Message(format.key("message")),
            name if is_secret(name) => Key::Secret(format.key(name)),
            name => Key::Shown(format.key(name)),
        };
        Self(metadata.fields().iter().map(key).collect())
    }

    /// That of `field`, one of this callsite.
    pub(super) fn get(&self, field: &Field) -> &Key {
        self.0.get(field.index()).unwrap_or(&Key::Left)
    }
}

/// By callsite, and by the number of the format.
type Known = HashMap<(Identifier, usize), Rc<Keys>, BuildHasherDefault<Places>>;

thread_local! {
    static KNOWN: RefCell<Known> = RefCell::default();
}

/// The keys of a callsite, in the format of that number.
pub(super) fn keys(metadata: &Metadata<'_>, format: &Format, number: usize) -> Rc<Keys> {
    let make = || Rc::new(Keys::of(metadata, format));
    // A thread that ends has forgotten them.
    let known = KNOWN.try_with(|known| {
        let mut known = known.borrow_mut();
        let keys = known.entry((metadata.callsite(), number)).or_insert_with(make);
        keys.clone()
    });
    known.unwrap_or_else(|_| make())
}

/// A hash of places in memory, which nobody chooses.
#[derive(Default)]
struct Places(u64);

impl Hasher for Places {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_usize(usize::from(*byte)));
    }

    fn write_usize(&mut self, place: usize) {
        // The golden ratio, as in Knuth's multiplicative hash.
        self.0 = (self.0.rotate_left(5) ^ place as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        // Places are multiples of eight, and a product has their zeros.
        self.0 ^ (self.0 >> 32)
    }
}
