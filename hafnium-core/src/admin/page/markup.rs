//! Markup that can't be broken out of: what the program wrote is a literal, everything else is escaped.

use std::fmt::{self, Display, Write};

/// A piece of HTML, well-formed as XML too.
#[derive(Debug, Default)]
pub(super) struct Markup(String);

impl Markup {
    /// Markup of this program's own.
    pub(super) fn raw(&mut self, literal: &'static str) -> &mut Self {
        self.0.push_str(literal);
        self
    }

    /// Text of anyone's, between tags or within a quoted attribute.
    pub(super) fn text(&mut self, text: impl Display) -> &mut Self {
        // Writing to memory does not fail.
        let _ = write!(Escaping(&mut self.0), "{text}");
        self
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }
}

struct Escaping<'a>(&'a mut String);

impl fmt::Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for letter in text.chars() {
            match letter {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                // No control character is allowed in a document; a terminal's colours come with server messages.
                letter if letter.is_control() && !matches!(letter, '\n' | '\t') => {
                    self.0.push(char::REPLACEMENT_CHARACTER);
                }
                letter => self.0.push(letter),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_text_breaks_out(text in any::<String>()) {
            let mut markup = Markup::default();
            markup.text(&text);
            let escaped = markup.into_string();
            let breaking = ['<', '>', '"', '\'', '\0', '\u{1b}'];
            prop_assert!(!escaped.contains(breaking));
            // Every ampersand begins a reference of ours.
            for (at, _) in escaped.match_indices('&') {
                let references = ["&amp;", "&lt;", "&gt;", "&quot;", "&#39;"];
                prop_assert!(references.iter().any(|known| escaped[at..].starts_with(known)));
            }
        }
    }
}
