//! The life of one process, from its start to its SIGTERM.

use std::path::Path;

use super::{loss, probes, reload, rotation, sigterm, start};
use crate::conformance::report::{Case, Finding, Report};
use crate::conformance::subject::Subject;
use crate::conformance::{Conformance, MountedVolume};

/// What is mounted beside the service.
pub(super) struct Mounts {
    pub(super) config: Option<MountedVolume>,
    pub(super) secret: Option<MountedVolume>,
    _home: tempfile::TempDir,
}

impl Mounts {
    fn new(kit: &Conformance<'_>) -> Result<Self, String> {
        let home = tempfile::Builder::new().prefix("hafnium-conformance-").tempdir();
        let home = home.map_err(|error| error.to_string())?;
        let mount = |case: Case, name: &str, file: (&str, &str)| {
            let wanted = kit.wants(case) && !kit.not_applicable.iter().any(|(out, _)| *out == case);
            let mounted = wanted.then(|| MountedVolume::mount(home.path().join(name), &[file]));
            mounted.transpose().map_err(|error| error.to_string())
        };
        Ok(Self {
            config: mount(Case::Reload, "config", (reload::KEY, reload::VALUES[0]))?,
            secret: mount(Case::Rotation, "secret", (rotation::FILE, rotation::TOKENS[0]))?,
            _home: home,
        })
    }

    fn variables(&self) -> Vec<(String, String)> {
        let shown = |path: &Path| path.display().to_string();
        let config = self.config.as_ref();
        let config = config.map(|volume| ("HAFNIUM_CONFIG_DIR".to_owned(), shown(volume.path())));
        let secret = self.secret.as_ref().map(|volume| {
            let file = volume.path().join(rotation::FILE);
            (
                "HAFNIUM__ADMIN__TOKEN".to_owned(),
                format!("file:{}", shown(&file)),
            )
        });
        config.into_iter().chain(secret).collect()
    }
}

/// Runs the cases that share a process.
pub(in crate::conformance) async fn life(kit: &Conformance<'_>, report: &mut Report) {
    let begun = Mounts::new(kit).and_then(|mounts| {
        let subject = Subject::start(kit, &kit.arguments, mounts.variables())?;
        Ok((mounts, subject))
    });
    let (mut mounts, mut subject) = match begun {
        Ok(begun) => begun,
        Err(reason) => {
            report.add(vec![Finding::not_run(
                Case::Start,
                "the service is started",
                &reason,
            )]);
            return not_run(kit, report, &reason);
        }
    };
    let is_ready = start::start(kit, &mut subject, report).await;
    if let Err(reason) = is_ready {
        return not_run(kit, report, &reason);
    }
    for case in [
        Case::Probes,
        Case::Loss,
        Case::Reload,
        Case::Rotation,
        Case::Sigterm,
    ] {
        if kit.declared_out(case, report) {
            continue;
        }
        let findings = match case {
            Case::Probes => probes::probes(&subject).await,
            Case::Loss => loss::loss(kit, &mut subject).await,
            Case::Reload => reload::reload(kit, &mut subject, &mut mounts).await,
            Case::Rotation => rotation::rotation(kit, &mut subject, &mut mounts).await,
            _ => sigterm::sigterm(kit, &mut subject).await,
        };
        report.add(findings);
    }
}

/// The service never became ready: nothing can be said of the rest.
fn not_run(kit: &Conformance<'_>, report: &mut Report, reason: &str) {
    for case in [
        Case::Probes,
        Case::Loss,
        Case::Reload,
        Case::Rotation,
        Case::Sigterm,
    ] {
        if !kit.declared_out(case, report) {
            report.add(vec![Finding::not_run(case, "the service is ready", reason)]);
        }
    }
}
