//! The probes over HTTP: two statuses for machines, `?verbose`, `?exclude=` and JSON for people.

use std::future::{Ready, ready};

use axum::Router;
use axum::extract::{Path, RawQuery};
use axum::response::Response;
use axum::routing::get;
use http::StatusCode;
use http::header::HeaderMap;
use serde_json::{Value, json};

use super::line::{Line, up};
use super::{Probe, Probes};
use crate::admin::answer::{answer, json_answer, text_answer, wants_json};

impl Probes {
    /// The probes, each with `/<check>` for one of its checks, and the other paths that configuration gives them.
    pub(in crate::admin) fn routes(&self) -> Router {
        let mut router = Router::new();
        for probe in Probe::ALL {
            let (name, asked) = (probe.name(), self.clone());
            let single = move |Path(check): Path<String>, headers: HeaderMap| {
                ready(single(&asked, probe, &check, &headers))
            };
            router = router
                .route(&format!("/{name}"), get(self.answering(probe)))
                .route(&format!("/{name}/{{check}}"), get(single));
            let paths = match probe {
                Probe::Live => &self.paths.livez,
                Probe::Ready => &self.paths.readyz,
                Probe::Started => &self.paths.startupz,
            };
            for path in paths {
                router = router.route(path, get(self.answering(probe)));
            }
        }
        router
    }

    fn answering(
        &self,
        probe: Probe,
    ) -> impl Fn(RawQuery, HeaderMap) -> Ready<Response> + Clone + Send + Sync + 'static {
        let probes = self.clone();
        move |query, headers| ready(whole(&probes, probe, &query, &headers))
    }
}

/// The query of a probe.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    verbose: bool,
    exclude: Vec<String>,
}

impl Wanted {
    fn parse(query: Option<&str>) -> Self {
        let mut wanted = Self::default();
        for (key, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match &*key {
                "verbose" => wanted.verbose = true,
                "exclude" => wanted.exclude.push(value.into_owned()),
                _ => {}
            }
        }
        wanted
    }
}

fn whole(probes: &Probes, probe: Probe, query: &RawQuery, headers: &HeaderMap) -> Response {
    let wanted = Wanted::parse(query.0.as_deref());
    let mut lines = probes.ask(probe);
    let unknown: Vec<&String> = wanted
        .exclude
        .iter()
        .filter(|name| !lines.iter().any(|line| line.name == **name))
        .collect();
    if let Some(name) = unknown.first() {
        return no_such_check(probe, name, &lines);
    }
    lines.retain(|line| !wanted.exclude.contains(&line.name));
    let passed = lines.iter().all(Line::passes);
    if wants_json(headers) {
        let checks: Vec<Value> = lines.iter().map(Line::json).collect();
        return json_answer(passed, &json!({ "status": up(passed), "checks": checks }));
    }
    // A probe that fails says why without being asked: kubelet shows the beginning of the body in an event.
    let mut text = String::new();
    if wanted.verbose || !passed {
        text.extend(lines.iter().map(Line::verbose));
        for name in &wanted.exclude {
            text.push_str(&format!("[+]{name} excluded\n"));
        }
    }
    text.push_str(&match (wanted.verbose, passed) {
        (false, true) => "ok\n".to_owned(),
        (true, true) => format!("{} check passed\n", probe.name()),
        (_, false) => format!("{} check failed\n", probe.name()),
    });
    text_answer(passed, text)
}

fn single(probes: &Probes, probe: Probe, name: &str, headers: &HeaderMap) -> Response {
    let lines = probes.ask(probe);
    let Some(line) = lines.iter().find(|line| line.name == name) else {
        return no_such_check(probe, name, &lines);
    };
    if wants_json(headers) {
        return json_answer(
            line.well,
            &json!({ "status": up(line.well), "checks": [line.json()] }),
        );
    }
    text_answer(line.well, line.verbose())
}

fn no_such_check(probe: Probe, name: &str, lines: &[Line]) -> Response {
    let known: Vec<&str> = lines.iter().map(|line| line.name.as_str()).collect();
    let text = format!(
        "{} knows no check {name:?}; known: {}\n",
        probe.name(),
        known.join(", ")
    );
    answer(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_of_a_probe_may_repeat_what_it_excludes() {
        let wanted = Wanted::parse(Some("verbose&exclude=redis.velocity&exclude=a%2Fb&other=1"));
        assert!(wanted.verbose);
        assert_eq!(wanted.exclude, ["redis.velocity", "a/b"]);
        assert_eq!(Wanted::parse(None), Wanted::default());
    }
}
