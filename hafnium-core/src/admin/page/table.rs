//! Tables and states, told by words; colour and shape only repeat them.

use super::markup::Markup;

/// How good something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Worn,
    Bad,
    /// Neither: not known, or of no matter.
    Quiet,
}

impl Tone {
    fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Worn => "worn",
            Self::Bad => "bad",
            Self::Quiet => "quiet",
        }
    }

    /// Shapes that differ without colour; a screen reader reads the word beside it.
    fn shape(self) -> &'static str {
        match self {
            Self::Good => "●",
            Self::Worn => "▲",
            Self::Bad => "■",
            Self::Quiet => "○",
        }
    }
}

/// What stands in a cell.
#[derive(Debug, Clone)]
pub(super) enum Cell {
    Text(String),
    State(Tone, String),
    /// One below the other, the newest first.
    List(Vec<String>),
    /// In use, open, and the most there can be, with what is to say of it.
    Gauge {
        used: usize,
        max: usize,
        text: String,
    },
}

impl Cell {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    pub(super) fn state(tone: Tone, word: impl Into<String>) -> Self {
        Self::State(tone, word.into())
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::List(items) => items.is_empty(),
            Self::State(..) | Self::Gauge { .. } => false,
        }
    }

    fn write(&self, markup: &mut Markup) {
        match self {
            Self::Text(text) => {
                markup.text(text);
            }
            Self::State(tone, word) => state(markup, *tone, word),
            Self::List(items) => {
                markup.raw("<ol class=\"history\">");
                for item in items {
                    markup.raw("<li>").text(item).raw("</li>");
                }
                markup.raw("</ol>");
            }
            Self::Gauge { used, max, text } => {
                markup.raw("<meter min=\"0\" max=\"").text(max);
                markup.raw("\" value=\"").text(used.min(max));
                markup.raw("\" aria-hidden=\"true\"></meter> ").text(text);
            }
        }
    }
}

/// A state: a shape and a word.
pub(super) fn state(markup: &mut Markup, tone: Tone, word: &str) {
    markup.raw("<span class=\"state ").raw(tone.class());
    markup
        .raw("\"><span class=\"shape\" aria-hidden=\"true\">")
        .raw(tone.shape());
    markup.raw("</span> ").text(word).raw("</span>");
}

/// A table whose first column names its rows. On a narrow screen each row is a card, and each cell says its column's
/// name (from `data-label`). Columns in which no row has anything are left out.
pub(super) fn table(markup: &mut Markup, caption: &str, columns: &[&'static str], rows: &[Vec<Cell>]) {
    let shown: Vec<usize> = (0..columns.len())
        .filter(|column| {
            let mut cells = rows.iter().filter_map(|row| row.get(*column));
            cells.any(|cell| !cell.is_empty())
        })
        .collect();
    markup
        .raw("<table><caption>")
        .text(caption)
        .raw("</caption><thead><tr>");
    for column in &shown {
        markup
            .raw("<th scope=\"col\">")
            .raw(columns[*column])
            .raw("</th>");
    }
    markup.raw("</tr></thead><tbody>");
    for row in rows {
        markup.raw("<tr>");
        for (at, column) in shown.iter().enumerate() {
            let Some(cell) = row.get(*column) else { continue };
            let (open, close) = match at {
                0 => ("<th scope=\"row\"", "</th>"),
                _ if cell.is_empty() => ("<td class=\"empty\"", "</td>"),
                _ => ("<td", "</td>"),
            };
            markup
                .raw(open)
                .raw(" data-label=\"")
                .raw(columns[*column])
                .raw("\">");
            cell.write(markup);
            markup.raw(close);
        }
        markup.raw("</tr>");
    }
    markup.raw("</tbody></table>");
}

/// Names with their values.
pub(super) fn pairs(markup: &mut Markup, pairs: &[(&'static str, String)]) {
    markup.raw("<dl>");
    for (name, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
        markup
            .raw("<div><dt>")
            .raw(name)
            .raw("</dt><dd>")
            .text(value)
            .raw("</dd></div>");
    }
    markup.raw("</dl>");
}
