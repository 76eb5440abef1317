//! The JSON Schema of everything that is declared, and how to walk it.

use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value as Json};

use super::place::ServiceKeys;

/// How deep a schema is followed; a recursive type has no end of its own.
const DEPTH: usize = 24;

/// The schema of a whole configuration: one property per declared section, besides the keys of every service.
#[derive(Debug, Clone)]
pub(crate) struct Catalogue {
    root: Json,
    definitions: Map<String, Json>,
}

impl Catalogue {
    /// Collects the schemas of what is declared, each at its path.
    pub(crate) fn new<'a>(
        declared: impl Iterator<Item = (&'a [String], fn(&mut SchemaGenerator) -> Schema)>,
    ) -> Self {
        let mut generator = SchemaGenerator::default();
        let mut root = <ServiceKeys as schemars::JsonSchema>::json_schema(&mut generator).to_value();
        for (path, schema) in declared {
            let schema = schema(&mut generator).to_value();
            insert(&mut root, path, schema);
        }
        let definitions = generator.take_definitions(true);
        Self { root, definitions }
    }

    /// The whole schema, with its definitions, as JSON Schema 2020-12.
    pub(crate) fn to_json(&self) -> Json {
        let mut root = self.root.clone();
        if let Json::Object(object) = &mut root {
            object.insert(
                "$schema".into(),
                "https://json-schema.org/draft/2020-12/schema".into(),
            );
            object.insert("$defs".into(), Json::Object(self.definitions.clone()));
            object.insert("additionalProperties".into(), false.into());
        }
        root
    }

    pub(crate) fn root(&self) -> Shape<'_> {
        Shape {
            schema: &self.root,
            definitions: &self.definitions,
        }
    }

    /// What is declared at `path`, if anything is.
    pub(crate) fn at(&self, path: &[String]) -> Option<Shape<'_>> {
        path.iter()
            .try_fold(self.root(), |shape, segment| shape.plain().child(segment))
    }
}

fn insert(object: &mut Json, path: &[String], schema: Json) {
    let [first, rest @ ..] = path else { return };
    let properties = &mut object["properties"];
    if rest.is_empty() {
        properties[first] = schema;
        return;
    }
    if properties.get(first).is_none() {
        properties[first] =
            serde_json::json!({ "type": "object", "properties": {}, "additionalProperties": false });
    }
    insert(&mut properties[first], rest, schema);
}

/// One schema, with what its references lead to.
#[derive(Clone, Copy)]
pub(crate) struct Shape<'a> {
    schema: &'a Json,
    definitions: &'a Map<String, Json>,
}

impl<'a> Shape<'a> {
    fn with(self, schema: &'a Json) -> Self {
        Self { schema, ..self }
    }

    /// Follows one `$ref`.
    fn target(self) -> Option<Self> {
        let name = self.schema.get("$ref")?.as_str()?.strip_prefix("#/$defs/")?;
        self.definitions.get(name).map(|schema| self.with(schema))
    }

    /// A keyword of this schema, or of what it refers to: what stands beside a `$ref` comes first.
    pub(crate) fn keyword(self, name: &str) -> Option<&'a Json> {
        let mut shape = self;
        for _ in 0..DEPTH {
            if let Some(value) = shape.schema.get(name) {
                return Some(value);
            }
            shape = shape.target()?;
        }
        None
    }

    /// The alternatives of `anyOf` or `oneOf`, without `null`; empty when there is no choice.
    pub(crate) fn alternatives(self) -> Vec<Shape<'a>> {
        let options = self.keyword("anyOf").or_else(|| self.keyword("oneOf"));
        let options = options
            .and_then(Json::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default();
        options
            .iter()
            .map(|schema| self.with(schema))
            .filter(|shape| shape.types() != ["null"])
            .collect()
    }

    /// This shape without the wrapping of an `Option`.
    pub(crate) fn plain(self) -> Self {
        let mut shape = self;
        for _ in 0..DEPTH {
            match shape.alternatives().as_slice() {
                [only] if shape.keyword("properties").is_none() => shape = *only,
                _ => break,
            }
        }
        shape
    }

    /// The accepted JSON types; empty when any is.
    pub(crate) fn types(self) -> Vec<&'a str> {
        match self.keyword("type") {
            Some(Json::String(one)) => vec![one],
            Some(Json::Array(many)) => many.iter().filter_map(Json::as_str).collect(),
            _ => Vec::new(),
        }
    }

    pub(crate) fn format(self) -> Option<&'a str> {
        self.keyword("format").and_then(Json::as_str)
    }

    /// The names a string may be: of `enum`, of `const`, and of alternatives that are all such names.
    pub(crate) fn names(self) -> Option<Vec<&'a str>> {
        if let Some(names) = self.keyword("enum").and_then(Json::as_array) {
            return Some(names.iter().filter_map(Json::as_str).collect());
        }
        if let Some(name) = self.keyword("const").and_then(Json::as_str) {
            return Some(vec![name]);
        }
        let alternatives = self.alternatives();
        let names: Option<Vec<_>> = alternatives.iter().map(|shape| shape.names()).collect();
        names
            .filter(|names| !names.is_empty())
            .map(|names| names.concat())
    }

    /// Whether this is a table with keys of its own.
    pub(crate) fn is_table(self) -> bool {
        self.types().contains(&"object") || self.keyword("properties").is_some()
    }

    /// The declared keys of a table, also those that a flattened part brings.
    pub(crate) fn properties(self) -> Vec<(&'a str, Shape<'a>)> {
        let mut found = Vec::new();
        self.collect_properties(&mut found, 0);
        found
    }

    fn collect_properties(self, found: &mut Vec<(&'a str, Shape<'a>)>, depth: usize) {
        if depth > DEPTH {
            return;
        }
        let own = self.keyword("properties").and_then(Json::as_object);
        for (name, schema) in own.into_iter().flatten() {
            if !found.iter().any(|(known, _)| known == name) {
                found.push((name, self.with(schema)));
            }
        }
        for keyword in ["allOf", "anyOf", "oneOf"] {
            let parts = self.keyword(keyword).and_then(Json::as_array);
            for part in parts.into_iter().flatten() {
                self.with(part).collect_properties(found, depth + 1);
            }
        }
    }

    /// What any key beside the declared ones may hold; none when there may be no other.
    pub(crate) fn additional(self) -> Option<Shape<'a>> {
        if let Some(patterns) = self.keyword("patternProperties").and_then(Json::as_object) {
            return patterns.values().next().map(|schema| self.with(schema));
        }
        match self.keyword("additionalProperties") {
            None | Some(Json::Bool(false)) => None,
            Some(schema) => Some(self.with(schema)),
        }
    }

    pub(crate) fn child(self, name: &str) -> Option<Shape<'a>> {
        let declared = self.properties().into_iter().find(|(known, _)| *known == name);
        declared.map(|(_, shape)| shape).or_else(|| self.additional())
    }

    pub(crate) fn items(self) -> Option<Shape<'a>> {
        self.keyword("items").map(|schema| self.with(schema))
    }

    pub(crate) fn requires(self, name: &str) -> bool {
        let required = self.keyword("required").and_then(Json::as_array);
        required.is_some_and(|names| names.iter().any(|known| known == name))
    }

    pub(crate) fn default(self) -> Option<&'a Json> {
        self.keyword("default").filter(|value| !value.is_null())
    }

    pub(crate) fn is_secret(self) -> bool {
        self.plain().format() == Some("secret")
    }

    /// Whether a secret stands here or anywhere below.
    pub(crate) fn holds_secret(self) -> bool {
        self.holds_secret_within(DEPTH)
    }

    fn holds_secret_within(self, depth: usize) -> bool {
        if self.is_secret() {
            return true;
        }
        let Some(depth) = depth.checked_sub(1) else {
            return false;
        };
        let below = self.properties().into_iter().map(|(_, shape)| shape);
        let below = below
            .chain(self.alternatives())
            .chain(self.additional())
            .chain(self.items());
        below.into_iter().any(|shape| shape.holds_secret_within(depth))
    }
}
