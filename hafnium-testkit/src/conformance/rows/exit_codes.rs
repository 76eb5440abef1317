//! How a service that can't run says so: a supervisor reads the code, a person the one line.

use std::time::Duration;

use crate::conformance::Conformance;
use crate::conformance::report::{Case, Finding};
use crate::conformance::subject::{Subject, told};

const CASE: Case = Case::ExitCodes;
const LIMIT: Duration = Duration::from_secs(20);

pub(in crate::conformance) async fn exit_codes(kit: &Conformance<'_>) -> Vec<Finding> {
    let wrong_port = [("HAFNIUM__HTTP__PORT", "not-a-port")];
    let mut findings = vec![
        ends(
            kit,
            "2 for an argument that is not known",
            &["--no-such-flag"],
            &[],
            2,
            // Not the argument itself: a value typed in the wrong place may be a secret.
            &["argument"],
        )
        .await,
        ends(
            kit,
            "78 for a value that can't be",
            &[],
            &wrong_port,
            78,
            &["HAFNIUM__HTTP__PORT"],
        )
        .await,
    ];
    if !kit.dependencies.is_empty() {
        findings.push(without_dependencies(kit).await);
    }
    findings
}

/// Started while all that it depends on is away.
async fn without_dependencies(kit: &Conformance<'_>) -> Finding {
    let what = "69 while its dependencies are away";
    let mut lost = Ok(());
    for dependency in &kit.dependencies {
        lost = lost.and((dependency.lose)().await);
    }
    // The reason may be the first that was found: it says which one.
    let names: Vec<&str> = kit
        .dependencies
        .iter()
        .map(|dependency| dependency.name.as_str())
        .collect();
    let finding = match lost {
        Ok(()) => ends(kit, what, &[], &[("HAFNIUM__START__DEADLINE", "3s")], 69, &names).await,
        Err(reason) => Finding::not_run(CASE, what, reason),
    };
    let mut unhealed = Vec::new();
    for dependency in &kit.dependencies {
        unhealed.extend(dependency.healed().await);
    }
    finding.also(&unhealed)
}

/// Starts it, and expects its end with that code and one of those words on stderr.
async fn ends(
    kit: &Conformance<'_>,
    what: &str,
    arguments: &[&str],
    variables: &[(&str, &str)],
    code: i32,
    says: &[&str],
) -> Finding {
    let more = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let arguments: Vec<String> = kit
        .arguments
        .iter()
        .cloned()
        .chain(arguments.iter().map(|argument| (*argument).to_owned()))
        .collect();
    let mut subject = match Subject::start(kit, &arguments, more.collect()) {
        Ok(subject) => subject,
        Err(reason) => return Finding::not_run(CASE, what, reason),
    };
    match subject.ends(LIMIT).await {
        Ok((status, took)) if status.code() == Some(code) => {
            let said = subject.stderr();
            match says.iter().any(|word| said.contains(word)) {
                true => Finding::timed(CASE, what, took, LIMIT),
                false => Finding::wrong(
                    CASE,
                    what,
                    &[format!("stderr does not name {}: {said:?}", says.join(" or "))],
                ),
            }
        }
        Ok((status, _)) => {
            let ended = format!("{}: {}", told(status), subject.last_words());
            Finding::wrong(CASE, what, &[ended])
        }
        Err(reason) => Finding::late(CASE, what, LIMIT, reason),
    }
}
