//! A strict reader of the page: what is not well-formed as XML is an error, so that no text can have broken out.

/// An element or its end, or text between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    Open(String, Vec<(String, String)>),
    Close(String),
    Text(String),
}

pub(crate) struct Page(Vec<Piece>);

fn unescaped(text: &str) -> String {
    let mut plain = text.to_owned();
    for (escaped, letter) in [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&amp;", "&"),
    ] {
        plain = plain.replace(escaped, letter);
    }
    for (at, _) in text.match_indices('&') {
        let end = text[at..].find(';').map(|end| &text[at..=at + end]);
        assert!(
            matches!(end, Some("&lt;" | "&gt;" | "&quot;" | "&#39;" | "&amp;")),
            "a bare ampersand in {text:?}"
        );
    }
    plain
}

/// The attributes of a tag, each with a quoted value and only once.
fn attributes(mut rest: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    while !rest.is_empty() {
        let (name, after) = rest
            .split_once("=\"")
            .unwrap_or_else(|| panic!("an attribute without a quoted value: {rest:?}"));
        let (value, after) = after
            .split_once('"')
            .unwrap_or_else(|| panic!("a quote is open: {rest:?}"));
        assert!(
            !name.is_empty()
                && name
                    .chars()
                    .all(|letter| letter.is_ascii_lowercase() || letter == '-'),
            "{name:?}"
        );
        assert!(found.iter().all(|(known, _)| known != name), "{name} twice");
        assert!(!value.contains('<'), "{value:?}");
        found.push((name.to_owned(), unescaped(value)));
        rest = after.trim_start();
    }
    found
}

impl Page {
    /// Reads a document, or panics with what is wrong.
    pub(crate) fn read(document: &str) -> Self {
        let mut rest = document.strip_prefix("<!DOCTYPE html>\n").unwrap();
        let (mut pieces, mut open) = (Vec::new(), Vec::<String>::new());
        while !rest.is_empty() {
            let text = &rest[..rest.find('<').unwrap_or(rest.len())];
            rest = &rest[text.len()..];
            assert!(!text.contains('>'), "a bare > in {text:?}");
            if !text.is_empty() {
                pieces.push(Piece::Text(unescaped(text)));
            }
            let Some(tag) = rest.strip_prefix('<') else { break };
            let (tag, after) = tag.split_once('>').expect("a tag is not closed");
            rest = after;
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop().as_deref(), Some(name), "closed in another order");
                pieces.push(Piece::Close(name.to_owned()));
                continue;
            }
            let (tag, empty) = match tag.strip_suffix(" /") {
                Some(tag) => (tag, true),
                None => (tag, false),
            };
            let (name, rest_of_tag) = tag.split_once(' ').unwrap_or((tag, ""));
            let void = matches!(name, "meta" | "link" | "br" | "hr" | "img" | "input");
            assert_eq!(void, empty, "{tag}");
            pieces.push(Piece::Open(name.to_owned(), attributes(rest_of_tag)));
            if empty {
                pieces.push(Piece::Close(name.to_owned()));
            } else {
                open.push(name.to_owned());
            }
            // Neither holds markup.
            if matches!(name, "script" | "style") {
                let (content, after) = rest.split_once(&format!("</{name}>")).unwrap();
                pieces.push(Piece::Text(content.to_owned()));
                pieces.push(Piece::Close(name.to_owned()));
                open.pop();
                rest = after;
            }
        }
        assert!(open.is_empty(), "never closed: {open:?}");
        Self(pieces)
    }

    /// The attributes of every element of that name.
    pub(crate) fn all(&self, element: &str) -> Vec<Vec<(String, String)>> {
        let pieces = self.0.iter();
        pieces
            .filter_map(|piece| match piece {
                Piece::Open(name, attributes) if name == element => Some(attributes.clone()),
                _ => None,
            })
            .collect()
    }

    /// The text within every element of that name.
    pub(crate) fn texts(&self, element: &str) -> Vec<String> {
        let mut texts = Vec::new();
        for (at, piece) in self.0.iter().enumerate() {
            if !matches!(piece, Piece::Open(name, _) if name == element) {
                continue;
            }
            let (mut depth, mut text) = (0, String::new());
            for piece in &self.0[at..] {
                match piece {
                    Piece::Open(..) => depth += 1,
                    Piece::Close(_) => depth -= 1,
                    Piece::Text(part) => text.push_str(part),
                }
                if depth == 0 {
                    break;
                }
            }
            texts.push(text);
        }
        texts
    }

    /// The text of the first row whose first cell is `name`.
    pub(crate) fn row(&self, name: &str) -> String {
        let mut at = 0;
        while at < self.0.len() {
            let begins = matches!(&self.0[at], Piece::Open(element, _) if element == "tr");
            let end = self.0[at..]
                .iter()
                .position(|piece| matches!(piece, Piece::Close(element) if element == "tr"));
            if let (true, Some(end)) = (begins, end) {
                let texts: Vec<&str> = self.0[at..at + end]
                    .iter()
                    .filter_map(|piece| match piece {
                        Piece::Text(text) => Some(text.as_str()),
                        _ => None,
                    })
                    .collect();
                if texts.first() == Some(&name) {
                    return texts.join("|");
                }
                at += end;
            }
            at += 1;
        }
        panic!("no row {name:?} in {:?}", self.texts("tr"));
    }

    /// Everything a person reads.
    pub(crate) fn visible(&self) -> String {
        self.texts("main").concat()
    }
}
