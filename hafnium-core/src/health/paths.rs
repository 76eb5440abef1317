//! Under which paths the probes answer, besides their own.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The endpoints of the operator listener; an alias can't take their place.
const TAKEN: [&str; 10] = [
    "/",
    "/livez",
    "/readyz",
    "/startupz",
    "/report",
    "/metrics",
    "/info",
    "/config",
    "/loglevel",
    "/topology",
];

/// Other paths of the probes, for platforms and load balancers that are used to theirs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ProbePaths {
    /// Paths of the operator listener that answer as `/livez`, such as `["/healthz"]`. Default: none.
    pub livez: Vec<String>,
    /// Paths of the operator listener that answer as `/readyz`. Default: none.
    pub readyz: Vec<String>,
    /// Paths of the operator listener that answer as `/startupz`. Default: none.
    pub startupz: Vec<String>,
    /// Paths of the application listener that say whether the process serves: 200 while it is alive and not on its way
    /// out, whatever its dependencies do. Default `["/health"]`; an empty list mounts none.
    pub application_health: Vec<String>,
    /// Paths of the application listener that answer as `/readyz`. Default `["/ready"]`; an empty list mounts none.
    pub application_ready: Vec<String>,
}

impl Default for ProbePaths {
    fn default() -> Self {
        Self {
            livez: Vec::new(),
            readyz: Vec::new(),
            startupz: Vec::new(),
            application_health: vec!["/health".to_owned()],
            application_ready: vec!["/ready".to_owned()],
        }
    }
}

impl ProbePaths {
    /// What is wrong with these paths: each with the key below `health.paths` and the reason.
    pub(super) fn problems(&self) -> Vec<(&'static str, String)> {
        let operator = [
            ("livez", &self.livez),
            ("readyz", &self.readyz),
            ("startupz", &self.startupz),
        ];
        let application = [
            ("application_health", &self.application_health),
            ("application_ready", &self.application_ready),
        ];
        let mut problems = Vec::new();
        check(&operator, &TAKEN, &mut problems);
        check(&application, &[], &mut problems);
        problems
    }
}

fn check(
    listener: &[(&'static str, &Vec<String>)],
    taken: &[&str],
    problems: &mut Vec<(&'static str, String)>,
) {
    let mut seen: Vec<&str> = taken.to_vec();
    for (key, paths) in listener {
        for path in *paths {
            if !is_path(path) {
                let accepted = "accepted: a path such as \"/healthz\" of letters, digits and - . _ ~ /";
                problems.push((key, format!("{path:?} is no path; {accepted}")));
            } else if seen.contains(&path.as_str()) {
                problems.push((
                    key,
                    format!("{path:?} is taken on this listener; choose another path"),
                ));
            }
            seen.push(path);
        }
    }
}

/// A literal path that no router takes for a pattern and no client encodes in two ways.
fn is_path(path: &str) -> bool {
    path.len() > 1
        && path.starts_with('/')
        && !path.contains("//")
        && path
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_none_or_is_taken_is_refused_by_name() {
        let mut paths = ProbePaths::default();
        assert_eq!(paths.problems(), []);
        paths.livez = ["/healthz", "/report", "healthz", "/{x}", "/a?b"]
            .map(str::to_owned)
            .into();
        paths.readyz = vec!["/healthz".to_owned()];
        paths.application_ready = vec!["/health".to_owned(), "/report".to_owned()];
        let problems = paths.problems();
        let keys: Vec<&str> = problems.iter().map(|(key, _)| *key).collect();
        assert_eq!(
            keys,
            ["livez", "livez", "livez", "livez", "readyz", "application_ready"]
        );
        assert!(
            problems[0].1.contains("\"/report\" is taken"),
            "{}",
            problems[0].1
        );
    }
}
